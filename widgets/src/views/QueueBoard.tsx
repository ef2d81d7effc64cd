import { Header } from "../components/Header";
import { QueueTable } from "../components/QueueTable";

export function QueueBoard() {
  return (
    <>
      <Header />
      <QueueTable />
    </>
  );
}

import { Header } from "../components/Header";
import { ScheduleTable } from "../components/ScheduleTable";

export function ScheduleBoard() {
  return (
    <>
      <Header />
      <ScheduleTable />
    </>
  );
}

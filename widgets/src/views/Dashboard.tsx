import { Header } from "../components/Header";
import { QueueTable } from "../components/QueueTable";
import { Tasks } from "../components/Tasks";
import { Throughput } from "../components/Throughput";
import { Totals } from "../components/Totals";
import { Workers } from "../components/Workers";

export function Dashboard() {
  return (
    <>
      <Header />
      <div class="oq-overview">
        <Totals />
        <Throughput />
      </div>
      <div class="oq-columns">
        <QueueTable />
        <Workers />
      </div>
      <Tasks />
    </>
  );
}

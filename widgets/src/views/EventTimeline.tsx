import { EventLog } from "../components/EventLog";
import { Header } from "../components/Header";
import { TaskStream } from "../components/TaskStream";

export function EventTimeline() {
  return (
    <>
      <Header />
      <TaskStream />
      <EventLog />
    </>
  );
}

import type { Signal } from "@preact/signals";
import type { FunctionComponent } from "preact";
import { Notices } from "../components/Notices";
import type { ViewName } from "../model";
import { usePage } from "../page";
import { Dashboard } from "./Dashboard";
import { EventTimeline } from "./EventTimeline";
import { ProgressView } from "./ProgressView";
import { QueueBoard } from "./QueueBoard";
import { ScheduleBoard } from "./ScheduleBoard";

const BOARDS: Record<ViewName, FunctionComponent> = {
  dashboard: Dashboard,
  queues: QueueBoard,
  schedules: ScheduleBoard,
  events: EventTimeline,
  progress: ProgressView,
};

export function View({ name }: { name: Signal<ViewName> }) {
  const { store } = usePage();
  const Board = BOARDS[name.value];
  return (
    <section class={`oq-panel oq-panel-${name.value}`} aria-label={`OmniQ ${name.value}`}>
      {store.loaded.value ? <Board /> : <p class="oq-empty">Waiting for the kernel…</p>}
      <Notices />
    </section>
  );
}

import type { Status } from "../model";
import { outcomeOf } from "../stream";
import { StatusIcon } from "./icons";

const OTHERS: Readonly<Record<string, Status>> = {
  "task.enqueued": "pending",
  "task.started": "running",
  "task.retried": "pending",
  "task.skipped": "skipped",
};

export function EventMark({ type }: { type: string }) {
  const status = OTHERS[type] ?? outcomeOf(type);
  return status === null ? <span class="oq-event-dot" aria-hidden="true" /> : <StatusIcon status={status} />;
}

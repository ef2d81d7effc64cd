import { type Counts, STATUSES, type Status, type TaskRow } from "./model";

export const LABELS: Record<Status, string> = {
  blocked: "Blocked",
  pending: "Pending",
  running: "Running",
  succeeded: "Succeeded",
  failed: "Failed",
  cancelled: "Cancelled",
  expired: "Expired",
  skipped: "Skipped",
};

/** The order in which a bar fills: what is done from the left, what waits at the right. */
export const BAR_ORDER: readonly Status[] = [
  "succeeded",
  "failed",
  "expired",
  "cancelled",
  "skipped",
  "running",
  "pending",
  "blocked",
];

const SETTLED: ReadonlySet<Status> = new Set(["succeeded", "failed", "cancelled", "expired", "skipped"]);
const RETRIABLE: ReadonlySet<Status> = new Set(["failed", "cancelled", "expired"]);

export function isSettled(status: Status): boolean {
  return SETTLED.has(status);
}

export function isRetriable(status: Status): boolean {
  return RETRIABLE.has(status);
}

export function sum(counts: Counts, statuses: readonly Status[] = STATUSES): number {
  return statuses.reduce((total, status) => total + counts[status], 0);
}

export function settled(counts: Counts): number {
  return sum(counts, [...SETTLED]);
}

/** The time a person means when they ask "when was that?" about a task in this state. */
export function momentOf(row: TaskRow): number {
  if (row.status === "running") return row.started_at ?? row.created_at;
  if (row.status === "pending") return row.run_at ?? row.created_at;
  return row.finished_at ?? row.created_at;
}

import type { Status, TaskEvent } from "./model";

/** One attempt of a task, drawn from when it started to when it ended. */
export interface Run {
  key: string;
  from: number;
  to: number;
  lane: number;
  status: Status;
  event: TaskEvent;
}

export interface Stream {
  from: number;
  to: number;
  lanes: { worker: string; row: number }[];
  rows: number;
  runs: Run[];
}

const OUTCOMES: Readonly<Record<string, Status>> = {
  "task.succeeded": "succeeded",
  "task.failed": "failed",
  "task.dead": "failed",
  "task.retried": "failed",
  "task.cancelled": "cancelled",
  "task.expired": "expired",
};
const MAX_ROWS = 24;

export function outcomeOf(eventType: string): Status | null {
  return OUTCOMES[eventType] ?? null;
}

/** Packs the attempts of each worker into as few rows as show them side by side, each worker its share of the height. */
export function layOut(events: readonly TaskEvent[]): Stream {
  const byWorker = new Map<string, Run[]>();
  const seen = new Set<string>();
  for (const event of events) {
    const status = outcomeOf(event.event_type);
    const key = `${event.task_id} ${event.ts}`;
    // One end of an attempt may be told twice (failed, then dead).
    if (status === null || event.duration === null || event.worker === "" || seen.has(key)) continue;
    seen.add(key);
    const run = { key, from: event.ts - event.duration * 1_000, to: event.ts, lane: 0, status, event };
    byWorker.set(event.worker, [...(byWorker.get(event.worker) ?? []), run]);
  }
  const workers = [...byWorker.keys()].sort().slice(0, MAX_ROWS);
  const share = Math.max(1, Math.floor(MAX_ROWS / workers.length));
  const lanes: Stream["lanes"] = [];
  const runs: Run[] = [];
  let rows = 0;
  for (const worker of workers) {
    lanes.push({ worker, row: rows });
    const packed = pack(byWorker.get(worker) ?? [], rows, share);
    runs.push(...packed.runs);
    rows += packed.rows;
  }
  const from = Math.min(...runs.map((run) => run.from));
  const to = Math.max(...runs.map((run) => run.to));
  return { from: runs.length > 0 ? from : 0, to: runs.length > 0 ? to : 0, lanes, rows, runs };
}

/** With more at once than `most` rows, runs lie over each other in the row that is free soonest. */
function pack(runs: Run[], firstRow: number, most: number): { runs: Run[]; rows: number } {
  const ends: number[] = [];
  const placed = runs
    .sort((a, b) => a.from - b.from)
    .map((run) => {
      let row = ends.findIndex((end) => end <= run.from);
      if (row === -1) row = ends.length < most ? ends.length : ends.indexOf(Math.min(...ends));
      ends[row] = Math.max(run.to, ends[row] ?? 0);
      return { ...run, lane: firstRow + row };
    });
  return { runs: placed, rows: ends.length };
}

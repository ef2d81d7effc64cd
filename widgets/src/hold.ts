import type { TaskRow } from "./model";

export interface Held {
  rows: TaskRow[];
  /** How many rows wait to be shown. */
  newer: number;
}

/**
 * While somebody points at a row it must stay under the pointer: the order of `snapshot` is kept, with the newest data
 * for each row that is still listed.
 */
export function hold(snapshot: readonly TaskRow[], latest: readonly TaskRow[]): Held {
  const current = new Map(latest.map((row) => [row.id, row]));
  const kept = new Set(snapshot.map((row) => row.id));
  return {
    rows: snapshot.map((row) => current.get(row.id) ?? row),
    newer: latest.filter((row) => !kept.has(row.id)).length,
  };
}

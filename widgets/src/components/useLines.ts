import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { TaskRow } from "../model";
import { reuse, type Slots } from "../slots";

/** So many rows are filled anew in one frame: somewhat more than are in sight, which come first. */
export const STEP = 17;

interface Line {
  slot: number;
  row: TaskRow;
}

/**
 * The rows to draw, each in its slot. Where many have changed, the first are filled now and the others in the frames
 * that follow; until then they show what they showed. A whole list at once would hold up a frame, and a click with it.
 */
export function useLines(rows: readonly TaskRow[]): Line[] {
  const slots = useRef<Slots>(new Map());
  const drawn = useRef<ReadonlyMap<number, TaskRow>>(new Map());
  const frames = useSignal(0);
  frames.value; // each further step renders again
  slots.current = reuse(
    slots.current,
    rows.map((row) => row.id),
  );
  const lines = fill(rows, slots.current, drawn.current);
  drawn.current = new Map(lines.map(({ slot, row }) => [slot, row]));
  const done = lines.every(({ row }, index) => row === rows[index]);
  useLayoutEffect(() => {
    if (done) return;
    const frame = requestAnimationFrame(() => {
      frames.value += 1;
    });
    return () => cancelAnimationFrame(frame);
  });
  return lines;
}

function fill(rows: readonly TaskRow[], slots: Slots, drawn: ReadonlyMap<number, TaskRow>): Line[] {
  let left = STEP;
  return rows.map((row) => {
    const slot = slots.get(row.id) as number;
    const old = drawn.get(slot);
    if (old === undefined || old === row) return { slot, row };
    left -= 1;
    return { slot, row: left < 0 ? old : row };
  });
}

import type { Throughput } from "./model";

/** Geometry of the throughput chart in units: one step wide, 100 high, so that the page scales it without measuring. */
export const HEIGHT = 100;
const BAR = 0.82;

export interface Bars {
  finished: string;
  failed: string;
  /** Marks below the axis, one for each step with a failure: readable without telling the colours apart. */
  marks: string;
}

const NICE = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];

/** The smallest round number that is not below. */
export function niceCeiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return (NICE.find((step) => step * power >= value) ?? 10) * power;
}

export function ceilingOf({ finished, failed }: Throughput): number {
  return niceCeiling(Math.max(0, ...finished.map((count, index) => count + (failed[index] ?? 0))));
}

export function bars({ finished, failed }: Throughput, ceiling: number): Bars {
  const tops = finished.map((count) => HEIGHT - (count / ceiling) * HEIGHT);
  const rect = (index: number, from: number, to: number) =>
    `M${round(index + (1 - BAR) / 2)} ${round(from)}h${BAR}V${round(to)}h${-BAR}z`;
  return {
    finished: tops.map((top, index) => (top < HEIGHT ? rect(index, HEIGHT, top) : "")).join(""),
    failed: failed
      .map((count, index) => {
        const base = tops[index] ?? HEIGHT;
        return count > 0 ? rect(index, base, base - (count / ceiling) * HEIGHT) : "";
      })
      .join(""),
    marks: failed.map((count, index) => (count > 0 ? rect(index, 4, 0) : "")).join(""),
  };
}

/** Tasks per second over the last few whole steps: the newest is still filling. */
export function recentRate({ finished, failed, step }: Throughput, steps = 5): number {
  const window = finished.map((count, index) => count + (failed[index] ?? 0)).slice(-steps - 1, -1);
  return window.length === 0 ? 0 : window.reduce((total, count) => total + count, 0) / (window.length * step);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

import { describe, expect, it } from "vitest";
import { bars, ceilingOf, niceCeiling, recentRate } from "../src/chart";
import { hold } from "../src/hold";
import { STATUSES } from "../src/model";
import { RateMeter, timeLeft } from "../src/rate";
import { BAR_ORDER, isRetriable, isSettled, momentOf, settled, sum } from "../src/status";
import { layOut } from "../src/stream";
import { counts, event, NOW, row } from "./support";

describe("states", () => {
  it("settles all but blocked, pending and running", () => {
    expect(STATUSES.filter((status) => !isSettled(status))).toEqual(["blocked", "pending", "running"]);
  });

  it("offers a retry for what did not succeed and was not ruled out", () => {
    expect(STATUSES.filter(isRetriable)).toEqual(["failed", "cancelled", "expired"]);
  });

  it("draws each state once in a bar", () => {
    expect([...BAR_ORDER].sort()).toEqual([...STATUSES].sort());
  });

  it("adds up", () => {
    const some = counts({ running: 2, failed: 3, skipped: 4 });
    expect(sum(some)).toBe(9);
    expect(settled(some)).toBe(7);
  });

  it("dates a task by what its state is about", () => {
    const times = { created_at: 1, run_at: 2, started_at: 3, finished_at: 4 };
    expect(momentOf(row({ ...times, status: "pending" }))).toBe(2);
    expect(momentOf(row({ ...times, status: "running" }))).toBe(3);
    expect(momentOf(row({ ...times, status: "failed" }))).toBe(4);
    expect(momentOf(row({ ...times, status: "cancelled", finished_at: null }))).toBe(1);
  });
});

describe("throughput chart", () => {
  it.each([
    [0, 1],
    [1, 1],
    [7, 8],
    [11, 15],
    [56, 60],
    [100, 100],
    [850, 1_000],
  ])("scales %d to %d", (value, ceiling) => expect(niceCeiling(value)).toBe(ceiling));

  const series = { step: 1, end: NOW, finished: [0, 50, 25], failed: [0, 0, 25] };

  it("leaves room for both series stacked", () => {
    expect(ceilingOf(series)).toBe(50);
    expect(ceilingOf({ ...series, finished: [30], failed: [40] })).toBe(80);
  });

  it("stacks failures on what finished and marks their steps below", () => {
    const shapes = bars(series, 50);
    expect(shapes.finished).toBe("M1.09 100h0.82V0h-0.82zM2.09 100h0.82V50h-0.82z");
    expect(shapes.failed).toBe("M2.09 50h0.82V0h-0.82z");
    expect(shapes.marks).toBe("M2.09 4h0.82V0h-0.82z");
  });

  it("takes the rate from whole steps, not from the newest", () => {
    expect(recentRate({ step: 2, end: NOW, finished: [9, 8, 8, 1], failed: [0, 2, 2, 0] }, 2)).toBe(5);
    expect(recentRate({ step: 1, end: NOW, finished: [], failed: [] })).toBe(0);
  });
});

describe("task stream", () => {
  it("puts what overlaps on one worker into rows of its own", () => {
    const stream = layOut([
      event({ task_id: "a", ts: NOW, duration: 10 }),
      event({ task_id: "b", ts: NOW - 6_000, duration: 2 }),
      event({ task_id: "c", ts: NOW - 1_000, duration: 4 }),
      event({ task_id: "d", ts: NOW, duration: 1, worker: "w2" }),
    ]);
    const lanes = Object.fromEntries(stream.runs.map((run) => [run.event.task_id, run.lane]));
    expect(lanes).toEqual({ a: 0, b: 1, c: 1, d: 2 });
    expect(stream).toMatchObject({ from: NOW - 10_000, to: NOW, rows: 3 });
    expect(stream.lanes).toEqual([
      { worker: "w1", row: 0 },
      { worker: "w2", row: 2 },
    ]);
  });

  it("shows each attempt's end once, and nothing that has no length", () => {
    const stream = layOut([
      event({ event_type: "task.failed" }),
      event({ event_type: "task.dead" }),
      event({ event_type: "task.enqueued", duration: null }),
      event({ event_type: "task.succeeded", duration: null, task_id: "x" }),
    ]);
    expect(stream.runs.map((run) => run.status)).toEqual(["failed"]);
  });

  it("gives every worker some height, however busy one is", () => {
    const busy = Array.from({ length: 60 }, (_, n) => event({ task_id: `t${n}`, ts: NOW + n, duration: 100 }));
    const stream = layOut([...busy, event({ worker: "w2" })]);
    expect(stream.lanes.map((lane) => lane.worker)).toEqual(["w1", "w2"]);
    expect(stream.rows).toBeLessThanOrEqual(24);
    expect(stream.runs).toHaveLength(61);
  });

  it("is empty without events", () => {
    expect(layOut([])).toEqual({ from: 0, to: 0, lanes: [], rows: 0, runs: [] });
  });
});

describe("hold", () => {
  it("keeps the order, refreshes the rows and counts the newcomers", () => {
    const snapshot = [row({ id: "a" }), row({ id: "b" })];
    const held = hold(snapshot, [row({ id: "c" }), row({ id: "b", status: "failed" })]);
    expect(held.rows.map(({ id, status }) => [id, status])).toEqual([
      ["a", "running"],
      ["b", "failed"],
    ]);
    expect(held.newer).toBe(1);
  });
});

describe("RateMeter", () => {
  it("uses the time since the start while it has seen little", () => {
    const meter = new RateMeter();
    meter.sample(NOW, 50);
    expect(meter.perSecond(NOW - 10_000)).toBe(5);
    expect(meter.perSecond(null)).toBe(0);
  });

  it("follows the last half minute, not the whole run", () => {
    const meter = new RateMeter();
    for (let second = 0; second <= 100; second += 1)
      meter.sample(NOW + second * 1_000, second < 60 ? second : 60 + (second - 60) * 10);
    expect(meter.perSecond(NOW)).toBeCloseTo(10, 0);
  });

  it("begins anew when tasks were put back", () => {
    const meter = new RateMeter();
    meter.sample(NOW, 100);
    meter.sample(NOW + 5_000, 40);
    expect(meter.perSecond(null)).toBe(0);
  });

  it("knows how long the rest takes, or that nobody knows", () => {
    expect(timeLeft(50, 5)).toBe(10_000);
    expect(timeLeft(50, 0)).toBeNull();
    expect(timeLeft(0, 5)).toBeNull();
  });
});

import { describe, expect, it } from "vitest";
import { STATUSES } from "../src/model";
import { parseDetail, parseMessage, parsePatch, parseStatus, parseTaskRow, parseView } from "../src/protocol";
import { event, row } from "./support";

describe("parsePatch", () => {
  it("keeps only the keys that are there", () => {
    expect(Object.keys(parsePatch({ now: 5, queues: [], surprise: 1 }))).toEqual(["now", "queues"]);
    expect(parsePatch({ now: null, totals: undefined })).toEqual({});
  });

  it.each([null, undefined, 7, "text", []])("makes an empty patch of %j", (value) => {
    expect(parsePatch(value)).toEqual({});
  });

  it("counts every state, whatever is missing, negative or not a number", () => {
    const { totals } = parsePatch({ totals: { failed: 3, running: -1, pending: Number.NaN, unheard_of: 9 } });
    expect(Object.keys(totals ?? {})).toEqual([...STATUSES]);
    expect(totals).toMatchObject({ failed: 3, running: 0, pending: 0, succeeded: 0 });
  });

  it("leaves out queues, workers and schedules without a name", () => {
    const patch = parsePatch({
      queues: [{ paused: true }, { name: "io", paused: "yes" }, null],
      workers: [{ host: "h" }, { id: "w", queues: ["io", null, 3] }],
      schedules: [{ func: "f" }, { id: "s", next_at: "soon" }],
    });
    expect(patch.queues).toMatchObject([{ name: "io", paused: false }]);
    expect(patch.workers).toMatchObject([{ id: "w", queues: ["io", "3"], concurrency: 0 }]);
    expect(patch.schedules).toMatchObject([{ id: "s", next_at: null, runs: 0 }]);
  });

  it("pads the shorter series at its old end", () => {
    expect(parsePatch({ throughput: { step: 5, end: 9, finished: [1, 2, 3], failed: [4] } }).throughput).toEqual({
      step: 5,
      end: 9,
      finished: [1, 2, 3],
      failed: [0, 0, 4],
    });
  });

  it("never lets a step of zero through, which would divide by it", () => {
    expect(parsePatch({ throughput: { step: 0 } }).throughput?.step).toBe(1);
  });

  it("reads a page of tasks and drops rows in unknown states", () => {
    const { tasks } = parsePatch({
      tasks: {
        rows: [row(), row({ id: "" }), { ...row(), status: "odd" }],
        filter: { status: "odd", queue: "" },
        page: 2.7,
      },
    });
    expect(tasks).toEqual({
      rows: [row()],
      filter: { status: null, queue: null, func: null },
      page: 2,
      has_next: false,
    });
  });

  it("drops events without a type or a time", () => {
    expect(parsePatch({ events: [event(), { ts: 1 }, { event_type: "task.failed" }] }).events).toEqual([event()]);
  });

  it("fills a progress from nothing", () => {
    expect(parsePatch({ progress: {} }).progress).toMatchObject({ total: 0, error: null, traceback: null, failed: [] });
  });

  it("knows when an app was closed", () => {
    expect(parsePatch({ app: { name: "a", closed_at: 12 } }).app).toMatchObject({ closed_at: 12, error: null });
    expect(parsePatch({ app: { name: "a" } }).app?.closed_at).toBeNull();
  });
});

describe("parseMessage", () => {
  it("reads updates, with or without a number", () => {
    expect(parseMessage({ type: "update", seq: 4, patch: { now: 1 } })).toEqual({
      type: "update",
      seq: 4,
      patch: { now: 1 },
    });
    expect(parseMessage({ type: "update" })).toEqual({ type: "update", seq: null, patch: {} });
  });

  it("reads replies", () => {
    expect(parseMessage({ type: "reply", id: "a-1", ok: true, result: 3 })).toEqual({
      type: "reply",
      id: "a-1",
      ok: true,
      result: 3,
    });
    expect(parseMessage({ type: "reply", id: "a-1", ok: false, error: "no" })).toMatchObject({
      ok: false,
      error: "no",
    });
    expect(parseMessage({ type: "reply", id: "a-1" })).toMatchObject({
      ok: false,
      error: "the kernel reported an error",
    });
  });

  it.each([null, {}, { type: "reply" }, { type: "other", id: "x" }, "update"])("ignores %j", (value) => {
    expect(parseMessage(value)).toBeNull();
  });
});

describe("single values", () => {
  it("knows the states and the views", () => {
    expect(parseStatus("expired")).toBe("expired");
    expect(parseStatus("done")).toBeNull();
    expect(parseView("events")).toBe("events");
    expect(parseView("nonsense")).toBe("dashboard");
  });

  it("turns what is not text into text, and an empty error into none", () => {
    expect(parseTaskRow({ ...row(), func: 7, error: "" })).toMatchObject({ func: "7", error: null });
    expect(parseTaskRow({ ...row(), func: { toString: 1 } })).toMatchObject({ func: "" });
  });

  it("reads details, and refuses those without a task", () => {
    expect(parseDetail({ row: row(), args: "(1,)", events: [event(), {}], metadata: { a: 1 } })).toEqual({
      row: row(),
      args: "(1,)",
      result: null,
      error: null,
      traceback: null,
      events: [event()],
      metadata: { a: 1 },
    });
    expect(parseDetail(null)).toBeNull();
  });
});

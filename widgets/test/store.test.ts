import { effect } from "@preact/signals";
import { describe, expect, it, vi } from "vitest";
import { share } from "../src/share";
import { PACE, Store } from "../src/store";
import { fakeTime, row, settle, tasks } from "./support";

fakeTime();

describe("share", () => {
  it("returns the old value when the new one says the same", () => {
    const old = { rows: [row(), row({ id: "b" })], n: 1 };
    expect(share(old, structuredClone(old))).toBe(old);
  });

  it("recognises rows by their identity when they move", () => {
    const [a, b] = [row({ id: "a" }), row({ id: "b" })];
    const shared = share([a, b], structuredClone([row({ id: "new" }), a, b]));
    expect(shared[1]).toBe(a);
    expect(shared[2]).toBe(b);
  });

  it("replaces only what changed", () => {
    const old = [row({ id: "a" }), row({ id: "b" })];
    const next = share(old, [row({ id: "a" }), row({ id: "b", status: "failed" })]);
    expect(next).not.toBe(old);
    expect(next[0]).toBe(old[0]);
    expect(next[1]).toMatchObject({ id: "b", status: "failed" });
  });

  it("notices a key that went away and a list that got shorter", () => {
    expect(share({ a: 1, b: 2 } as object, { a: 1 })).toEqual({ a: 1 });
    expect(share([1, 2, 3], [1, 2])).toEqual([1, 2]);
  });
});

describe("Store", () => {
  it("applies everything that came within a frame at once", async () => {
    const store = new Store();
    let runs = 0;
    const stop = effect(() => {
      runs += 1;
      void store.slices.tasks.value;
    });
    for (let n = 1; n <= 20; n += 1) store.merge({ now: n, tasks: tasks([row({ attempt: n })]) });
    expect(runs).toBe(1);
    await settle();
    expect(runs).toBe(2);
    expect(store.slices.now.value).toBe(20);
    expect(store.slices.tasks.value.rows[0]?.attempt).toBe(20);
    stop();
  });

  it("leaves keys alone that a patch does not name", async () => {
    const store = new Store();
    store.merge({ tasks: tasks([row()]) });
    await settle();
    const before = store.slices.tasks.value;
    store.merge({ now: 3 });
    await settle();
    expect(store.slices.tasks.value).toBe(before);
  });

  it("does not wake anyone for a patch that changes nothing", async () => {
    const store = new Store();
    store.merge({ tasks: tasks([row()]) });
    await settle();
    let runs = 0;
    const stop = effect(() => {
      runs += 1;
      void store.slices.tasks.value;
    });
    store.merge({ tasks: tasks([row()]) });
    await settle();
    expect(runs).toBe(1);
    stop();
  });

  it("renews lists at a pace one can read, and the rest at once", async () => {
    const store = new Store();
    store.merge({ now: 1, tasks: tasks([row({ attempt: 1 })]) });
    await settle(20);
    store.merge({ now: 2, tasks: tasks([row({ attempt: 2 })]) });
    await settle(20);
    expect(store.slices.now.value).toBe(2);
    expect(store.slices.tasks.value.rows[0]?.attempt).toBe(1);
    store.merge({ now: 3, tasks: tasks([row({ attempt: 3 })]) });
    await settle(PACE.tasks);
    expect(store.slices.tasks.value.rows[0]?.attempt).toBe(3);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("applies everything at once when somebody waits for it", async () => {
    const store = new Store();
    store.merge({ tasks: tasks([row({ attempt: 1 })]) });
    await settle(20);
    store.merge({ tasks: tasks([row({ attempt: 2 })]) });
    store.flush();
    expect(store.slices.tasks.value.rows[0]?.attempt).toBe(2);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is loaded once it knows anything", async () => {
    const store = new Store();
    store.merge({});
    await settle();
    expect(store.loaded.value).toBe(false);
    store.merge({ now: 1 });
    await settle();
    expect(store.loaded.value).toBe(true);
  });

  it("applies nothing after it was disposed", async () => {
    const store = new Store();
    store.merge({ now: 9 });
    store.dispose();
    await settle();
    expect(store.slices.now.value).toBe(0);
  });
});

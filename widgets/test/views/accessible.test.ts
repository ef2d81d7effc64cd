import { describe, expect, it } from "vitest";
import { type Model, STATUSES, VIEWS } from "../../src/model";
import { counts, event, fakeTime, NOW, row, show, state, tasks } from "../support";

fakeTime();

const rows = STATUSES.map((status) => row({ id: status, status, error: status === "failed" ? "ValueError" : null }));
const full: Partial<Model> = {
  queues: [{ name: "io", paused: true, counts: counts({ failed: 1 }) }],
  totals: counts({ running: 1, failed: 1 }),
  throughput: { step: 1, end: NOW, finished: [1, 2], failed: [0, 1] },
  tasks: tasks(rows, { filter: { status: "failed", queue: "io", func: "fetch" } }),
  workers: [{ id: "w", host: "h", pid: 1, type: "async", concurrency: 1, running: 0, queues: [], seen_at: NOW }],
  schedules: ["s1", "s2"].map((id) => ({
    id,
    func: "report",
    when: "0 9 * * *",
    status: "active",
    next_at: NOW,
    runs: 1,
  })),
  events: [event(), event({ event_type: "task.failed" })],
  progress: {
    ...state().progress,
    total: 9,
    title: "fetch",
    counts: counts({ failed: 9 }),
    failed: rows,
    traceback: "T",
  },
};

describe.each(VIEWS)("%s", (view) => {
  it("names every control", async () => {
    const page = await show(view, full);
    const controls = page.all("button, select, input, [role=slider], [role=progressbar], [role=img]");
    const nameless = controls.filter((control) => !(control.getAttribute("aria-label") ?? control.textContent)?.trim());
    expect(nameless.map((control) => control.outerHTML)).toEqual([]);
  });

  it("tells every control from the others, and calls each by what is to be read on it", async () => {
    const buttons = (await show(view, full)).all("button");
    const named = buttons.filter((button) => button.hasAttribute("aria-label"));
    const words = (text: string | null) => (text ?? "").replace(/[^\p{L}\p{N}]/gu, "");
    const misnamed = named.filter(
      (button) => !words(button.getAttribute("aria-label")).includes(words(button.textContent)),
    );
    expect(misnamed.map((button) => button.outerHTML)).toEqual([]);
    const names = named.map((button) => button.getAttribute("aria-label"));
    expect(names).toEqual([...new Set(names)]);
  });

  it("lets keys reach everything that scrolls", async () => {
    const page = await show(view, full);
    const reached = (each: HTMLElement) => each.tabIndex === 0 || each.querySelector("button, [tabindex='0']") !== null;
    expect(page.all(".oq-scroll").filter((each) => !reached(each))).toEqual([]);
  });

  it("makes buttons of everything that can be pressed, of the kind that submits no form", async () => {
    const page = await show(view, full);
    expect(page.all("a, [role=button], [onclick]")).toHaveLength(0);
    expect(page.all("button").every((button) => button.getAttribute("type") === "button")).toBe(true);
  });

  it("hides pictures that a word stands beside, and heads every column", async () => {
    const page = await show(view, full);
    expect(page.all("svg:not([aria-hidden=true]):not([role=img])")).toHaveLength(0);
    expect(page.texts("thead th").every((text) => text.trim() !== "")).toBe(true);
  });

  it("gives nothing an id, so that views do not meet on a page", async () => {
    expect((await show(view, full)).all("[id]")).toHaveLength(0);
  });
});

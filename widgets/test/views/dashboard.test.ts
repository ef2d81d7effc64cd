import { describe, expect, it, vi } from "vitest";
import { REPLY_TIMEOUT } from "../../src/commands";
import { STEP } from "../../src/components/useLines";
import type { Model, TaskRow } from "../../src/model";
import { counts, event, fakeTime, NOW, row, settle, show, tasks } from "../support";

fakeTime();

const worker: Model["workers"][number] = {
  id: "w-1",
  host: "box",
  pid: 12,
  type: "process_pool",
  concurrency: 4,
  running: 3,
  queues: ["io"],
  seen_at: NOW - 3_000,
};
const io = { name: "io", paused: false, counts: counts({ pending: 7, running: 3, failed: 1 }) };

describe("header and totals", () => {
  it("shows the app, its store, the number of tasks and the connection", async () => {
    const page = await show("dashboard", { totals: counts({ succeeded: 1_200, failed: 3 }) });
    expect(page.find(".oq-header").textContent).toContain("crawlerredis://:***@host/01,203 tasks");
    expect(page.find(".oq-connection").textContent).toBe("Connecting");
    await page.update({});
    expect(page.find(".oq-connection").textContent).toBe("Live");
  });

  it("sums what waits, and says how many slots there are", async () => {
    const page = await show("dashboard", {
      totals: counts({ pending: 5, blocked: 2, running: 3, failed: 1 }),
      workers: [worker],
    });
    expect(page.texts(".oq-total-count")).toEqual(["7", "3", "0", "1"]);
    expect(page.texts(".oq-total-note")).toEqual(["2 blocked", "of 4 slots", "0/s now", "in the dead letters"]);
  });

  it("shows the store's error as an alert", async () => {
    const page = await show("dashboard", {
      app: { name: "a", store: "s", version: "1", error: "refused", closed_at: null },
    });
    expect(page.find("[role=alert]").textContent).toContain("refused");
  });

  it("says when the kernel went silent, and stops counting the running tasks' time", async () => {
    const page = await show("dashboard", { tasks: tasks([row({ started_at: NOW - 5_000 })]) });
    await page.update({ now: NOW });
    expect(page.find(".oq-task .oq-col-took").textContent).toBe("5.0 s");
    await settle(30_000);
    expect(page.find(".oq-connection").textContent).toMatch(/^No contact · 30 s ago$/);
    expect(page.find(".oq-task .oq-col-took").textContent).toBe("5.0 s");
    await page.update({ now: NOW + 30_000 });
    expect(page.find(".oq-connection").textContent).toBe("Live");
    expect(page.find(".oq-task .oq-col-took").textContent).toBe("35 s");
  });

  it("is at rest when the app is closed", async () => {
    const app = { name: "a", store: "s", version: "1", error: null, closed_at: NOW - 120_000 };
    const page = await show("dashboard", { app, queues: [io] });
    await settle(60_000);
    expect(page.find(".oq-connection").textContent).toBe("Closed · 3 min ago");
    expect(page.button("Pause queue io").disabled).toBe(true);
    expect(page.commands("hello")).toHaveLength(1);
  });

  it("waits when nothing is known yet", async () => {
    const page = await show("dashboard", null);
    expect(page.text).toBe("Waiting for the kernel…");
    await page.update({ now: NOW });
    expect(page.text).toContain("No tasks yet");
  });
});

describe("queues", () => {
  it("lists counts for each queue", async () => {
    const page = await show("dashboard", { queues: [io] });
    expect(page.texts(".oq-queues tbody .oq-col-count")).toEqual(["7", "3", "0", "1"]);
    expect(page.find(".oq-bar-part.oq-is-failed").style.width).toMatch(/^9\.09/);
  });

  it("pauses and resumes", async () => {
    const page = await show("dashboard", { queues: [io] });
    await page.click("Pause queue io");
    expect(page.commands("pause")).toMatchObject([{ type: "command", args: { queue: "io" } }]);
    expect(page.button("Pause queue io").getAttribute("aria-busy")).toBe("true");
    await page.reply("pause", { ok: true });
    await page.update({ queues: [{ ...io, paused: true }] });
    expect(page.find(".oq-queues .oq-tag").textContent).toBe("paused");
    await page.click("Resume queue io");
    expect(page.commands("resume")).toHaveLength(1);
  });

  it("shows a refused command on the button and as a notice that can be dismissed", async () => {
    const page = await show("dashboard", { queues: [io] });
    await page.click("Pause queue io");
    await page.reply("pause", { ok: false, error: "StoreError: read only" });
    expect(page.button("Pause queue io").dataset.phase).toBe("error");
    expect(page.find(".oq-notices").textContent).toBe("Pause io: StoreError: read only");
    await page.click("Dismiss");
    expect(page.find(".oq-notices").textContent).toBe("");
    expect(page.button("Pause queue io").dataset.phase).toBeUndefined();
  });

  it("enables the button again when the kernel does not answer", async () => {
    const page = await show("dashboard", { queues: [io] });
    await page.click("Pause queue io");
    await settle(REPLY_TIMEOUT);
    expect(page.find(".oq-notices").textContent).toContain("the kernel did not answer");
    await page.click("Pause queue io");
    expect(page.commands("pause")).toHaveLength(2);
  });
});

describe("workers", () => {
  it("lists slots and the last sign of life", async () => {
    const page = await show("dashboard", { workers: [worker] });
    const [line] = page.texts(".oq-workers tbody tr");
    expect(line).toBe("box12ioprocess pool3/43 s ago");
    expect(page.find(".oq-workers time").title).toMatch(/^2025-02-0\d /);
    await page.update({ workers: [{ ...worker, running: 4, seen_at: NOW }] });
    expect(page.texts(".oq-workers tbody tr")).toEqual(["box12ioprocess pool4/4now"]);
  });

  it("says how to start some when there are none", async () => {
    const page = await show("dashboard");
    expect(page.find(".oq-workers").textContent).toContain("%omniq start");
  });
});

describe("throughput", () => {
  const throughput = { step: 1, end: NOW, finished: [1, 2, 3], failed: [0, 1, 0] };

  it("reads single steps with the arrow keys", async () => {
    const page = await show("dashboard", { throughput });
    const plot = page.find("[role=slider]");
    const press = async (key: string) => {
      plot.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      await settle();
    };
    expect(plot.getAttribute("aria-valuetext")).toContain("3 finished · 0 failed");
    await press("ArrowLeft");
    expect(page.find(".oq-throughput .oq-section-aside").textContent).toContain("2 finished · 1 failed");
    await press("Home");
    expect(plot.getAttribute("aria-valuenow")).toBe("0");
    await press("Escape");
    expect(page.find(".oq-throughput .oq-section-aside").textContent).toContain("now");
  });

  it("says that nothing happened", async () => {
    const page = await show("dashboard", { throughput: { step: 1, end: NOW, finished: [0, 0], failed: [0, 0] } });
    expect(page.find(".oq-quiet").textContent).toBe("Nothing finished in this time");
  });
});

describe("tasks", () => {
  const rows: TaskRow[] = [
    row({ id: "r", status: "running" }),
    row({ id: "p", status: "pending", started_at: null, attempt: 0, run_at: NOW + 9_000 }),
    row({ id: "f", status: "failed", attempt: 4, finished_at: NOW - 2_000, error: "ValueError: no" }),
    row({ id: "s", status: "succeeded", finished_at: NOW - 2_000 }),
    row({ id: "k", status: "skipped", started_at: null, finished_at: NOW }),
  ];

  it("shows each task's state in words and what can be done about it", async () => {
    const page = await show("dashboard", { tasks: tasks(rows) });
    expect(page.texts(".oq-task .oq-col-status")).toEqual(["Running", "Pending", "Failed", "Succeeded", "Skipped"]);
    expect(page.texts(".oq-task .oq-col-action")).toEqual(["Cancel", "Cancel", "Retry", "", ""]);
    expect(page.texts(".oq-task .oq-col-when")).toEqual(["5 s ago", "in 9 s", "2 s ago", "2 s ago", "now"]);
    expect(page.texts(".oq-task .oq-col-took")).toEqual(["5.0 s", "–", "3.0 s", "3.0 s", "–"]);
    expect(page.find(".oq-task-error").textContent).toBe("ValueError: no");
  });

  it("cancels and retries without opening the details", async () => {
    const page = await show("dashboard", { tasks: tasks(rows) });
    await page.click("Cancel fetch r");
    await page.click("Retry fetch f");
    expect(page.commands("cancel")[0]?.args).toEqual({ task_id: "r" });
    expect(page.commands("retry")[0]?.args).toEqual({ task_id: "f" });
    expect(page.commands("detail")).toHaveLength(0);
  });

  it("keeps the elements of rows that move", async () => {
    const page = await show("dashboard", { tasks: tasks(rows) });
    const [first] = page.all(".oq-task");
    await page.update({ tasks: tasks([row({ id: "new" }), ...rows]) });
    expect(page.all(".oq-task")[1]).toBe(first);
  });

  it("fills the elements of rows that went with those that came", async () => {
    const page = await show("dashboard", { tasks: tasks(rows) });
    const before = page.all(".oq-task");
    await page.update({ tasks: tasks(rows.map((old) => row({ id: `${old.id}2`, func: "other", queue: "q" }))) });
    for (const [index, element] of page.all(".oq-task").entries()) expect(element).toBe(before[index]);
    expect(page.texts(".oq-task .oq-task-name")[4]).toBe("otherk2");
    expect(page.texts(".oq-task .oq-col-queue")[4]).toBe("q");
    expect(page.texts(".oq-task .oq-col-took")[4]).toBe("5.0 s");
    expect(page.all(".oq-task-error")).toHaveLength(0);
    page.find(".oq-task-open").click();
    await settle();
    expect(page.commands("detail")[0]?.args).toEqual({ task_id: "r2" });
  });

  it("fills many rows in steps, the first ones first, and all of them in the end", async () => {
    const flood = (name: string) => tasks([...Array(50).keys()].map((n) => row({ id: `${name}${n}` })));
    const drawn = () =>
      page
        .texts(".oq-task .oq-id")
        .map((id) => id[0])
        .join("");
    const page = await show("dashboard", { tasks: flood("a") });
    expect(drawn()).toBe("a".repeat(50));
    await settle(1_000);
    page.tell({ tasks: flood("b") });
    const seen = new Set<string>();
    for (let ms = 0; ms < 100; ms += 4) {
      await settle(4);
      seen.add(drawn());
    }
    const steps = [0, STEP, 2 * STEP, 50].map((some) => "b".repeat(some) + "a".repeat(50 - some));
    expect([...seen]).toEqual(steps);
  });

  it("makes no task's button another's", async () => {
    const page = await show("dashboard", { tasks: tasks([row({ id: "a" })]) });
    await page.click("Cancel fetch a");
    const pressed = page.button("Cancel fetch a");
    await page.update({ tasks: tasks([row({ id: "b" })]) });
    expect(page.button("Cancel fetch b")).not.toBe(pressed);
    expect(page.button("Cancel fetch b").getAttribute("aria-busy")).toBe("false");
    await page.click("Cancel fetch b");
    expect(page.commands("cancel").map((command) => command.args.task_id)).toEqual(["a", "b"]);
  });

  it("lets time pass in the rows", async () => {
    const page = await show("dashboard", { tasks: tasks(rows) });
    await page.update({});
    await settle(4_000);
    expect(page.texts(".oq-task .oq-col-when").slice(0, 2)).toEqual(["9 s ago", "in 5 s"]);
    expect(page.texts(".oq-task .oq-col-took")[0]).toBe("9.0 s");
  });

  it("filters by state and by queue, from the first page", async () => {
    const page = await show("dashboard", {
      queues: [io],
      totals: counts({ failed: 1 }),
      tasks: tasks(rows, { page: 3 }),
    });
    await page.click("Failed: 1");
    expect(page.commands("page").at(-1)?.args).toEqual({
      page: 0,
      filter: { status: "failed", queue: null, func: null },
    });
    expect(page.button("Failed: 1").getAttribute("aria-pressed")).toBe("true");
    expect(page.find(".oq-tasks-list").getAttribute("aria-busy")).toBe("true");
    const queue = page.find<HTMLSelectElement>("select[aria-label=Queue]");
    queue.value = "io";
    queue.dispatchEvent(new Event("change", { bubbles: true }));
    await settle();
    expect(page.commands("page").at(-1)?.args.filter).toEqual({ status: "failed", queue: "io", func: null });
  });

  it("returns to what the kernel shows when it refuses, and says so", async () => {
    const page = await show("dashboard", { tasks: tasks(rows), totals: counts({ failed: 1 }) });
    await page.click("Failed: 1");
    await page.reply("page", { ok: false, error: "busy" });
    expect(page.button("Failed: 1").getAttribute("aria-pressed")).toBe("false");
    expect(page.find(".oq-notices").textContent).toContain("busy");
  });

  it("pages as far as there are pages", async () => {
    const page = await show("dashboard", { tasks: tasks(rows, { page: 1, has_next: false }) });
    const next = page.button("Next");
    expect(next.getAttribute("aria-disabled")).toBe("true");
    next.focus();
    await page.click("Next");
    expect(page.commands("page")).toHaveLength(0);
    expect(document.activeElement).toBe(next);
    await page.click("Previous");
    expect(page.commands("page")[0]?.args.page).toBe(0);
    expect(page.find(".oq-page[role=status]").textContent).toBe("Page 1");
    await page.update({ tasks: tasks(rows, { page: 0, has_next: true }) });
    await page.reply("page", { ok: true });
    expect(page.button("Previous").getAttribute("aria-disabled")).toBe("true");
    expect(page.button("Next").getAttribute("aria-disabled")).toBe("false");
  });

  it("tells an empty store from an empty filter", async () => {
    const page = await show("dashboard");
    expect(page.text).toContain("No tasks yet");
    await page.update({ tasks: tasks([], { filter: { status: "failed", queue: null, func: null } }) });
    expect(page.text).toContain("No task matches this filter");
  });

  it("keeps the order while the mouse is over the rows", async () => {
    const page = await show("dashboard", { tasks: tasks([row({ id: "a" }), row({ id: "b" })]) });
    const body = page.find(".oq-task-table tbody");
    const ids = () => page.texts(".oq-task .oq-id");
    const point = async (type: string, pointerType: string) => {
      body.dispatchEvent(new PointerEvent(type, { pointerType }));
      await settle();
    };
    await point("pointerenter", "mouse");
    await page.update({ tasks: tasks([row({ id: "c" }), row({ id: "b", status: "failed" })]) });
    expect(ids()).toEqual(["a", "b"]);
    expect(page.texts(".oq-task .oq-col-status")).toEqual(["Running", "Failed"]);
    expect(page.find(".oq-pager").textContent).toContain("1 newer task");
    await point("pointerleave", "mouse");
    expect(ids()).toEqual(["c", "b"]);
    await point("pointerenter", "touch");
    await page.update({ tasks: tasks([row({ id: "d" })]) });
    expect(ids()).toEqual(["d"]);
  });
});

describe("details", () => {
  const failed = row({ id: "f", status: "failed", attempt: 4, finished_at: NOW, error: "ValueError: no" });
  const detail = {
    row: failed,
    args: "('http://x',)",
    result: null,
    error: "ValueError: no",
    traceback: "Traceback (most recent call last):\n  <b>here</b>",
    events: [event({ event_type: "task.started", ts: NOW - 5_000 }), event({ event_type: "task.failed", ts: NOW })],
    metadata: { batch: 7 },
  };

  async function opened(task = failed) {
    const page = await show("dashboard", { tasks: tasks([task]) });
    page.find(".oq-task-open").click();
    await settle();
    return page;
  }

  it("asks for the task and shows everything about it, as text", async () => {
    const page = await opened();
    expect(page.commands("detail")).toMatchObject([{ args: { task_id: "f" } }]);
    expect(page.find(".oq-detail").textContent).toContain("Loading…");
    await page.reply("detail", { ok: true, result: detail });
    const text = page.find(".oq-detail").textContent ?? "";
    for (const part of ["ValueError: no", "<b>here</b>", "('http://x',)", '"batch": 7', "started", "4 of 4"]) {
      expect(text).toContain(part);
    }
    expect(page.all(".oq-detail b")).toHaveLength(0);
    expect(page.find<HTMLDetailsElement>(".oq-detail details").open).toBe(true);
    expect(page.buttons("Retry fetch f")).toHaveLength(2);
  });

  it("shows what went wrong, and tries again", async () => {
    const page = await opened();
    await page.reply("detail", { ok: false, error: "TaskNotFound: f" });
    expect(page.find(".oq-detail [role=alert]").textContent).toContain("TaskNotFound: f");
    await page.click("Try again");
    await page.reply("detail", { ok: true, result: detail });
    expect(page.find(".oq-detail h4").textContent).toBe("fetch");
    expect(page.all(".oq-detail [role=alert]")).toHaveLength(0);
  });

  it("takes the focus, and gives it back on Escape", async () => {
    const page = await opened();
    expect(document.activeElement).toBe(page.find(".oq-detail h4"));
    page.find(".oq-detail").dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    await settle();
    expect(page.all(".oq-detail")).toHaveLength(0);
    expect(document.activeElement).toBe(page.find(".oq-task-open"));
  });

  it("asks again when the task's row changes", async () => {
    const page = await opened();
    await page.reply("detail", { ok: true, result: detail });
    await page.update({ tasks: tasks([failed]) });
    expect(page.commands("detail")).toHaveLength(1);
    await page.update({ tasks: tasks([{ ...failed, status: "pending", attempt: 0 }]) });
    expect(page.commands("detail")).toHaveLength(2);
  });

  it("looks again now and then while the task runs, and no longer once it is closed", async () => {
    const running = row({ id: "r" });
    const page = await opened(running);
    await page.update({});
    await page.reply("detail", { ok: true, result: { ...detail, row: running } });
    await settle(3_000);
    expect(page.commands("detail").length).toBe(2);
    await page.click("Close the details");
    await settle(9_000);
    expect(page.commands("detail").length).toBe(2);
  });

  it("narrows the list to the function", async () => {
    const page = await opened();
    await page.reply("detail", { ok: true, result: detail });
    await page.click("Show only fetch");
    expect(page.commands("page")[0]?.args.filter).toEqual({ status: null, queue: null, func: "fetch" });
    await page.click("Show every function, not only fetch");
    expect(page.commands("page")[1]?.args.filter).toEqual({ status: null, queue: null, func: null });
  });

  it("does not mind an answer after it was closed", async () => {
    const page = await opened();
    const fail = vi.spyOn(console, "error");
    await page.click("Close the details");
    await page.reply("detail", { ok: true, result: detail });
    expect(page.all(".oq-detail")).toHaveLength(0);
    expect(fail).not.toHaveBeenCalled();
  });
});

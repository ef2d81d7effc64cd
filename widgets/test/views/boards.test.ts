import { describe, expect, it } from "vitest";
import { counts, event, fakeTime, NOW, settle, show } from "../support";

fakeTime();

describe("queues", () => {
  it("shows the queues and nothing of the dashboard's rest", async () => {
    const page = await show("queues", { queues: [{ name: "io", paused: true, counts: counts({ pending: 12_345 }) }] });
    expect(page.texts(".oq-queues tbody .oq-col-count")[0]).toBe("12.3K");
    expect(page.find(".oq-queues tbody .oq-col-count").title).toBe("12,345");
    expect(page.all(".oq-tasks, .oq-workers")).toHaveLength(0);
  });

  it("has a word for having none", async () => {
    expect((await show("queues")).text).toContain("No queue holds a task yet");
  });
});

describe("schedules", () => {
  const schedule = {
    id: "s1",
    func: "report",
    when: "0 9 * * *",
    status: "active",
    next_at: NOW + 90_000,
    runs: 1_204,
  };

  it("shows when each runs next, and pauses it", async () => {
    const page = await show("schedules", { schedules: [schedule] });
    expect(page.texts(".oq-schedules tbody tr")).toEqual(["report0 9 * * *activein 1 min1,204Pause"]);
    await page.click("Pause report s1");
    expect(page.commands("pause_schedule")[0]?.args).toEqual({ schedule_id: "s1" });
  });

  it("resumes a paused one, and offers nothing for one that is over", async () => {
    const page = await show("schedules", {
      schedules: [
        { ...schedule, status: "paused", next_at: null },
        { ...schedule, id: "s2", status: "completed" },
      ],
    });
    expect(page.texts(".oq-schedules tbody .oq-col-action")).toEqual(["Resume", ""]);
    await page.click("Resume report s1");
    expect(page.commands("resume_schedule")[0]?.args).toEqual({ schedule_id: "s1" });
  });

  it("has a word for having none", async () => {
    expect((await show("schedules")).text).toContain("No schedules.");
  });
});

describe("events", () => {
  const events = [
    event({ event_type: "task.started", ts: NOW - 4_000, duration: null, func: "older" }),
    event({ event_type: "task.failed", ts: NOW - 1_000, func: "newer", duration: 3 }),
    event({ event_type: "queue.paused", ts: NOW - 2_000, task_id: "", func: "", worker: "", duration: null }),
  ];

  it("lists the newest first, with words beside each mark", async () => {
    const page = await show("events", { events });
    expect(page.texts(".oq-event-type")).toEqual(["task.failed", "queue.paused", "task.started"]);
    expect(page.texts(".oq-event-duration")).toEqual(["3.0 s", "", ""]);
    expect(page.texts(".oq-event-what")[1]).toBe("io");
  });

  it("draws the attempts of each worker", async () => {
    const page = await show("events", { events });
    expect(page.all(".oq-run")).toHaveLength(1);
    expect(page.find(".oq-run title").textContent).toContain("newer · Failed · 3.0 s");
    expect(page.texts(".oq-stream-workers li")).toEqual(["w1"]);
  });

  it("narrows by kind and by text", async () => {
    const page = await show("events", { events });
    const select = page.find<HTMLSelectElement>("select");
    select.value = "queue.";
    select.dispatchEvent(new Event("change", { bubbles: true }));
    await settle();
    expect(page.texts(".oq-event-type")).toEqual(["queue.paused"]);
    select.value = "";
    select.dispatchEvent(new Event("change", { bubbles: true }));
    const input = page.find<HTMLInputElement>("input");
    input.value = "OLD";
    input.dispatchEvent(new Event("input", { bubbles: true }));
    await settle();
    expect(page.texts(".oq-event-type")).toEqual(["task.started"]);
    input.value = "nothing like it";
    input.dispatchEvent(new Event("input", { bubbles: true }));
    await settle();
    expect(page.text).toContain("No event matches.");
  });

  it("stands still on demand, then catches up", async () => {
    const page = await show("events", { events });
    await page.click("Hold");
    await page.update({ events: [event({ event_type: "task.retried" })] });
    expect(page.texts(".oq-event-type")).toHaveLength(3);
    await page.click("Follow");
    expect(page.texts(".oq-event-type")).toEqual(["task.retried"]);
  });

  it("has a word for silence", async () => {
    const page = await show("events");
    expect(page.text).toContain("Nothing has happened yet.");
    expect(page.all(".oq-stream")).toHaveLength(0);
  });
});

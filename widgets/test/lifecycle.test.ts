import { describe, expect, it, vi } from "vitest";
import { FakeModel } from "../dev/model";
import { VIEWS } from "../src/model";
import { PACE } from "../src/store";
import { counts, fakeTime, Mounted, NOW, row, settle, show, state, tasks } from "./support";

fakeTime();

function mounted(view: string): Mounted {
  return new Mounted(new FakeModel({ view, theme: "auto", state: state({ tasks: tasks([row()]) }) }));
}

describe.each(VIEWS)("%s", (view) => {
  it.each(["abort", "cleanup"] as const)("leaves nothing behind after %s", async (way) => {
    const page = mounted(view);
    await settle();
    page.all(".oq-task-open")[0]?.click();
    await settle();
    await page.update({ now: NOW });
    page.model.deliver({ type: "update", seq: 9, patch: { now: NOW + 1 } });
    if (way === "abort") page.abort.abort();
    else page.dispose();
    await settle();
    expect(page.model.listeners()).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    expect(page.el.childNodes).toHaveLength(0);
  });
});

it("can be disposed twice, by the signal and by the cleanup", async () => {
  const page = mounted("dashboard");
  page.abort.abort();
  page.dispose();
  expect(page.el.childNodes).toHaveLength(0);
});

it("watches the notebook's theme no longer than it lives", async () => {
  const page = mounted("dashboard");
  const root = page.find(".omniq");
  document.body.dataset.jpThemeLight = "false";
  await settle();
  expect(root.dataset.theme).toBe("dark");
  page.dispose();
  document.body.dataset.jpThemeLight = "true";
  await settle();
  delete document.body.dataset.jpThemeLight;
  expect(root.dataset.theme).toBe("dark");
});

it("renders nothing into a view that is already gone", () => {
  const model = new FakeModel({ view: "queues", theme: "auto", state: state() });
  const page = new Mounted(model);
  page.dispose();
  model.deliver({ type: "update", seq: 1, patch: { now: 4 } });
  expect(model.listeners()).toBe(0);
});

it("greets the kernel once", async () => {
  const page = await show("dashboard");
  expect(page.model.sent.map((command) => command.op)).toEqual(["hello"]);
});

it("shows what a reload found before any message came", async () => {
  const page = await show("progress", { progress: { ...state().progress, title: "train", total: 1 } });
  expect(page.text).toContain("train");
});

it("takes a new state from the trait", async () => {
  const page = await show("dashboard", { tasks: tasks([row({ id: "old" })]) });
  page.model.set("state", state({ tasks: tasks([row({ id: "new" })]) }));
  await settle(PACE.tasks);
  expect(page.texts(".oq-task .oq-id")).toEqual(["new"]);
  expect(page.find(".oq-connection").textContent).toBe("Live");
});

it("asks for a full copy after a lost update", async () => {
  const page = await show("dashboard");
  page.model.deliver({ type: "update", seq: 1, patch: {} });
  await settle(5_000);
  page.model.deliver({ type: "update", seq: 3, patch: {} });
  await settle();
  expect(page.commands("hello")).toHaveLength(2);
});

it("keeps two views of one model apart", async () => {
  const model = new FakeModel({
    view: "queues",
    theme: "auto",
    state: state({ queues: [{ name: "io", paused: false, counts: counts() }] }),
  });
  const [one, two] = [new Mounted(model), new Mounted(model)];
  await settle();
  await one.click("Pause queue io");
  expect(one.button("Pause queue io").dataset.phase).toBe("pending");
  expect(two.button("Pause queue io").dataset.phase).toBeUndefined();
  one.dispose();
  model.deliver({ type: "update", seq: 1, patch: { queues: [{ name: "high", paused: false, counts: counts() }] } });
  await settle();
  expect(two.text).toContain("high");
  two.dispose();
  expect(model.listeners()).toBe(0);
});

it("keeps its keys from the notebook", async () => {
  const page = await show("dashboard", { tasks: tasks([row()]) });
  const heard = vi.fn();
  document.body.addEventListener("keydown", heard);
  page.find(".oq-task-open").dispatchEvent(new KeyboardEvent("keydown", { key: "d", bubbles: true }));
  document.body.removeEventListener("keydown", heard);
  expect(heard).not.toHaveBeenCalled();
  expect(page.find(".omniq").hasAttribute("data-lm-suppress-shortcuts")).toBe(true);
});

it("follows the traits for view and theme", async () => {
  const page = await show("queues", {}, "dark");
  expect(page.find(".omniq").dataset.theme).toBe("dark");
  page.model.set("theme", "light");
  page.model.set("view", "schedules");
  await settle();
  expect(page.find(".omniq").dataset.theme).toBe("light");
  expect(page.text).toContain("No schedules.");
});

it("survives whatever a message holds", async () => {
  const page = await show("dashboard");
  for (const message of [null, 3, { type: "update", patch: { tasks: "x", queues: {}, app: [] } }, { type: "reply" }]) {
    page.model.deliver(message);
  }
  await settle();
  expect(page.text).toContain("No tasks yet");
});

it("lives without a comm, as in a saved notebook", async () => {
  const model = new FakeModel({ view: "dashboard", theme: "auto", state: state({ totals: counts({ failed: 2 }) }) });
  model.send = () => {
    throw new Error("no comm");
  };
  const page = new Mounted(model);
  await settle(20_000);
  expect(page.text).toContain("No contact");
  expect(page.text).toContain("2 tasks");
  page.dispose();
});

import { afterEach, beforeEach, vi } from "vitest";
import { FakeModel } from "../dev/model";
import widget from "../src/index";
import { emptyModel, type Model, type Status, type TaskEvent, type TaskRow, zeroCounts } from "../src/model";
import type { Command, Op } from "../src/protocol";
import { PACE } from "../src/store";

export const NOW = Date.UTC(2025, 1, 3, 12, 0, 0);

/** Time stands still between the tests' own steps. */
export function fakeTime(): void {
  beforeEach(() => {
    vi.useFakeTimers({ now: NOW });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
}

/** Lets a frame, what it renders and the effects after it happen. */
export async function settle(ms = 50): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

export function counts(some: Partial<Record<Status, number>> = {}) {
  return { ...zeroCounts(), ...some };
}

export function row(some: Partial<TaskRow> = {}): TaskRow {
  return {
    id: "task-0000000001",
    func: "fetch",
    queue: "io",
    priority: 0,
    status: "running",
    attempt: 1,
    max_retries: 3,
    created_at: NOW - 60_000,
    run_at: null,
    started_at: NOW - 5_000,
    finished_at: null,
    error: null,
    ...some,
  };
}

export function event(some: Partial<TaskEvent> = {}): TaskEvent {
  return {
    ts: NOW - 1_000,
    event_type: "task.succeeded",
    task_id: "task-0000000001",
    func: "fetch",
    queue: "io",
    worker: "w1",
    duration: 2,
    ...some,
  };
}

export function tasks(rows: TaskRow[], some: Partial<Model["tasks"]> = {}): Model["tasks"] {
  return { rows, filter: { status: null, queue: null, func: null }, page: 0, has_next: false, ...some };
}

export function state(some: Partial<Model> = {}): Model {
  const app = { name: "crawler", store: "redis://:***@host/0", version: "1.2.3", error: null, closed_at: null };
  return { ...emptyModel(), now: NOW, app, ...some };
}

export class Mounted {
  readonly el = document.createElement("div");
  readonly abort = new AbortController();
  readonly dispose: () => void;
  #seq = 0;

  constructor(readonly model: FakeModel) {
    document.body.append(this.el);
    this.dispose = widget.render({ model, el: this.el, signal: this.abort.signal });
  }

  get text(): string {
    return this.el.textContent ?? "";
  }

  find<E extends HTMLElement = HTMLElement>(selector: string): E {
    const element = this.el.querySelector<E>(selector);
    if (element === null) throw new Error(`nothing matches ${selector} in ${this.el.innerHTML}`);
    return element;
  }

  all(selector: string): HTMLElement[] {
    return [...this.el.querySelectorAll<HTMLElement>(selector)];
  }

  texts(selector: string): string[] {
    return this.all(selector).map((element) => element.textContent ?? "");
  }

  /** A button by its accessible name. */
  button(name: string): HTMLButtonElement {
    const found = this.buttons(name)[0];
    if (found === undefined) throw new Error(`no button is called ${name}`);
    return found;
  }

  buttons(name: string): HTMLButtonElement[] {
    return [...this.el.querySelectorAll("button")].filter(
      (button) => (button.getAttribute("aria-label") ?? button.textContent?.trim()) === name,
    );
  }

  async click(name: string): Promise<void> {
    this.button(name).click();
    await settle();
  }

  /** Tells the page something, and lets no time pass. */
  tell(patch: Partial<Model>): void {
    this.#seq += 1;
    this.model.deliver({ type: "update", seq: this.#seq, patch });
  }

  async update(patch: Partial<Model>): Promise<void> {
    this.tell(patch);
    const paces = Object.keys(patch).map((key) => PACE[key as keyof Model] ?? 0);
    await settle(Math.max(50, ...paces));
  }

  commands(op: Op): Command[] {
    return this.model.sent.filter((command) => command.op === op);
  }

  async reply(op: Op, answer: { ok: true; result?: unknown } | { ok: false; error: string }): Promise<void> {
    this.model.deliver({ type: "reply", id: this.commands(op).at(-1)?.id, ...answer });
    await settle();
  }
}

const mounted: Mounted[] = [];

export async function show(view: string, model: Partial<Model> | null = {}, theme = "light"): Promise<Mounted> {
  const traits = { view, theme, state: model === null ? {} : state(model) };
  const page = new Mounted(new FakeModel(traits));
  mounted.push(page);
  await settle();
  return page;
}

afterEach(() => {
  for (const page of mounted.splice(0)) page.dispose();
  document.body.replaceChildren();
});

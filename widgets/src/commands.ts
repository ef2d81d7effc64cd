import { signal } from "@preact/signals";
import type { Command, KernelMessage, Op } from "./protocol";

export const REPLY_TIMEOUT = 10_000;
export const NO_ANSWER = "the kernel did not answer";

export type CommandState = { phase: "pending" } | { phase: "error"; message: string };
export type Reply = Extract<KernelMessage, { type: "reply" }>;
export type Args = Record<string, unknown>;

interface Waiting {
  timer: ReturnType<typeof setTimeout>;
  settle(reply: Reply): void;
}

/** Buttons that would do the same thing to the same thing share one state, wherever they are on the page. */
export function commandKey(op: Op, args: Args): string {
  return `${op} ${args.task_id ?? args.queue ?? args.schedule_id ?? ""}`.trim();
}

function newViewId(): string {
  return crypto.randomUUID?.() ?? Math.random().toString(36).slice(2);
}

export class Commands {
  readonly states = signal<ReadonlyMap<string, CommandState>>(new Map());
  readonly #view = newViewId();
  readonly #waiting = new Map<string, Waiting>();
  #count = 0;

  constructor(private readonly send: (command: Command) => void) {}

  /** Resolves with the reply's result; rejects with the kernel's one-line error, or when no reply came in time. */
  request(op: Op, args: Args): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#post(op, args, (reply) => (reply.ok ? resolve(reply.result) : reject(new Error(reply.error))));
    });
  }

  /** For buttons: how it went is in `states`. A reply that comes after the timeout still counts. */
  act(op: Op, args: Args): void {
    const key = commandKey(op, args);
    if (this.states.peek().get(key)?.phase === "pending") return;
    this.#mark(key, { phase: "pending" });
    this.#post(op, args, (reply) => this.#mark(key, reply.ok ? null : { phase: "error", message: reply.error }));
  }

  /** Sent without waiting for an answer. */
  tell(op: Op): void {
    this.send({ type: "command", id: this.#nextId(), op, args: {} });
  }

  receive(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    if (waiting === undefined) return;
    this.#waiting.delete(reply.id);
    clearTimeout(waiting.timer);
    waiting.settle(reply);
  }

  report(key: string, message: string): void {
    this.#mark(key, { phase: "error", message });
  }

  dismiss(key: string): void {
    if (this.states.peek().has(key)) this.#mark(key, null);
  }

  dispose(): void {
    for (const { timer } of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
  }

  #post(op: Op, args: Args, settle: (reply: Reply) => void): void {
    const id = this.#nextId();
    const timer = setTimeout(() => settle({ type: "reply", id, ok: false, error: NO_ANSWER }), REPLY_TIMEOUT);
    this.#waiting.set(id, { timer, settle });
    try {
      this.send({ type: "command", id, op, args });
    } catch {
      this.receive({ type: "reply", id, ok: false, error: "the page has no connection to the kernel" });
    }
  }

  #mark(key: string, state: CommandState | null): void {
    const states = new Map(this.states.peek());
    if (state === null) states.delete(key);
    else states.set(key, state);
    this.states.value = states;
  }

  #nextId(): string {
    this.#count += 1;
    return `${this.#view}-${this.#count}`;
  }
}

import type { WidgetModel } from "../src/host";
import type { Command } from "../src/protocol";

type Listener = (...args: never[]) => void;

/** Stands in for anywidget's model: traits, custom messages, and an answer to each command. */
export class FakeModel implements WidgetModel {
  readonly sent: Command[] = [];
  answer: (command: Command) => void = () => {};
  readonly #traits: Map<string, unknown>;
  readonly #listeners = new Map<string, Set<Listener>>();

  constructor(traits: Record<string, unknown>) {
    this.#traits = new Map(Object.entries(traits));
  }

  get(key: string): unknown {
    return this.#traits.get(key);
  }

  set(key: string, value: unknown): void {
    this.#traits.set(key, value);
    this.#emit(`change:${key}`, value);
  }

  on(event: string, callback: Listener): void {
    this.#listeners.set(event, (this.#listeners.get(event) ?? new Set()).add(callback));
  }

  off(event: string, callback: Listener): void {
    this.#listeners.get(event)?.delete(callback);
  }

  send(content: unknown): void {
    const command = content as Command;
    this.sent.push(command);
    this.answer(command);
  }

  /** From the kernel to the page. */
  deliver(message: unknown): void {
    this.#emit("msg:custom", message);
  }

  listeners(): number {
    return [...this.#listeners.values()].reduce((total, callbacks) => total + callbacks.size, 0);
  }

  #emit(event: string, content: unknown): void {
    for (const callback of this.#listeners.get(event) ?? []) (callback as (content: unknown) => void)(content);
  }
}

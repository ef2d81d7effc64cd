import { computed, type ReadonlySignal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { Clock } from "./clock";
import { Commands } from "./commands";
import { Connection } from "./connection";
import type { WidgetModel } from "./host";
import { parseMessage, parsePatch } from "./protocol";
import { Store } from "./store";

/** Everything one rendered view lives on; nothing is shared between views, so each can go at any time. */
export class Page {
  readonly store = new Store();
  readonly clock = new Clock();
  readonly commands: Commands;
  readonly connection: Connection;
  /** The time up to which the view knows what happens: it stands still while nobody tells. */
  readonly present: ReadonlySignal<number>;
  readonly #stops: (() => void)[] = [];

  constructor(private readonly model: WidgetModel) {
    this.commands = new Commands((command) => model.send(command));
    this.connection = new Connection(() => this.#hello());
    this.present = computed(() => {
      const { app, now } = this.store.slices;
      const told = this.connection.state.value !== "silent" && app.value.closed_at === null;
      return told ? this.clock.now.value : now.value;
    });
    this.#listen("change:state", () => {
      this.connection.heard();
      this.#readState();
    });
    this.#listen("msg:custom", (content) => this.#receive(content));
    this.#readState();
    // What the saved state knows is on screen at once, not a frame later.
    this.store.flush();
    this.connection.open();
    this.#stops.push(this.clock.now.subscribe(() => this.#tick()));
  }

  dispose(): void {
    for (const stop of this.#stops) stop();
    this.store.dispose();
    this.clock.dispose();
    this.commands.dispose();
  }

  #listen(event: string, callback: (content: unknown) => void): void {
    this.model.on(event, callback);
    this.#stops.push(() => this.model.off(event, callback));
  }

  #readState(): void {
    const patch = parsePatch(this.model.get("state"));
    if (patch.now !== undefined) this.clock.sync(patch.now);
    this.store.merge(patch);
  }

  #receive(content: unknown): void {
    const message = parseMessage(content);
    if (message === null) return;
    this.connection.heard();
    if (message.type === "reply") {
      this.commands.receive(message);
      return;
    }
    this.connection.numbered(message.seq);
    if (message.patch.now !== undefined) this.clock.sync(message.patch.now);
    this.store.merge(message.patch);
  }

  /** Nobody will answer for an app that was closed or a group that is done, and nothing will change. */
  #tick(): void {
    const { app, progress } = this.store.slices;
    if (app.peek().closed_at === null && progress.peek().finished_at === null) this.connection.tick();
  }

  #hello(): void {
    try {
      this.commands.tell("hello");
    } catch {
      // Without a comm (a saved notebook) there is no one to greet: the silence shows it.
    }
  }
}

const PageContext = createContext<Page | null>(null);
export const PageProvider = PageContext.Provider;

export function usePage(): Page {
  const page = useContext(PageContext);
  if (page === null) throw new Error("a component was rendered outside of a page");
  return page;
}

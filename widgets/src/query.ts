import { type Signal, signal } from "@preact/signals";
import { commandKey } from "./commands";
import type { TaskFilter, TaskPage } from "./model";
import type { Page } from "./page";

export interface Query {
  page: number;
  filter: TaskFilter;
}

/**
 * Which tasks the table asks for. The kernel holds the truth (`tasks.page`, `tasks.filter`); until it has answered,
 * the controls show what was asked, so that a click is visible at once.
 */
export class TaskQuery {
  readonly #asked: Signal<Query | null> = signal(null);

  constructor(private readonly page: Page) {}

  get current(): Query {
    return this.#asked.value ?? pick(this.page.store.slices.tasks.value);
  }

  get pending(): boolean {
    return this.#asked.value !== null;
  }

  turn(step: 1 | -1): void {
    const { page, filter } = this.current;
    this.#ask({ page: Math.max(0, page + step), filter });
  }

  narrow(change: Partial<TaskFilter>): void {
    this.#ask({ page: 0, filter: { ...this.current.filter, ...change } });
  }

  #ask(query: Query): void {
    const { commands, store } = this.page;
    const key = commandKey("page", {});
    this.#asked.value = query;
    commands.dismiss(key);
    commands
      .request("page", { ...query })
      .catch((error: Error) => commands.report(key, error.message))
      .finally(() => {
        if (this.#asked.peek() !== query) return;
        // The update with the new rows came before the reply; show both in one step.
        store.flush();
        this.#asked.value = null;
      });
  }
}

function pick({ page, filter }: TaskPage): Query {
  return { page, filter };
}

import { batch, type Signal, signal } from "@preact/signals";
import { emptyModel, type Model } from "./model";
import { share } from "./share";

type Slices = { readonly [K in keyof Model]: Signal<Model[K]> };
type Key = keyof Model;

/** Lists are renewed at most this often (ms): nobody reads rows faster. Numbers and bars keep the full pace. */
export const PACE: Readonly<Partial<Record<Key, number>>> = { tasks: 400, events: 400 };

/** One signal per top-level key of the model; patches that arrive within one animation frame are applied together. */
export class Store {
  readonly slices: Slices;
  readonly loaded = signal(false);
  #waiting: Partial<Model> = {};
  readonly #appliedAt = new Map<Key, number>();
  #frame: number | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor() {
    const entries = Object.entries(emptyModel()).map(([key, value]) => [key, signal(value)]);
    this.slices = Object.fromEntries(entries);
  }

  merge(patch: Partial<Model>): void {
    Object.assign(this.#waiting, patch);
    this.#frame ??= requestAnimationFrame(() => this.#applyDue());
  }

  /** Applies everything now: somebody is waiting for it. */
  flush(): void {
    this.#unschedule();
    this.#apply(Object.keys(this.#waiting) as Key[]);
  }

  dispose(): void {
    this.#unschedule();
    this.#waiting = {};
  }

  #applyDue(): void {
    this.#unschedule();
    const keys = Object.keys(this.#waiting) as Key[];
    this.#apply(keys.filter((key) => this.#rest(key) <= 0));
    const rests = Object.keys(this.#waiting).map((key) => this.#rest(key as Key));
    if (rests.length > 0) this.#timer = setTimeout(() => this.#applyDue(), Math.min(...rests));
  }

  /** How long a key still has to wait for its turn. */
  #rest(key: Key): number {
    const applied = this.#appliedAt.get(key);
    return applied === undefined ? 0 : applied + (PACE[key] ?? 0) - performance.now();
  }

  #apply(keys: Key[]): void {
    if (keys.length === 0) return;
    batch(() => {
      for (const key of keys) this.#renew(key);
      this.loaded.value = true;
    });
  }

  #renew<K extends Key>(key: K): void {
    const next = this.#waiting[key];
    delete this.#waiting[key];
    this.#appliedAt.set(key, performance.now());
    if (next !== undefined) this.slices[key].value = share(this.slices[key].peek(), next as Model[K]);
  }

  #unschedule(): void {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#frame = null;
    this.#timer = null;
  }
}

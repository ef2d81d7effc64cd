import { signal } from "@preact/signals";

/** After this much silence the page asks whether anyone is there. */
export const PROBE_AFTER = 10_000;
/** After this much silence it says so. */
export const SILENT_AFTER = 15_000;
/** A lost update is noticed by its gap in `seq`; one question per this time asks for a full copy. */
export const RESYNC_EVERY = 2_000;

export type ConnectionState = "connecting" | "live" | "silent";

/** Decides from the traffic alone whether a kernel is behind the page: a notebook tells widgets nothing about it. */
export class Connection {
  readonly state = signal<ConnectionState>("connecting");
  readonly heardAt = signal<number | null>(null);
  #since = Date.now();
  #askedAt = Number.NEGATIVE_INFINITY;
  #seq: number | null = null;

  constructor(private readonly hello: () => void) {}

  open(): void {
    this.#ask();
  }

  heard(): void {
    this.#since = Date.now();
    this.heardAt.value = this.#since;
    this.state.value = "live";
  }

  /** An update's number. A smaller one than before means that the kernel started counting anew. */
  numbered(seq: number | null): void {
    const missed = seq !== null && this.#seq !== null && seq > this.#seq + 1;
    this.#seq = seq;
    if (missed && Date.now() - this.#askedAt >= RESYNC_EVERY) this.#ask();
  }

  tick(): void {
    const silence = Date.now() - this.#since;
    if (silence >= SILENT_AFTER) this.state.value = "silent";
    if (silence >= PROBE_AFTER && Date.now() - this.#askedAt >= PROBE_AFTER) this.#ask();
  }

  #ask(): void {
    this.#askedAt = Date.now();
    this.hello();
  }
}

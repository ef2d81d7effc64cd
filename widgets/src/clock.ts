import { signal } from "@preact/signals";

const TICK = 1_000;
/** Smaller differences are the message's travel time; following them would make ages flicker. */
const DRIFT = 1_000;

/** The kernel's clock as seen from the page: its offset is learned from updates, its tick drives all relative times. */
export class Clock {
  readonly now = signal(Date.now());
  #offset = 0;
  readonly #timer = setInterval(() => this.#tick(), TICK);

  sync(kernelNow: number): void {
    if (kernelNow <= 0) return;
    const offset = kernelNow - Date.now();
    if (Math.abs(offset - this.#offset) < DRIFT) return;
    this.#offset = offset;
    this.#tick();
  }

  dispose(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    this.now.value = Date.now() + this.#offset;
  }
}

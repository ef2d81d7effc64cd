const WINDOW = 30_000;
const ENOUGH = 2_000;

interface Sample {
  at: number;
  done: number;
}

/** How fast work settles: over the last half minute, or since the start while there is too little to see. */
export class RateMeter {
  #samples: Sample[] = [];

  sample(at: number, done: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && (at < last.at || done < last.done)) this.#samples = [];
    if (last?.at === at) this.#samples.pop();
    this.#samples.push({ at, done });
    while (this.#samples.length > 2 && (this.#samples[0] as Sample).at < at - WINDOW) this.#samples.shift();
  }

  perSecond(startedAt: number | null): number {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined) return 0;
    if (last.at - first.at >= ENOUGH) return ((last.done - first.done) / (last.at - first.at)) * 1_000;
    return startedAt !== null && last.at > startedAt ? (last.done / (last.at - startedAt)) * 1_000 : 0;
  }
}

/** Milliseconds until nothing is left; null when nobody can say. */
export function timeLeft(remaining: number, perSecond: number): number | null {
  return remaining > 0 && perSecond > 0 ? (remaining / perSecond) * 1_000 : null;
}

// How large something was, many times over, since the thread has started: by powers of two, for what reads it
// again and again (Prometheus). Noting a value is two additions and a few operations on integers; nothing is allocated.

/** There is a bucket for each power of two up to this one (of microseconds: two years), and one for what is larger. */
export const OCTAVES = 46;

/** As they travel. */
export interface OctaveTotals {
  /** `counts[i]`: how many were at most 2^i, and more than 2^(i-1). */
  readonly counts: Float64Array;
  readonly sum: number;
}

export class Octaves implements OctaveTotals {
  readonly counts = new Float64Array(OCTAVES + 1);
  sum = 0;

  /** So many values were as large as this one. */
  note(value: number, count = 1): void {
    this.counts[octaveOf(value)]! += count;
    this.sum += value * count;
  }

  /** How many values there were. */
  get count(): number {
    return this.counts.reduce((all, each) => all + each, 0);
  }

  add({ counts, sum }: OctaveTotals): void {
    for (let i = 0; i <= OCTAVES; i++) this.counts[i]! += counts[i]!;
    this.sum += sum;
  }

  /** As it is now; what is noted later does not show in it. */
  totals(): OctaveTotals {
    return { counts: this.counts.slice(), sum: this.sum };
  }
}

function octaveOf(value: number): number {
  const below = value > 1 ? Math.ceil(value) - 1 : 0;
  // The operators know 32 bits.
  if (below < 2 ** 31) return 32 - Math.clz32(below);
  return Math.min(48 - Math.clz32(below / 2 ** 16), OCTAVES);
}

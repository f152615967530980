// What has become of every item that was sent: each has a number. An accepted item is delivered and
// completed exactly once, a refused one never; where the outcome is unknown, at most once. One byte
// an item, so that millions fit.

const SENT = 1;
const ACCEPTED = 2;
const REFUSED = 4;
const UNKNOWN = 8;
const DELIVERED = 16;
const COMPLETED = 32;

const VIOLATIONS_MAX = 20;

export type Outcome = "accepted" | "refused" | "unknown";

const MARKS: Readonly<Record<Outcome, number>> = {
  accepted: ACCEPTED,
  refused: REFUSED,
  unknown: UNKNOWN,
};

/** Notes what happens to items, and what may not. */
export class Ledger {
  readonly violations: string[] = [];
  readonly counts = { accepted: 0, refused: 0, unknown: 0, delivered: 0, completed: 0 };
  #marks = new Uint8Array(1 << 16);
  #next = 0;

  /** Numbers for so many new items; answers the first. */
  send(count: number): number {
    const first = this.#next;
    this.#next += count;
    if (this.#next > this.#marks.length) {
      const larger = new Uint8Array(this.#marks.length * 2);
      larger.set(this.#marks);
      this.#marks = larger;
    }
    this.#marks.fill(SENT, first, this.#next);
    return first;
  }

  /** The answer to the request that held these items. */
  settle(first: number, count: number, outcome: Outcome): void {
    this.counts[outcome] += count;
    for (let number = first; number < first + count; number++) {
      this.#marks[number]! |= MARKS[outcome];
      if (outcome === "refused" && this.#has(number, DELIVERED)) {
        this.#violate(`item ${number} was refused and delivered all the same`);
      }
    }
  }

  deliver(number: number): void {
    this.counts.delivered++;
    if (!this.#has(number, SENT)) this.#violate(`item ${number} was never sent`);
    if (this.#has(number, REFUSED)) this.#violate(`item ${number} was refused, then delivered`);
    if (this.#has(number, DELIVERED)) this.#violate(`item ${number} was delivered twice`);
    this.#marks[number]! |= DELIVERED;
  }

  complete(number: number): void {
    this.counts.completed++;
    if (this.#has(number, COMPLETED)) this.#violate(`item ${number} was completed twice`);
    this.#marks[number]! |= COMPLETED;
  }

  /** Accepted items that are not completed yet. */
  get unfinished(): readonly number[] {
    const numbers: number[] = [];
    for (let number = 0; number < this.#next; number++) {
      if (this.#has(number, ACCEPTED) && !this.#has(number, COMPLETED)) numbers.push(number);
    }
    return numbers;
  }

  #has(number: number, mark: number): boolean {
    return ((this.#marks[number] ?? 0) & mark) !== 0;
  }

  #violate(text: string): void {
    if (this.violations.length < VIOLATIONS_MAX) this.violations.push(text);
  }
}

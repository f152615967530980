// Counts, by address, the requests with keys that are not taken: after some in a minute an address is told to stay
// away for a while. Who has a key that is taken is never locked out by others behind the same proxy, for only those
// who have none are counted and told so. A key has 256 random bits; this is not what keeps anybody from
// guessing one, but it is seen, and tells a program that was set up wrong to slow down.

import { type Clock, MINUTE, SECOND } from "../clock.ts";
import { QueueError, queueError } from "../errors.ts";
import type { Logger } from "../log.ts";

const WINDOW = MINUTE;
/** So many in a window are answered as what they are. */
export const ATTEMPTS_MAX = 20;
/** Of so many addresses it is known how many they have sent; the longest known one is forgotten for another. */
export const ADDRESSES_MAX = 10_000;
const TELL_AGAIN = MINUTE;

interface Attempt {
  count: number;
  /** When, in steady time, its window ends. */
  readonly until: number;
}

export class Attempts {
  readonly #clock: Clock;
  readonly #log: Logger;
  // In the order in which their windows end.
  readonly #byAddress = new Map<string, Attempt>();
  // When, in steady time, the log was told of it last, and how many there were since.
  #toldAt = Number.NEGATIVE_INFINITY;
  #untold = 0;

  /** `clock` has real time, for clients live in it. */
  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  /** How many addresses are known. */
  get size(): number {
    return this.#byAddress.size;
  }

  /** Notes that a key was not taken, for this reason; answers the error to tell. `keyTag` is what may be logged of it. */
  note(address: string, keyTag: string, reason: unknown): unknown {
    const isOfKey = reason instanceof QueueError && reason.kind === "unauthorized";
    if (!isOfKey) return reason;
    const now = this.#clock.steady();
    this.#forgetBefore(now);
    this.#tell(now, address, keyTag);
    const place = placeOf(address);
    const attempt = this.#byAddress.get(place) ?? this.#begin(place, now);
    attempt.count++;
    if (attempt.count <= ATTEMPTS_MAX) return reason;
    const seconds = Math.max(Math.ceil((attempt.until - now) / SECOND), 1);
    return queueError("rate_limited", { seconds });
  }

  #begin(place: string, now: number): Attempt {
    if (this.#byAddress.size >= ADDRESSES_MAX) {
      const [oldest] = this.#byAddress.keys();
      this.#byAddress.delete(oldest!);
    }
    const attempt = { count: 0, until: now + WINDOW };
    this.#byAddress.set(place, attempt);
    return attempt;
  }

  #forgetBefore(now: number): void {
    for (const [place, { until }] of this.#byAddress) {
      if (until > now) return;
      this.#byAddress.delete(place);
    }
  }

  #tell(now: number, address: string, keyTag: string): void {
    this.#untold++;
    if (now - this.#toldAt < TELL_AGAIN) return;
    this.#log.warn(
      { from: address, ...(keyTag !== "" && { key_tag: keyTag }), attempts: this.#untold },
      "a key was shown that is not taken",
    );
    this.#toldAt = now;
    this.#untold = 0;
  }
}

// Who has one address of IPv6 has a whole network of them.
function placeOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/, "");
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("::");
  const groups = head.split(":").filter(Boolean);
  const after = tail === undefined ? [] : tail.split(":").filter(Boolean);
  while (groups.length + after.length < 8 && groups.length < 4) groups.push("0");
  return [...groups, ...after].slice(0, 4).join(":");
}

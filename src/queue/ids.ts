// Item ids: on the wire a KSUID of 27 base62 characters, inside a partition a sequence number.
// A partition has a prefix of 18 characters, taken from a fresh KSUID when it is made; the last 9
// characters are the number in base62. So an id needs no column and no look-up, ids of a partition
// ascend with their numbers, as text as well, and they go on where they ended after a restart.

import { randomBytes } from "node:crypto";
import { SECOND } from "../clock.ts";
import { invalid, type QueueError } from "../errors.ts";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LENGTH = 27;
const PREFIX_LENGTH = 18;
const SEQ_LENGTH = ID_LENGTH - PREFIX_LENGTH;
const ID_MIN = "000000000000000000000000000";
const ID_MAX = "aWgEPTl1tmebfsQzFP4bxwgy80V";

/** What an id looks like, as a pattern for the API's document. */
export const ID_PATTERN = `^[0-9A-Za-z]{${ID_LENGTH}}$`;

const KSUID_EPOCH_SECONDS = 1_400_000_000;
const KSUID_SECONDS_MAX = 2 ** 32 - 1;

// All pairs of digits, so that a number becomes text in four steps and a last digit.
const PAIRS = Array.from(
  { length: 62 * 62 },
  (_, i) => ALPHABET[Math.floor(i / 62)]! + ALPHABET[i % 62]!,
);
const PAIR = PAIRS.length;

const DIGITS = new Int8Array(128).fill(-1);
for (let i = 0; i < ALPHABET.length; i++) DIGITS[ALPHABET.charCodeAt(i)] = i;

/**
 * A fresh prefix for the ids of a new partition: a KSUID of this second, rounded down. A clock that is years
 * off makes the first or the last that there is.
 */
export function newIdPrefix(now: number, random: Buffer = randomBytes(16)): string {
  random[0]! &= 0x7f; // leaves room above, so that no number ever carries into the seconds
  const since = Math.floor(now / SECOND) - KSUID_EPOCH_SECONDS;
  const seconds = BigInt(Math.min(Math.max(since, 0), KSUID_SECONDS_MAX));
  let rest =
    ((seconds << 128n) | BigInt(`0x${random.toString("hex")}`)) / 62n ** BigInt(SEQ_LENGTH);
  let text = "";
  for (let i = 0; i < PREFIX_LENGTH; i++) {
    text = ALPHABET[Number(rest % 62n)]! + text;
    rest /= 62n;
  }
  return text;
}

/** The error that a client gets for a text that is no KSUID; undefined for one that is. */
export function idError(id: string): QueueError | undefined {
  if (Buffer.byteLength(id) !== ID_LENGTH) {
    return invalid(`invalid storage id; '${id}': Valid encoded KSUIDs are 27 characters`);
  }
  let valid = id <= ID_MAX;
  for (let i = 0; i < ID_LENGTH && valid; i++) valid = digitAt(id, i) >= 0;
  if (valid) return undefined;
  return invalid(
    `invalid storage id; '${id}': Valid encoded KSUIDs are bounded by ${ID_MIN} and ${ID_MAX}`,
  );
}

/** What the ids of the partition begin with that has given this one. */
export function prefixOf(id: string): string {
  return id.slice(0, PREFIX_LENGTH);
}

function digitAt(text: string, index: number): number {
  return DIGITS[text.charCodeAt(index)] ?? -1;
}

/** The ids of one partition. */
export class IdSpace {
  readonly prefix: string;
  // Prefix and all but the last two digits of the last id made: neighbours share them.
  #stem = "";
  #stemNumber = -1;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  /** The id of a sequence number. */
  id(seq: number): string {
    const low = seq % PAIR;
    const high = (seq - low) / PAIR;
    if (high !== this.#stemNumber) {
      this.#stemNumber = high;
      this.#stem = this.prefix + highDigits(high);
    }
    return this.#stem + PAIRS[low]!;
  }

  /** The sequence number of a valid id; -1 if it is none of this partition. */
  seq(id: string): number {
    if (id.length !== ID_LENGTH || !id.startsWith(this.prefix)) return -1;
    let seq = 0;
    for (let i = PREFIX_LENGTH; i < ID_LENGTH; i++) {
      const digit = digitAt(id, i);
      if (digit < 0) return -1;
      seq = seq * 62 + digit;
    }
    return seq;
  }

  /** The first sequence number at or after a valid id of any partition: where a page begins. */
  seqFrom(id: string): number {
    const prefix = id.slice(0, PREFIX_LENGTH);
    if (prefix < this.prefix) return 0;
    return prefix > this.prefix ? Number.MAX_SAFE_INTEGER : this.seq(id);
  }
}

/** The ids of all partitions of a queue, by the numbers of the partitions. */
export class IdSpaces {
  readonly #spaces: readonly IdSpace[];
  readonly #numbers = new Map<string, number>();

  constructor(spaces: readonly IdSpace[]) {
    this.#spaces = spaces;
    for (const [number, { prefix }] of spaces.entries()) this.#numbers.set(prefix, number);
  }

  get count(): number {
    return this.#spaces.length;
  }

  of(partition: number): IdSpace {
    return this.#spaces[partition]!;
  }

  /** The partition that an id is of; -1 if it is of none, or no id. */
  partitionOf(id: string): number {
    const number = this.#numbers.get(prefixOf(id));
    return number !== undefined && this.#spaces[number]!.seq(id) >= 0 ? number : -1;
  }
}

// The seven digits above the last two.
function highDigits(high: number): string {
  let text = "";
  for (let i = 0; i < 3; i++) {
    const low = high % PAIR;
    text = PAIRS[low]! + text;
    high = (high - low) / PAIR;
  }
  return ALPHABET[high]! + text;
}

// Checksums of rows. SQLite does not notice when a page of its file is not what it has written; so
// each row that decides what is served carries a sum over all that it holds, and is checked when it
// is read. CRC-32, as ISO 3309 has it, over the contents; the numbers beside them are mixed into
// its start value, because a call for each would cost more than the sum itself.

import { crc32 } from "node:zlib";

// Odd, and without a pattern in its bits: 2^32 divided by the golden ratio.
const SPREAD = 0x9e3779b1;

function mix(hash: number, number: number): number {
  const low = Math.imul(hash ^ (number >>> 0), SPREAD);
  return Math.imul(low ^ (low >>> 15) ^ ((number / 2 ** 32) >>> 0), SPREAD);
}

// Items of one batch mostly share their text.
let lastText = "";
let lastSum = crc32("");

function sumOfText(text: string): number {
  if (text === lastText) return lastSum;
  lastText = text;
  lastSum = crc32(text);
  return lastSum;
}

/**
 * The sum of a row that is one item: a whole number of 32 bits with a sign. `numbers` are all of it but
 * its form, which is the last that is mixed in.
 */
export function sumOfItem(row: {
  readonly numbers: readonly number[];
  readonly attributes: string;
  readonly form: number;
  readonly text: string;
  readonly payload: Uint8Array;
}): number {
  let hash = sumOfText(row.text);
  if (row.attributes !== "") hash = crc32(row.attributes, hash);
  for (const number of row.numbers) hash = mix(hash, number);
  hash = mix(hash, row.form);
  return crc32(row.payload, hash >>> 0) | 0;
}

/** The sum of a small row. */
export function sumOfRow(...values: readonly (number | string | Uint8Array)[]): number {
  let hash = values.length;
  for (const value of values) {
    hash = typeof value === "number" ? mix(hash, value) >>> 0 : crc32(value, hash);
  }
  return hash | 0;
}

// Keys as their holders have them, and the ids of what is kept here. A key is `qtr-<tag>-<entropy>`: the tag says
// what it is for, the entropy is 32 random bytes in base62. Only the SHA-256 of a key is kept; the
// digest of 256 random bits needs no salt, and tells nothing of the key to who reads it.

import { hash, randomBytes } from "node:crypto";
import { SECOND } from "../clock.ts";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ENTROPY_BYTES = 32;
const ENTROPY_LENGTH = 43;
const SHOWN_LENGTH = 8;
const KEY = /^qtr-([0-9a-z]{1,16})-[0-9A-Za-z]{43,128}$/;

/** The tag of keys for which none was chosen. */
export const DEFAULT_TAG = "live";

// Of a KSUID.
const EPOCH_SECONDS = 1_400_000_000;
const ID_LENGTH = 27;

/** Makes a key with a tag. */
export function newKey(tag: string): string {
  return `qtr-${tag}-${inBase62(randomBytes(ENTROPY_BYTES), ENTROPY_LENGTH)}`;
}

/** The tag of a key; undefined if the text has not the form of one. */
export function tagOf(key: string): string | undefined {
  return KEY.exec(key)?.[1];
}

/** What may be told of a key, so that people recognise it: `qtr-<tag>-` and a few characters. */
export function prefixOf(key: string): string {
  return key.slice(0, key.indexOf("-", 4) + 1 + SHOWN_LENGTH);
}

/** What is kept of a key. */
export function digestOf(key: string): string {
  return hash("sha256", key, "base64url");
}

/** A fresh id, a KSUID: later ones come later in order, to the microsecond. */
export function newId(now: number): string {
  const bytes = Buffer.alloc(20);
  bytes.writeUInt32BE(Math.max(Math.floor(now / SECOND) - EPOCH_SECONDS, 0) % 2 ** 32);
  // Where others have nothing but chance.
  bytes.writeUInt32BE(Math.max(Math.floor(now), 0) % SECOND, 4);
  randomBytes(12).copy(bytes, 8);
  return inBase62(bytes, ID_LENGTH);
}

// Big-endian, with zeros before it.
function inBase62(bytes: Buffer, length: number): string {
  let rest = BigInt(`0x${bytes.toString("hex")}`);
  let text = "";
  for (; rest > 0n; rest /= 62n) text = ALPHABET[Number(rest % 62n)]! + text;
  return text.padStart(length, "0");
}

// By what items are told that died alike: a fingerprint of what went wrong with them, without all that is
// another each time. Pure. It lies in storage with each dead item, so what goes into it is changed with care:
// what died before a change is another group than what dies after it.

import { createHash } from "node:crypto";
import type { DropReason } from "../storage/storage.ts";
import type { ItemError } from "./attributes.ts";

/** What is known of a death. */
export interface Death {
  readonly kind: string;
  readonly error: ItemError | undefined;
  readonly reason: DropReason | "";
}

// Of a message no more is looked at: what is alike is alike in its beginning.
const MESSAGE_MAX = 1_000;
const LETTERS = 16;

// What is another each time, in the order in which it is blanked.
const VARYING: readonly [pattern: RegExp, blank: string][] = [
  [/"[^"]*"|`[^`]*`|(?<!\w)'[^']*'(?!\w)/g, "'*'"],
  [/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/gi, "*"],
  // Ids in hexadecimal, and in more letters than that: long, with digits in between.
  [/\b0x[0-9a-f]+\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\b|\b(?=[a-z_]*\d)\w{16,}\b/gi, "*"],
  [/\d+(?:[.,:]\d+)*/g, "*"],
];

/** A message without numbers, ids and quoted texts. */
export function blanked(message: string): string {
  let text = message.slice(0, MESSAGE_MAX);
  for (const [pattern, blank] of VARYING) text = text.replaceAll(pattern, blank);
  return text;
}

/** The fingerprint of a death. One of which its consumer has said nothing is told by its reason. */
export function fingerprintOf({ kind, error, reason }: Death): string {
  const what = error === undefined ? [reason] : [error.type, blanked(error.message)];
  const text = JSON.stringify([kind, ...what]);
  return createHash("sha256").update(text).digest("hex").slice(0, LETTERS);
}

/** The kind that a producer gave an item, by the text of its record. */
export function kindOf(text: string): string {
  if (!text.includes('"kind":')) return "";
  const end = text.indexOf("\t");
  const members = JSON.parse(`{${end === -1 ? text : text.slice(0, end)}}`) as { kind?: string };
  return members.kind ?? "";
}

// Idempotency: what is kept of a request with an Idempotency-Key. Under the key, for ten minutes: a digest of
// the request, and what it was answered, so that the same request, sent again, gets the same answer.

import { MINUTE } from "../clock.ts";
import { type PackedError, packError, queueError, unpackError } from "../errors.ts";
import type { KeyEntry } from "../storage/storage.ts";
import { KEY } from "./keys.ts";
import type { Refused } from "./requests.ts";

/** By which a request that is sent again is recognised: its idempotency key, and what it asks for. */
export interface Repeat {
  /** As its sender has chosen it. */
  readonly key: string;
  /** Of all that it asks for: another request with the same key is a mistake. */
  readonly digest: string;
}

/** How long an idempotency key is kept, in microseconds. */
export const REPEAT_KEPT = 10 * MINUTE;

interface Kept {
  readonly digest: string;
  readonly result: unknown;
}

type Result = Readonly<Record<string, unknown>> & { readonly refused?: readonly Refused[] };

/** The entry that keeps what a request is answered. */
export function entryOfRepeat(
  { key, digest }: Repeat,
  result: object | string,
  now: number,
): KeyEntry {
  const kept: Kept = { digest, result: typeof result === "string" ? result : pack(result) };
  const value = JSON.stringify(kept);
  return { kind: KEY.idempotency, key, seq: 0, until: now + REPEAT_KEPT, value };
}

// Refusals are errors, of which the class is lost in storage.
function pack(result: object): unknown {
  const { refused, ...rest } = result as Result;
  if (refused === undefined) return rest;
  return { ...rest, refused: refused.map((each) => ({ ...each, error: packError(each.error) })) };
}

function unpack(packed: unknown): unknown {
  if (typeof packed === "string") return packed;
  const { refused, ...rest } = packed as Readonly<Record<string, unknown>>;
  if (refused === undefined) return rest;
  const list = refused as readonly { readonly index: number; readonly error: PackedError }[];
  return { ...rest, refused: list.map((each) => ({ ...each, error: unpackError(each.error) })) };
}

/**
 * What was answered to the request whose entry this is; undefined if there is none, or it has ended. Throws
 * a QueueError (409) if it was another request.
 */
export function resultOfRepeat(
  { key, digest }: Repeat,
  entry: KeyEntry | undefined,
  now: number,
): unknown {
  if (entry === undefined || entry.until <= now) return undefined;
  const kept = JSON.parse(entry.value) as Kept;
  if (kept.digest !== digest) throw queueError("idempotency_mismatch", { key });
  return unpack(kept.result);
}

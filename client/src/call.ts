// What the calls share that are not gathered: one request and its reply, and lists that are fetched page
// by page. A list goes on at the item after the last one it has seen, whatever happens in between.

import type { Connection } from "./connection.ts";
import { type Duration, toMs } from "./duration.ts";
import { QueratorError } from "./errors.ts";

/** What every call takes. */
export interface CallOptions {
  /** Ends the call: it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** How long the server may take, for calls without requestTimeout; 30s by default. */
  readonly timeout?: Duration | undefined;
}

export const TIMEOUT_MS = 30_000;

/** A reply's body as an object; throws a QueratorError if it is none. */
export function parseReply<T extends object>(body: string): T {
  let cause: unknown;
  try {
    const reply = JSON.parse(body) as unknown;
    if (typeof reply === "object" && reply !== null) return reply as T;
  } catch (error) {
    cause = error;
  }
  const text = `The server answered 200 with something that is not JSON: ${body.slice(0, 200)}`;
  throw new QueratorError("invalid-reply", text, { status: 200, uncertain: true, cause });
}

/**
 * Throws a QueratorError unless a reply says that the server has done what it was asked. Whatever stands
 * between, a page that asks for a password say, may answer 200 as well.
 */
export function checkDone(body: string): void {
  if (body === '{"code":200}') return;
  if (parseReply<{ readonly code?: unknown }>(body).code === 200) return;
  const text = `The server answered 200 with something that is no confirmation: ${body.slice(0, 200)}`;
  throw new QueratorError("invalid-reply", text, { status: 200, uncertain: true });
}

/** Makes one call. One that changes something is repeated only if it was surely not done. */
export async function once<T extends object>(
  connection: Connection,
  path: string,
  request: object,
  { signal, timeout = TIMEOUT_MS }: CallOptions,
  isRepeatable = false,
): Promise<T> {
  connection.checkOpen();
  const body = JSON.stringify(request);
  const timeoutMs = toMs(timeout, "timeout");
  return parseReply<T>(await connection.call({ path, body, timeoutMs, isRepeatable, signal }));
}

export interface Pages<Wire, T> {
  readonly request: object;
  readonly options: CallOptions & {
    readonly from?: string | undefined;
    readonly pageSize?: number | undefined;
  };
  readonly decode: (wire: Wire) => T;
  /** By which the list is ordered, and continued. */
  readonly keyOf: (item: T) => string;
}

/** Fetches a list until its end. */
export async function* pages<Wire, T>(
  connection: Connection,
  path: string,
  { request, options, decode, keyOf }: Pages<Wire, T>,
): AsyncGenerator<T, void, undefined> {
  const { from = "", pageSize = 1_000 } = options;
  let pivot = from;
  let isFirst = true;
  for (;;) {
    // The pivot is the last one seen, and is in the page again unless it has gone.
    const limit = isFirst ? pageSize : pageSize + 1;
    const reply = await once<{ items?: Wire[] }>(
      connection,
      path,
      { ...request, pivot, limit },
      options,
      true,
    );
    const items = (reply.items ?? []).map(decode);
    for (const item of items) {
      if (!isFirst && keyOf(item) === pivot) continue;
      yield item;
    }
    // A page may be shorter than was asked for, as its bytes are bounded too: the end is where nothing is new.
    const last = items.at(-1);
    if (last === undefined || (!isFirst && keyOf(last) === pivot)) return;
    pivot = keyOf(last);
    isFirst = false;
  }
}

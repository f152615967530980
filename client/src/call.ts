// What the calls share that are not gathered: one request and its reply, and lists that are fetched page
// by page. A list goes on at the item after the last one it has seen, whatever happens in between.

import { utf8LengthMax } from "./bytes.ts";
import type { Connection } from "./connection.ts";
import { type Duration, toMs } from "./duration.ts";
import { invalidReply, isTooLarge, partlyDone, tooLarge } from "./errors.ts";

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
  throw invalidReply(text, cause);
}

/**
 * Throws a QueratorError unless a reply says that the server has done what it was asked. Whatever stands
 * between, a page that asks for a password say, may answer 200 as well.
 */
export function checkDone(body: string): void {
  if (body === '{"code":200}') return;
  checkConfirmation(parseReply(body));
}

/** The same for a reply that is parsed. */
export function checkConfirmation(reply: object): void {
  if ((reply as { readonly code?: unknown }).code === 200) return;
  throw strange("with something that is no confirmation", reply);
}

/** Throws a QueratorError unless a reply has what the server always sends, whatever else it leaves out. */
export function checkForm(isFine: boolean, reply: object): void {
  if (!isFine) throw strange("in a form that is not Querator's", reply);
}

function strange(how: string, reply: object): Error {
  return invalidReply(`The server answered 200 ${how}: ${JSON.stringify(reply).slice(0, 200)}`);
}

/** Makes one call. One that changes something is repeated only if it was surely not done. */
export async function once<T extends object>(
  connection: Connection,
  path: string,
  request: object,
  options: CallOptions,
  isRepeatable = false,
): Promise<T> {
  connection.checkOpen();
  return begun(connection, path, request, options, isRepeatable);
}

/** The same as a step of what was begun before: see `begin` of Connection. */
export async function begun<T extends object>(
  connection: Connection,
  path: string,
  request: object,
  { signal, timeout = TIMEOUT_MS }: CallOptions,
  isRepeatable = false,
): Promise<T> {
  const body = JSON.stringify(request);
  const timeoutMs = toMs(timeout, "timeout");
  return parseReply<T>(await connection.call({ path, body, timeoutMs, isRepeatable, signal }));
}

/** Makes one call that the server only confirms. */
export async function confirmed(...call: Parameters<typeof once>): Promise<void> {
  checkConfirmation(await once(...call));
}

/**
 * Makes a call for items that can be made for some of them at a time: where it is refused for its size, for
 * one half after the other, down to single items. Answers all results in order.
 */
export async function inParts<T extends object, R>(
  items: readonly T[],
  call: (some: readonly T[]) => Promise<readonly R[]>,
): Promise<R[]> {
  const results: R[] = [];
  let size = Math.max(items.length, 1);
  let done = 0;
  for (let from = 0; from < items.length || done === 0; ) {
    const some = items.slice(from, from + size);
    try {
      results.push(...(await call(some)));
    } catch (error) {
      if (isTooLarge(error) && some.length > 1) {
        size = some.length >> 1;
        continue;
      }
      const failure = isTooLarge(error)
        ? tooLarge(error, {
            index: from,
            of: items.length,
            bytes: utf8LengthMax(JSON.stringify(some)),
          })
        : error;
      throw done === 0 ? failure : partlyDone(failure, done, done + 1);
    }
    from += some.length;
    done++;
  }
  return results;
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
    // An empty page is `{}`, as what is empty is left out.
    const { items: wires = [] } = reply;
    checkForm(Array.isArray(wires) && ("items" in reply || Object.keys(reply).length === 0), reply);
    const items = wires.map(decode);
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

// What the calls share that are not gathered: one request and its reply, and lists that are fetched page
// by page, each from where the server says that the one before ended.

import { utf8LengthMax } from "./bytes.ts";
import type { Connection } from "./connection.ts";
import { type Duration, toMs } from "./duration.ts";
import { failureOf, invalidReply, isTooLarge, tooLarge } from "./errors.ts";
import { exactJson } from "./exact-json.ts";

/** What every call takes. */
export interface CallOptions {
  /** Ends the call: it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** How long the server may take, for calls without requestTimeout; 30s by default. */
  readonly timeout?: Duration | undefined;
}

/** What every call takes that changes something, beside what is said of it. */
export interface KeyOptions {
  /**
   * By this the server knows the call again for ten minutes, also from another process, does it once and answers the
   * same: 1 to 240 visible characters, another key for each call. The same key with anything else that is asked for is
   * an error of code `invalid`, whose status is 409. The call travels by itself. A server that knows /v1 only knows no keys.
   */
  readonly idempotencyKey?: string | undefined;
}

export interface ChangeOptions extends CallOptions, KeyOptions {}

export const TIMEOUT_MS = 30_000;

// What holds the numbers of those who use it.
const EXACT = /"(?:json|result|progress)":/;

/** A reply's body as an object; throws a QueratorError if it is none. With its numbers as they are, if `isExact`. */
export function parseReply<T extends object>(body: string, isExact = false): T {
  let cause: unknown;
  try {
    const isPlain = !isExact || !EXACT.test(body);
    const reply = (isPlain ? JSON.parse(body) : exactJson(body)) as unknown;
    if (typeof reply === "object" && reply !== null) return reply as T;
  } catch (error) {
    cause = error;
  }
  const text = `The server answered 200 with something that is not JSON: ${body.slice(0, 200)}`;
  throw invalidReply(text, cause);
}

/**
 * Throws a QueratorError unless a reply is that of a call of which the server only says that it is done.
 * Whatever stands between, a page that asks for a password say, may answer 200 as well.
 */
export function checkConfirmation(reply: object): void {
  if ((reply as { readonly ok?: unknown }).ok === true) return;
  throw strange("with something that is no confirmation", reply);
}

/** Throws a QueratorError unless a reply has what the server always sends, whatever else it leaves out. */
export function checkForm(isFine: boolean, reply: object): void {
  if (!isFine) throw strange("in a form that is not Querator's", reply);
}

function strange(how: string, reply: object): Error {
  return invalidReply(`The server answered 200 ${how}: ${JSON.stringify(reply).slice(0, 200)}`);
}

/** Whether a call does no harm when it is done twice, or is `keyed`, so that the server does it once: see Call. */
export type Repeats = boolean | "keyed";

/** Makes one call. One that changes something is repeated only if it was surely not done, unless it is keyed. */
export async function once<T extends object>(
  connection: Connection,
  path: string,
  request: object,
  options: ChangeOptions,
  repeats: Repeats = false,
): Promise<T> {
  connection.checkOpen();
  return begun(connection, path, request, options, repeats);
}

/** The same as a step of what was begun before: see `begin` of Connection. */
export async function begun<T extends object>(
  connection: Connection,
  path: string,
  request: object | string,
  { signal, timeout = TIMEOUT_MS, idempotencyKey: key }: ChangeOptions,
  repeats: Repeats = false,
): Promise<T> {
  const body = typeof request === "string" ? request : JSON.stringify(request);
  const timeoutMs = toMs(timeout, "timeout");
  const [isRepeatable, isKeyed] = [repeats === true, repeats === "keyed"];
  const call = { path, body, timeoutMs, isRepeatable, isKeyed, key, signal };
  return parseReply<T>(await connection.call(call));
}

/** Makes one call that the server only confirms. */
export async function confirmed(...call: Parameters<typeof once>): Promise<void> {
  checkConfirmation(await once(...call));
}

/**
 * Makes a call for items, as JSON, that can be made for some of them at a time: where it is refused for its
 * size, for one half after the other, down to single items. Answers all results in order.
 */
export async function inParts<R>(
  items: readonly string[],
  call: (some: readonly string[]) => Promise<readonly R[]>,
): Promise<R[]> {
  const results: R[] = [];
  let size = Math.max(items.length, 1);
  for (let from = 0; from < items.length || from === 0; ) {
    const some = items.slice(from, from + size);
    try {
      results.push(...(await call(some)));
    } catch (error) {
      if (isTooLarge(error) && some.length > 1) {
        size = some.length >> 1;
        continue;
      }
      const failure = isTooLarge(error)
        ? tooLarge(error, { index: from, of: items.length, bytes: utf8LengthMax(some[0]!) })
        : error;
      throw failureOf(
        items.slice(from).map((_, i) => ({ index: from + i, error: failure })),
        items.length,
      );
    }
    from += Math.max(some.length, 1);
  }
  return results;
}

export interface Pages<Wire, T> {
  readonly request: object;
  readonly options: CallOptions & { readonly pageSize?: number | undefined };
  /** What the list is called in a reply. */
  readonly name: string;
  readonly decode: (wire: Wire) => T;
}

/** Fetches a list until its end. */
export async function* pages<Wire, T>(
  connection: Connection,
  path: string,
  { request, options, name, decode }: Pages<Wire, T>,
): AsyncGenerator<T, void, undefined> {
  const { pageSize: limit = 1_000 } = options;
  let cursor: string | undefined;
  do {
    const given = { ...request, cursor, limit };
    const reply = await once<Readonly<Record<string, unknown>>>(
      connection,
      path,
      given,
      options,
      true,
    );
    const { [name]: items = [], next_cursor: next = "" } = reply;
    // A page without items is `{}`, as what is empty is left out.
    const isKnown = name in reply || "next_cursor" in reply || Object.keys(reply).length === 0;
    checkForm(isKnown && Array.isArray(items) && typeof next === "string", reply);
    for (const wire of items as readonly Wire[]) yield decode(wire);
    cursor = next === "" ? undefined : String(next);
  } while (cursor !== undefined);
}

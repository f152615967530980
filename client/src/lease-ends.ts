// What is told to the server of leased items: that they are done, given back, given up, or kept for longer.
// Ends of leases that are told at the same time travel together; an extension, and what is to be done as a
// whole, is a request of its own, so that it waits behind nothing.

import { utf8LengthMax } from "./bytes.ts";
import { checkForm, parseReply } from "./call.ts";
import type {
  CompleteOptions,
  ExtendOptions,
  GiveBackOptions,
  NextItems,
} from "./client-options.ts";
import type { Connection } from "./connection.ts";
import { type Duration, toMs, toText } from "./duration.ts";
import {
  errorOfResult,
  InvalidRequestError,
  type ItemFailure,
  type ItemResult,
  type LeaseLostError,
  makeError,
  QueratorError,
} from "./errors.ts";
import { type CallerOptions, type Part, WaitingItems } from "./gatherer.ts";
import { type GatheredKind, type Gatherers, keyOf } from "./gatherers.ts";
import {
  checkRef,
  EXTENDED,
  type ExtendItem,
  encodeBack,
  encodeDone,
  encodeItem,
  encodeJson,
  encodeLease,
  encodeRejected,
  encodeReleased,
  type ItemRef,
  invalid,
  LeasedItem,
  NOT_TOLD,
  type ProducedItem,
} from "./items.ts";
import { readResults } from "./results.ts";

/** Of one request. */
const ITEMS_MAX = 1_000;
// Below the limit of a request's body, by more than what stands around the items.
const BYTES_MAX = 246_000;
// An extension is tried so often while a lease lasts, if no answer comes.
const TRIES = 3;
const TRY_MS_MAX = 30_000;
const TRY_MS_MIN = 500;

export type EndVerb = "complete" | "retry" | "release" | "reject";

/** A kind of call that ends leases. */
export interface EndKind<T> extends GatheredKind {
  readonly verb: EndVerb;
  readonly encode: (ref: T) => string;
}

export class LeaseEnds {
  // What is leased is bounded by those who leased it: its end is never refused, or it would be done twice.
  readonly #waiting = new WaitingItems(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  readonly complete = this.#kindOf("complete", encodeDone);
  readonly retry = this.#kindOf("retry", encodeBack);
  readonly release = this.#kindOf("release", encodeReleased);
  readonly reject = this.#kindOf("reject", encodeRejected);
  readonly #connection: Connection;
  readonly #gatherers: Gatherers;
  readonly #requestTimeout: Duration;

  /** `requestTimeout` is of calls that do not say it themselves. */
  constructor(connection: Connection, gatherers: Gatherers, requestTimeout: Duration) {
    this.#connection = connection;
    this.#gatherers = gatherers;
    this.#requestTimeout = requestTimeout;
  }

  #kindOf<T extends string | ItemRef>(verb: EndVerb, encode: (ref: T) => string): EndKind<T> {
    return {
      verb,
      path: `queue.${verb}`,
      list: "leases",
      bytesMax: BYTES_MAX,
      isRepeatable: true,
      isKeyed: false,
      sendsLate: true,
      waiting: this.#waiting,
      encode,
    };
  }

  /** Resolves when nothing waits to be told. */
  whenIdle(): Promise<void> {
    return this.#waiting.whenEmpty();
  }

  /** Ends leases. It is sent again until the last of them has ended, if they say when, or for its time-out. */
  async end<T extends string | ItemRef>(
    kind: EndKind<T>,
    queueName: string,
    refs: readonly T[],
    options: GiveBackOptions & { readonly isGivenUp?: (() => boolean) | undefined },
  ): Promise<void> {
    if (refs.length === 0) return;
    const { allOrNone = false, signal, onRepeat, onDead } = options;
    const { requestTimeout = this.#requestTimeout } = options;
    const until = this.#untilOf(refs, options.requestTimeout);
    const parts: Part[] = [];
    for (const ref of refs) parts.push(partOf(kind, ref));
    const how: CallerOptions = { signal, onRepeat, onDead, isGivenUp: options.isGivenUp, until };
    const { idempotencyKey: key } = options;
    if (allOrNone) await this.#endAll(kind, queueName, parts, { ...how, requestTimeout, key });
    else if (key === undefined) {
      await this.#gatherers.of(kind, queueName, requestTimeout).add(parts, how);
    } else await this.#gatherers.keyed(kind, queueName, requestTimeout, key).add(parts, how);
  }

  // Until when it is sent again, by performance.now().
  #untilOf(refs: readonly (string | ItemRef)[], requestTimeout: Duration | undefined): number {
    let deadlineMs = 0;
    if (requestTimeout === undefined) {
      for (const ref of refs) {
        if (typeof ref !== "string") deadlineMs = Math.max(deadlineMs, ref.leaseDeadlineMs ?? 0);
      }
    }
    if (deadlineMs > 0) return performance.now() + deadlineMs - this.#connection.now();
    return performance.now() + toMs(requestTimeout ?? this.#requestTimeout, "requestTimeout");
  }

  // In a request of its own, of which all is done or nothing.
  async #endAll(
    { path }: GatheredKind,
    queueName: string,
    parts: readonly Part[],
    {
      requestTimeout,
      key,
      more = "",
      ...how
    }: CallerOptions & {
      readonly requestTimeout: Duration;
      readonly key: string | undefined;
      readonly more?: string;
    },
  ): Promise<readonly ProducedItem[] | undefined> {
    checkCount(parts.length, "with allOrNone");
    const start = startOf(queueName, requestTimeout);
    const leases = parts.map(({ json }) => json).join();
    try {
      const body = await this.#connection.call({
        path,
        body: `${start},"all_or_none":true,"leases":[${leases}]${more}}`,
        timeoutMs: toMs(requestTimeout, "requestTimeout"),
        isRepeatable: true,
        // Else a repeat could not tell what was produced.
        isKeyed: more !== "",
        key,
        signal: how.signal,
        until: how.until,
        onRepeat: how.onRepeat,
      });
      for (const [i, { dead }] of readResults(body, parts.length).entries()) {
        if (dead === true) how.onDead?.(parts[i]!.leaseId!);
      }
      return more === "" ? undefined : producedOf(body);
    } catch (error) {
      if (isDoneBefore(error, parts.length)) return undefined;
      throw named(
        error,
        parts.map(({ leaseId }) => leaseId),
      );
    }
  }

  /** Ends leases and produces what is to be done next, both or neither; answers what that is. */
  async completeAndProduce(
    queueName: string,
    refs: readonly (string | ItemRef)[],
    next: readonly NextItems[],
    options: CompleteOptions,
  ): Promise<readonly ProducedItem[]> {
    const { signal, onRepeat, requestTimeout = this.#requestTimeout } = options;
    const texts = next.map(({ queueName: other, items }) => {
      const given = Array.isArray(items) ? items : [items];
      return { name: other ?? queueName, items: given.map(encodeItem) };
    });
    const lists = texts.map(({ name, items }) => {
      return `{"queue_name":${JSON.stringify(name)},"items":[${items.join()}]}`;
    });
    const produced = await this.#endAll(
      this.complete,
      queueName,
      refs.map((ref) => partOf(this.complete, ref)),
      {
        signal,
        onRepeat,
        requestTimeout,
        key: options.idempotencyKey,
        until: this.#untilOf(refs, options.requestTimeout),
        more: `,"produce":[${lists.join()}]`,
      },
    );
    // It was done by an earlier request, of whose reply nothing is kept.
    return produced ?? texts.flatMap(({ items }) => items.map(() => NOT_TOLD));
  }

  /**
   * Lets leases last for a time from now on, each by itself. Never rejects, unless with allOrNone: what goes
   * wrong is in the answer.
   */
  async extend(
    queueName: string,
    refs: readonly (string | ExtendItem)[],
    options: ExtendOptions,
  ): Promise<readonly Extension[]> {
    const { signal, onRepeat, requestTimeout, allOrNone = false, idempotencyKey: key } = options;
    if (allOrNone) checkCount(refs.length, "with allOrNone");
    const until = this.#untilOf(refs, requestTimeout);
    // What is left of a lease is another time for each call, and a call under a key is always the same.
    const timeoutMs =
      requestTimeout === undefined && key !== undefined
        ? toMs(this.#requestTimeout, "requestTimeout")
        : requestTimeout === undefined
          ? Math.min(Math.max((until - performance.now()) / TRIES, TRY_MS_MIN), TRY_MS_MAX)
          : toMs(requestTimeout, "requestTimeout");
    const start = startOf(queueName, timeoutMs) + (allOrNone ? ',"all_or_none":true' : "");
    const encoded = refs.map((ref) => encodeExtension(ref, options));
    const send = async (from: number): Promise<readonly Extension[]> => {
      const some = encoded.slice(from, from + ITEMS_MAX);
      try {
        const body = await this.#connection.call({
          path: "queue.extend",
          body: `${start},"leases":[${some.join()}]}`,
          timeoutMs,
          isRepeatable: true,
          key: key === undefined ? undefined : keyOf(key, from / ITEMS_MAX),
          signal,
          until,
          onRepeat,
        });
        const results = readResults(body, some.length);
        return some.map((_, i) => extension(results[i] ?? DONE, refs[from + i]!));
      } catch (error) {
        if (allOrNone) throw named(error, refs.map(leaseIdOf));
        return some.map(() => ({ deadline: undefined, error }));
      }
    };
    const pieces: Promise<readonly Extension[]>[] = [];
    for (let from = 0; from < refs.length; from += ITEMS_MAX) pieces.push(send(from));
    return (await Promise.all(pieces)).flat();
  }
}

const DONE: ItemResult = { ok: true };

/** What became of the extension of a lease: when it ends now, or why it was not extended. */
export type Extension =
  | { readonly deadline: Date; readonly error?: undefined }
  | { readonly deadline: undefined; readonly error: unknown };

function extension(result: ItemResult, ref: string | ExtendItem): Extension {
  if (result.code !== undefined) {
    return { deadline: undefined, error: errorOfResult(result, leaseIdOf(ref)) };
  }
  // One that has only told its progress ends when it would have.
  const until = typeof ref === "string" ? undefined : ref.leaseDeadlineMs;
  const deadline = new Date(result.lease_deadline ?? until ?? Number.NaN);
  if (ref instanceof LeasedItem) LeasedItem.extended(ref, deadline.getTime());
  return { deadline };
}

function encodeExtension(ref: string | ExtendItem, all: ExtendOptions): string {
  // What is leased is told how to be kept by those who have it.
  const isPlain = typeof ref !== "string" && !(ref instanceof LeasedItem);
  if (isPlain) checkRef(ref, EXTENDED, "what is extended");
  const own: Partial<ExtendItem> = isPlain ? ref : {};
  const { for: duration = all.for, progress = all.progress } = own;
  let text = encodeLease(ref).slice(0, -1);
  if (duration !== undefined) text += `,"for":"${toText(duration, "for")}"`;
  if (progress !== undefined) text += `,"progress":${encodeJson(progress, "progress")}`;
  else if (duration === undefined) throw invalid("for is invalid; give a duration, or progress");
  return `${text}}`;
}

function producedOf(body: string): readonly ProducedItem[] {
  const reply = parseReply<{ readonly produced?: readonly ProducedItem[] }>(body);
  checkForm(Array.isArray(reply.produced), reply);
  return reply.produced!;
}

function partOf<T extends string | ItemRef>({ encode }: EndKind<T>, ref: T): Part {
  const json = encode(ref);
  return { leaseId: leaseIdOf(ref), json, bytes: utf8LengthMax(json) };
}

function leaseIdOf(ref: string | ItemRef): string {
  return typeof ref === "string" ? ref : ref.leaseId;
}

/** How the body of a request begins. */
export function startOf(queueName: string, requestTimeout: Duration): string {
  const timeout = toText(requestTimeout, "requestTimeout");
  return `{"queue_name":${JSON.stringify(queueName)},"request_timeout":"${timeout}"`;
}

/** Throws an InvalidRequestError if there are more than one request holds. */
export function checkCount(count: number, how: string): void {
  if (count <= ITEMS_MAX) return;
  const text = `items is invalid; ${how} it must be ${ITEMS_MAX} at most, got ${count}`;
  throw new InvalidRequestError("invalid", text);
}

/** An error of a call that was to do all or nothing: of the class of the first that was refused, each with its lease. */
export function named(error: unknown, leaseIds: readonly (string | undefined)[]): unknown {
  if (!(error instanceof QueratorError) || error.failures.length === 0) return error;
  const { message, status, uncertain, failures: told } = error;
  const failures = told.map(({ index, error: own }) => {
    const leaseId = leaseIds[index];
    const { code, message: text } = own as QueratorError;
    return { index, error: makeError(code, text, leaseId === undefined ? {} : { leaseId }) };
  });
  const { code, leaseId } = failures[0]!.error as LeaseLostError;
  const made = makeError(code, message, {
    uncertain,
    cause: error,
    ...(status === undefined ? {} : { status }),
    ...(leaseId === undefined ? {} : { leaseId }),
  });
  made.failures = failures;
  return made;
}

// An earlier request, whose answer was lost, has ended all of them. If it did not, they are back in their
// queue and will be leased again.
function isDoneBefore(error: unknown, count: number): boolean {
  if (!(error instanceof QueratorError) || !error.uncertain) return false;
  const isEnded = ({ error: each }: ItemFailure): boolean =>
    each instanceof QueratorError && each.code === "lease-ended";
  return error.failures.length === count && error.failures.every(isEnded);
}

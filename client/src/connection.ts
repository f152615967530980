// A call of the server with its time-out and its retries. What is repeated is decided here and nowhere
// else: a call that only reads is repeated after anything that may pass, and so is one that changes something
// under a key by which the server knows it again; another only if the server has surely not done it, unless the
// caller says that it may be done twice. It is
// repeated for as long as its time lasts, however often that is. Of several addresses the one that
// works is kept. Knows every call under way, so that all of them have ended when it is closed. What it is
// given is of /v2; to a server that does not know it, it is said in the dialect of /v1.

import { type Backoff, fullJitter, sleep } from "./backoff.ts";
import { Bag, type InBag } from "./bag.ts";
import { Dialect } from "./dialect.ts";
import {
  ClosedError,
  type ErrorCode,
  errorOfReply,
  InvalidRequestError,
  makeError,
  NetworkError,
  QueratorError,
} from "./errors.ts";
import { isUnix, makeTransport, type TlsOptions, type Transport } from "./transport.ts";

/** How a call is repeated while its time lasts. */
export interface RetryOptions extends Backoff {
  /** Requests for one call, the first included; 1 for no repeats. Without bound by default. */
  readonly attemptsMax: number;
  /**
   * The same as long as no server has ever answered, for programs that somebody waits for: it is more
   * likely that none is there than that one is away. Without bound by default.
   */
  readonly attemptsMaxAtFirst: number;
}

export interface ConnectionOptions {
  /** One at least; the first that works is used. */
  readonly urls: readonly URL[];
  readonly key: string | undefined;
  readonly namespace: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: typeof globalThis.fetch | undefined;
  readonly tls: TlsOptions | undefined;
  readonly retry: RetryOptions;
  /** Added to the time-out that the server is given, before the client gives up by itself. */
  readonly marginMs: number;
  /** Milliseconds since 1970, in place of the system's clock and what is known of the server's. */
  readonly now: (() => number) | undefined;
}

export interface Call {
  /** Below /v2/, or with its version if that is another: `v1/queue.lease`. */
  readonly path: string;
  /** Or what makes it for each request, from the time that is left for the server to answer. */
  readonly body: string | ((leftMs: number) => string);
  /** How long the server may take for one request. */
  readonly timeoutMs: number;
  /** Until when it is repeated, by performance.now(); for `timeoutMs` from the call on if left out. */
  readonly until?: number | undefined;
  /** Whether it may be done twice without harm. */
  readonly isRepeatable: boolean;
  /**
   * Whether it travels under an Idempotency-Key, another one for each call: it is repeated as if it did no harm,
   * as it was sent, and the server does it once. Not in /v1, which has no keys.
   */
  readonly isKeyed?: boolean | undefined;
  /** The same under a key of its caller's own; then its body is always the same. */
  readonly key?: string | undefined;
  readonly signal: AbortSignal | undefined;
  /** Whether it waits for something to happen, so that nobody waits for it: see TransportRequest. */
  readonly isWait?: boolean;
  /** Told, of each failure after which it is repeated, what it was: also of an earlier one whether it may be done. */
  readonly onRepeat?: ((failure: QueratorError) => void) | undefined;
}

/** One of the addresses of a server. */
interface Target {
  readonly url: URL;
  /** Before /v2/. */
  readonly prefix: string;
  readonly transport: Transport;
}

// The server has less time for a request than this only if it is told so by its caller.
const LEFT_MIN_MS = 10;

// It is sent as it is, whatever the server knows.
const VERSIONED = /^v\d+\//;

// A server keeps keys for ten minutes.
const KEY_KEPT_MS = 9 * 60_000;

// With less left nothing is tried again.
const LAST_MS = 20;

// With other addresses to turn to, one to which no connection can be made is given up sooner.
const CONNECT_MS = 3_000;

// What another address may not answer.
const ELSEWHERE: readonly ErrorCode[] = [
  "network",
  "timeout",
  "shutting-down",
  "standby",
  "unavailable",
];

interface OpenCall extends InBag {
  readonly isWait: boolean;
  readonly controller: AbortController;
  /** Whether what has been sent may be done; written by #attempt, read by cut. */
  mayBeDone: boolean;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #targets: readonly Target[];
  // The one in use; changed when it fails.
  #target: Target;
  #hasAnswered = false;
  readonly #dialect: Dialect;
  readonly #open = new Bag<OpenCall>();
  // Resolved, and emptied, when no call is open any more.
  #idle: (() => void)[] = [];
  #isClosed = false;
  #isCut = false;
  // Of every client another, so that its keys are.
  readonly #prefix = crypto.randomUUID();
  #keys = 0;
  // Date of the last reply, which is the same for a second.
  #date: string | undefined;
  #aheadMs = 0;
  /** What time it is for the server, in milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds since some moment in the past. */
  readonly steady: () => number;

  constructor(options: ConnectionOptions) {
    const { urls, key, namespace, headers, fetch, tls } = options;
    this.#options = options;
    this.now = options.now ?? (() => Date.now() + this.#aheadMs);
    this.steady = options.now ?? (() => performance.now());
    this.#dialect = new Dialect(this.now);
    const all = {
      "Content-Type": "application/json",
      ...(key === undefined ? {} : { Authorization: `Bearer ${key}` }),
      ...(namespace === undefined ? {} : { "X-Querator-Namespace": namespace }),
      ...headers,
    };
    const connectMs = urls.length > 1 ? CONNECT_MS : undefined;
    this.#headers = all;
    this.#targets = urls.map((url) => ({
      url,
      prefix: isUnix(url) ? "" : url.pathname.replace(/\/+$/, ""),
      transport: makeTransport({ url, tls, fetch, headers: all, connectMs }),
    }));
    this.#target = this.#targets[0]!;
  }

  /** The address in use. */
  get url(): URL {
    return this.#target.url;
  }

  /** Whether the server knows /v2; undefined before it has been asked for anything. */
  get knowsV2(): boolean | undefined {
    return this.#dialect.knowsV2;
  }

  get isOpen(): boolean {
    return !this.#isClosed;
  }

  /** Throws once the connection is about to be closed. For calls that nobody has begun before. */
  checkOpen(): void {
    if (this.#isClosed) throw closedError();
  }

  /** Makes a call; answers the body of the reply as text. */
  call(call: Call): Promise<string> {
    const { signal, isWait } = call;
    return this.#during((open) => this.#ask(call, open), signal, isWait);
  }

  async #ask(call: Call, open: OpenCall): Promise<string> {
    if (VERSIONED.test(call.path)) return this.#attempt(call, open);
    if (this.#dialect.knowsV2 !== false) {
      try {
        const body = await this.#attempt(call, open);
        this.#dialect.noteKnown();
        return body;
      } catch (error) {
        if (!this.#dialect.isUnknown(error)) throw error;
      }
    }
    // To the queues of everybody it would say what is meant for those of one namespace.
    if (this.#options.namespace !== undefined) throw knowsNoNamespaces();
    // It has done nothing.
    return this.#dialect.translate(call, (translated) => this.#attempt(translated, open));
  }

  /**
   * Does what takes several steps, for a caller who has begun before the connection is closed: the whole
   * is waited for, and none of its calls is refused before what is under way is cut.
   */
  async begin<T>(work: () => Promise<T>): Promise<T> {
    this.checkOpen();
    return this.#during(work);
  }

  async #during<T>(
    work: (open: OpenCall) => Promise<T>,
    signal?: AbortSignal,
    isWait = false,
  ): Promise<T> {
    signal?.throwIfAborted();
    if (this.#isCut) throw closedError();
    const controller = new AbortController();
    const abort = (): void => controller.abort(signal!.reason);
    signal?.addEventListener("abort", abort, { once: true });
    const open: OpenCall = { isWait, controller, mayBeDone: false, slot: -1 };
    this.#open.add(open);
    try {
      return await work(open);
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#open.delete(open);
      if (this.#open.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
    }
  }

  async #attempt(call: Call, open: OpenCall): Promise<string> {
    const { retry, marginMs } = this.#options;
    const { timeoutMs, key } = call;
    if (key !== undefined) checkKey(key);
    const { isWait, controller } = open;
    const { signal } = controller;
    const startedAt = performance.now();
    const until = call.until ?? startedAt + timeoutMs;
    const isOfV2 = !VERSIONED.test(call.path);
    const isKeyed = (call.isKeyed === true || key !== undefined) && isOfV2;
    let body = "";
    let idempotencyKey: string | undefined;
    let left = call.until === undefined ? timeoutMs : leftOf(until, timeoutMs);
    let mayBeDone = false; // by an attempt before
    for (let attempt = 1; ; attempt++) {
      const target = this.#target;
      let failure: QueratorError;
      try {
        // What was perhaps done under a key is sent again as it was, or it would be something else.
        if (!(isKeyed && mayBeDone)) {
          body = typeof call.body === "string" ? call.body : call.body(left);
          if (isKeyed) idempotencyKey = key ?? `${this.#prefix}-${(++this.#keys).toString(36)}`;
        }
        open.mayBeDone = !isWait;
        const reply = await target.transport.send({
          method: "POST",
          path: `${target.prefix}/${isOfV2 ? "v2/" : ""}${call.path}`,
          body,
          timeoutMs: left + marginMs,
          signal,
          isWait,
          idempotencyKey,
        });
        this.#hasAnswered = true;
        this.#note(reply.date);
        if (reply.status === 200) return reply.body;
        failure = errorOfReply(reply.status, reply.body, call.path);
      } catch (error) {
        if (!(error instanceof QueratorError)) throw error;
        failure = error;
      }
      if (mayBeDone) failure.uncertain = true;
      mayBeDone = failure.uncertain;
      open.mayBeDone = mayBeDone;
      const isMoved = this.#moveFrom(target, failure);
      const { length: targets } = this.#targets;
      const isTriedElsewhere = isMoved && attempt % targets !== 0;
      const mayPass = failure.retryable || (isTriedElsewhere && attempt < targets);
      const isOnce = isKeyed && performance.now() - startedAt < KEY_KEPT_MS;
      const mayRepeat = mayPass && (call.isRepeatable || isOnce || !failure.uncertain);
      const { attemptsMax, attemptsMaxAtFirst } = retry;
      const most = this.#hasAnswered ? attemptsMax : Math.min(attemptsMax, attemptsMaxAtFirst);
      const isOver = attempt >= (isMoved ? most * targets : most);
      if (!mayRepeat || failure.code === "no-items" || isOver) throw failure;
      const leftMs = until - performance.now();
      if (leftMs <= LAST_MS) throw failure;
      // The last waits are shorter, so that the time is made use of to its end.
      const wait = Math.min(fullJitter(retry, Math.ceil(attempt / targets)), leftMs / 2);
      const pause = isTriedElsewhere ? 0 : wait;
      call.onRepeat?.(failure);
      signal.throwIfAborted();
      if (pause > 0) await sleep(pause, signal);
      left = leftOf(until, timeoutMs);
    }
  }

  // Turns to the next address if another one may do what this one does not; true if it has.
  #moveFrom(target: Target, failure: QueratorError): boolean {
    if (this.#targets.length === 1 || !ELSEWHERE.includes(failure.code)) return false;
    if (this.#target === target) {
      const next = this.#targets.indexOf(target) + 1;
      this.#target = this.#targets[next % this.#targets.length]!;
    }
    return true;
  }

  // Leases end by the server's clock. A machine whose own is wrong by more than a lease would otherwise
  // take every item for lost.
  #note(date: string | undefined): void {
    if (date === undefined || date === this.#date) return;
    this.#date = date;
    const ahead = Date.parse(date) + 500 - Date.now(); // it has no parts of a second
    this.#aheadMs = Math.abs(ahead) > 2_000 ? ahead : 0;
  }

  /** What GET /health answers, whatever its status. */
  async health(timeoutMs: number, signal: AbortSignal | undefined): Promise<string> {
    this.checkOpen();
    const { transport, prefix } = this.#target;
    const send = ({ controller }: OpenCall) =>
      transport.send({
        method: "GET",
        path: `${prefix}/health`,
        body: "",
        timeoutMs,
        signal: controller.signal,
      });
    return (await this.#during(send, signal)).body;
  }

  /**
   * The text of a reply that goes on, as it comes, until it ends or nobody wants more. Over fetch, which speaks
   * neither through Unix sockets nor with a `tls` of one's own.
   */
  async *stream(
    path: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<string, void, undefined> {
    const { url, prefix } = this.#target;
    const { fetch = globalThis.fetch, tls } = this.#options;
    if (isUnix(url) || tls !== undefined) {
      throw new InvalidRequestError(
        "invalid",
        "What goes on is read with fetch, which knows no Unix sockets, and no `tls` of a client",
      );
    }
    const controller = new AbortController();
    const abort = (): void => controller.abort(signal!.reason);
    signal?.throwIfAborted();
    signal?.addEventListener("abort", abort, { once: true });
    const open: OpenCall = { isWait: true, controller, mayBeDone: false, slot: -1 };
    this.#open.add(open);
    // Who reads it may not be reading at present: then nothing of it is waited for.
    controller.signal.addEventListener("abort", () => {
      this.#open.delete(open);
      if (this.#open.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
    });
    try {
      const response = await fetch(new URL(`${prefix}/${path}`, url), {
        headers: { ...this.#headers, Accept: "text/event-stream" },
        signal: controller.signal,
      });
      if (response.status !== 200) {
        throw errorOfReply(response.status, await response.text(), path);
      }
      const decoder = new TextDecoder();
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        yield decoder.decode(chunk, { stream: true });
      }
    } catch (error) {
      controller.signal.throwIfAborted();
      if (error instanceof QueratorError) throw error;
      const ended = new NetworkError("network", "The connection has ended", {
        retryable: true,
        cause: error,
      });
      this.#moveFrom(this.#target, ended);
      throw ended;
    } finally {
      signal?.removeEventListener("abort", abort);
      controller.abort();
    }
  }

  /** From now on `checkOpen` throws, and calls that wait for something are ended. */
  startClosing(): void {
    this.#isClosed = true;
    for (const { isWait, controller } of this.#open) if (isWait) controller.abort(closedError());
  }

  /** Resolves when no call is under way. */
  whenIdle(): Promise<void> {
    if (this.#open.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Ends what is still under way, and closes all connections. */
  cut(): void {
    this.startClosing();
    this.#isCut = true;
    for (const { controller, mayBeDone } of this.#open) controller.abort(closedError(mayBeDone));
    for (const { transport } of this.#targets) transport.close();
  }
}

// It is a header.
function checkKey(key: string): void {
  if (/^[!-~]{1,255}$/.test(key)) return;
  const text = "idempotencyKey is invalid; it must have 1 to 240 visible characters";
  throw new InvalidRequestError("invalid", text);
}

// What is left of a call's time for the server to answer.
function leftOf(until: number, timeoutMs: number): number {
  return Math.min(timeoutMs, Math.max(until - performance.now(), LEFT_MIN_MS));
}

// Another for each call, as it says whether that may have been done.
function knowsNoNamespaces(): QueratorError {
  return makeError(
    "not-implemented",
    "The server is of an older version, which knows no namespaces",
    {},
  );
}

function closedError(uncertain = false): ClosedError {
  return new ClosedError("closed", "The client has been closed", { uncertain });
}

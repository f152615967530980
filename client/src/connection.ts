// A call of the server with its time-out and its retries. What is repeated is decided here and nowhere
// else: a call that only reads is repeated after anything that may pass; one that changes something
// only if the server has surely not done it, unless the caller says that it may be done twice. Knows
// every call under way, so that all of them have ended when it is closed.

import { type Backoff, fullJitter, sleep } from "./backoff.ts";
import { Bag, type InBag } from "./bag.ts";
import { ClosedError, errorOfReply, QueratorError } from "./errors.ts";
import { makeTransport, type Transport } from "./transport.ts";

/** How often and how long a call is repeated. */
export interface RetryOptions extends Backoff {
  /** Requests for one call, the first included; 1 for no repeats. */
  readonly attemptsMax: number;
}

export interface ConnectionOptions {
  readonly url: URL;
  readonly key: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: typeof globalThis.fetch | undefined;
  readonly retry: RetryOptions;
  /** Added to the time-out that the server is given, before the client gives up by itself. */
  readonly marginMs: number;
}

export interface Call {
  /** Below /v1/, or with its version if that is another: `v2/storage/items.import`. */
  readonly path: string;
  /** Or what makes it for each request, from the time that is left for the server to answer. */
  readonly body: string | ((leftMs: number) => string);
  /** How long the server may take. */
  readonly timeoutMs: number;
  /** Whether it may be done twice without harm. */
  readonly isRepeatable: boolean;
  readonly signal: AbortSignal | undefined;
  /** Whether it waits for something to happen, so that nobody waits for it: see TransportRequest. */
  readonly isWait?: boolean;
  /** Told before each repeat whether an earlier request may have been done. */
  readonly onRepeat?: (uncertain: boolean) => void;
}

interface OpenCall extends InBag {
  readonly isWait: boolean;
  readonly controller: AbortController;
  /** Whether what has been sent may be done; written by #attempt, read by cut. */
  mayBeDone: boolean;
}

export class Connection {
  readonly url: URL;
  readonly #transport: Transport;
  readonly #options: ConnectionOptions;
  readonly #prefix: string;
  readonly #open = new Bag<OpenCall>();
  // Resolved, and emptied, when no call is open any more.
  #idle: (() => void)[] = [];
  #isClosed = false;
  #isCut = false;
  // Date of the last reply, which is the same for a second.
  #date: string | undefined;
  #aheadMs = 0;

  constructor(options: ConnectionOptions) {
    const { url, key, headers, fetch } = options;
    this.url = url;
    this.#options = options;
    this.#prefix = url.pathname.replace(/\/+$/, "");
    this.#transport = makeTransport({
      url,
      fetch,
      headers: {
        "Content-Type": "application/json",
        ...(key === undefined ? {} : { Authorization: `Bearer ${key}` }),
        ...headers,
      },
    });
  }

  /** How far the server's clock is ahead of ours, in milliseconds; 0 if that is within two seconds. */
  get aheadMs(): number {
    return this.#aheadMs;
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
    return this.#during((open) => this.#attempt(call, open), signal, isWait);
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
    const { timeoutMs } = call;
    const { isWait, controller } = open;
    const { signal } = controller;
    const timeoutAll = timeoutMs + marginMs;
    const until = performance.now() + timeoutAll;
    let mayBeDone = false; // by an attempt before
    for (let attempt = 1; ; attempt++) {
      let failure: QueratorError;
      try {
        const left = attempt === 1 ? timeoutAll : Math.max(until - performance.now(), marginMs);
        const { body } = call;
        open.mayBeDone = !isWait;
        const reply = await this.#transport.send({
          method: "POST",
          path: `${this.#prefix}/${/^v\d+\//.test(call.path) ? "" : "v1/"}${call.path}`,
          body: typeof body === "string" ? body : body(left - marginMs),
          timeoutMs: left,
          signal,
          isWait,
        });
        this.#note(reply.date);
        if (reply.status === 200) return reply.body;
        failure = errorOfReply(reply.status, reply.body);
      } catch (error) {
        if (!(error instanceof QueratorError)) throw error;
        failure = error;
      }
      if (mayBeDone) failure.uncertain = true;
      mayBeDone = failure.uncertain;
      open.mayBeDone = mayBeDone;
      const mayRepeat = failure.retryable && (call.isRepeatable || !failure.uncertain);
      if (!mayRepeat || failure.code === "no-items" || attempt >= retry.attemptsMax) throw failure;
      const pause = fullJitter(retry, attempt);
      if (performance.now() + pause >= until) throw failure;
      await sleep(pause, signal);
      call.onRepeat?.(failure.uncertain);
    }
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
    const send = ({ controller }: OpenCall) =>
      this.#transport.send({
        method: "GET",
        path: `${this.#prefix}/health`,
        body: "",
        timeoutMs,
        signal: controller.signal,
      });
    return (await this.#during(send, signal)).body;
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
    this.#transport.close();
  }
}

// Another for each call, as it says whether that may have been done.
function closedError(uncertain = false): ClosedError {
  return new ClosedError("closed", "The client has been closed", { uncertain });
}

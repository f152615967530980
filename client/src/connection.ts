// A call of the server with its time-out and its retries. What is repeated is decided here and nowhere
// else: a call that only reads is repeated after anything that may pass; one that changes something
// only if the server has surely not done it, unless the caller says that it may be done twice.

import { type Backoff, fullJitter, sleep } from "./backoff.ts";
import { errorOfReply, QueratorError } from "./errors.ts";
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
  /** Below /v1/. */
  readonly path: string;
  readonly body: string;
  /** How long the server may take. */
  readonly timeoutMs: number;
  /** Whether it may be done twice without harm. */
  readonly isRepeatable: boolean;
  readonly signal: AbortSignal | undefined;
  /** Told before each repeat whether an earlier request may have been done. */
  readonly onRepeat?: (uncertain: boolean) => void;
}

export class Connection {
  readonly url: URL;
  readonly #transport: Transport;
  readonly #options: ConnectionOptions;
  readonly #prefix: string;

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

  /** Makes a call; answers the body of the reply as text. */
  async call(call: Call): Promise<string> {
    const { retry, marginMs } = this.#options;
    const { timeoutMs, signal } = call;
    const timeoutAll = timeoutMs + marginMs;
    const until = performance.now() + timeoutAll;
    for (let attempt = 1; ; attempt++) {
      let failure: QueratorError;
      try {
        const left = until - performance.now();
        const { status, body } = await this.#transport.send({
          method: "POST",
          path: `${this.#prefix}/v1/${call.path}`,
          body: call.body,
          timeoutMs: attempt === 1 ? timeoutAll : Math.max(left, marginMs),
          signal,
        });
        if (status === 200) return body;
        failure = errorOfReply(status, body);
      } catch (error) {
        if (!(error instanceof QueratorError)) throw error;
        failure = error;
      }
      const mayRepeat = failure.retryable && (call.isRepeatable || !failure.uncertain);
      if (!mayRepeat || failure.code === "no-items" || attempt >= retry.attemptsMax) throw failure;
      const pause = fullJitter(retry, attempt);
      if (performance.now() + pause >= until) throw failure;
      await sleep(pause, signal);
      call.onRepeat?.(failure.uncertain);
    }
  }

  /** What GET /health answers, whatever its status. */
  async health(timeoutMs: number, signal: AbortSignal | undefined): Promise<string> {
    const { body } = await this.#transport.send({
      method: "GET",
      path: `${this.#prefix}/health`,
      body: "",
      timeoutMs,
      signal,
    });
    return body;
  }

  close(): void {
    this.#transport.close();
  }
}

// Slow requests as spans of OpenTelemetry, sent to a collector as OTLP over HTTP, in JSON: written here, for it is one
// message, and an SDK would be on the way of every request. Whatever becomes of the collector, no request waits for it:
// what it does not take in time is dropped, counted, and told in the log once a minute at most.

import { randomBytes } from "node:crypto";
import { type CancelTimer, type Clock, MINUTE, SECOND } from "../clock.ts";
import type { SlowRequest, SlowRequests } from "../http/slow-requests.ts";
import type { Logger } from "../log.ts";
import { isTracestate, validTraceparent } from "../trace-context.ts";
import { VERSION } from "../version.ts";

/** Where spans go, and which. */
export interface SpanTarget {
  /** The address that takes traces, as it is asked. */
  readonly url: string;
  /** Sent with each request. */
  readonly headers: Readonly<Record<string, string>>;
  /** How long a request takes that is told, in microseconds. */
  readonly slow: number;
  readonly serviceName: string;
}

// What waits to be sent, and how much of it at a time.
const WAITING_MAX = 2_048;
const BATCH_MAX = 512;
// So long others are waited for that can go along.
const GATHER = SECOND;
const TIMEOUT_MS = 10_000;
// At the end of the server.
const LAST_TIMEOUT_MS = 1_000;
// What a collector may get later, and after how long: twice as long each time, unless it says when.
const RETRYABLE: readonly number[] = [429, 502, 503, 504];
const TRIES_MAX = 5;
const RETRY = SECOND;
const RETRY_MAX = 30 * SECOND;
const REPLY_CHARS_MAX = 65_536;

// As OTLP numbers them.
const SERVER = 2;
const ERROR = 2;

/** Sends what it is told; one for each thread. */
export class SpanSender implements SlowRequests {
  readonly limit: number;
  readonly #target: SpanTarget;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #resource: object;
  #waiting: object[] = [];
  #isSending = false;
  #isClosed = false;
  #cancel: CancelTimer | undefined;
  #abort = new AbortController();
  // How often the first of those that wait were tried.
  #tries = 0;
  #dropped = 0;
  #why = "";
  // When the log last said so, in steady time.
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(target: SpanTarget, clock: Clock, log: Logger) {
    this.limit = target.slow;
    this.#target = target;
    this.#clock = clock;
    this.#log = log;
    this.#resource = {
      attributes: attributesOf({
        "service.name": target.serviceName,
        "service.version": VERSION,
      }),
    };
  }

  note(request: SlowRequest): void {
    if (this.#isClosed) return;
    if (this.#waiting.length >= WAITING_MAX) {
      this.#drop(1, this.#why || "the collector does not take them fast enough");
      return;
    }
    this.#waiting.push(spanOf(request, this.#clock.now()));
    if (this.#isSending) return;
    if (this.#waiting.length === BATCH_MAX && this.#tries === 0) this.#sendAfter(0);
    else if (this.#cancel === undefined) this.#sendAfter(GATHER);
  }

  /** Sends what is left, for a second at most; nothing is taken from now on. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel?.();
    this.#abort.abort();
    if (this.#waiting.length > 0) await this.#post(this.#waiting, LAST_TIMEOUT_MS);
  }

  #sendAfter(duration: number): void {
    this.#cancel?.();
    this.#cancel = this.#clock.wakeAfter(duration, () => {
      this.#cancel = undefined;
      void this.#send();
    });
  }

  async #send(): Promise<void> {
    this.#isSending = true;
    const batch = this.#waiting.slice(0, BATCH_MAX);
    const answer = await this.#post(batch, TIMEOUT_MS);
    this.#isSending = false;
    if (this.#isClosed) return;
    if (answer.isRetryable && ++this.#tries < TRIES_MAX) {
      this.#why = answer.why;
      this.#sendAfter(answer.retryAfter || Math.min(RETRY * 2 ** (this.#tries - 1), RETRY_MAX));
      return;
    }
    this.#tries = 0;
    this.#waiting.splice(0, batch.length);
    this.#why = "";
    if (answer.refused > 0) this.#drop(answer.refused, answer.why);
    if (this.#waiting.length > 0) this.#sendAfter(0);
  }

  // What became of them. Never rejects.
  async #post(
    spans: readonly object[],
    timeoutMs: number,
  ): Promise<{
    readonly refused: number;
    readonly why: string;
    readonly isRetryable: boolean;
    readonly retryAfter: number;
  }> {
    const scope = { name: "querator", version: VERSION };
    const resourceSpans = [{ resource: this.#resource, scopeSpans: [{ scope, spans }] }];
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = this.#isClosed ? timeout : AbortSignal.any([timeout, this.#abort.signal]);
    const all = { refused: spans.length, retryAfter: 0 };
    try {
      const response = await fetch(this.#target.url, {
        method: "POST",
        headers: { ...this.#target.headers, "Content-Type": "application/json" },
        body: JSON.stringify({ resourceSpans }),
        redirect: "manual",
        signal,
      });
      const { status } = response;
      if (status === 200) {
        const { count, why } = refusedIn(await textOf(response));
        return { refused: count, why, isRetryable: false, retryAfter: 0 };
      }
      await response.body?.cancel();
      const seconds = Number(response.headers.get("Retry-After") ?? 0) || 0;
      const retryAfter = Math.min(Math.max(seconds, 0) * SECOND, MINUTE);
      const why = `the collector answers ${status}`;
      return { ...all, why, isRetryable: RETRYABLE.includes(status), retryAfter };
    } catch (error) {
      return { ...all, why: whyOf(error), isRetryable: true };
    }
  }

  #drop(count: number, why: string): void {
    this.#dropped += count;
    const steady = this.#clock.steady();
    if (steady - this.#toldAt < MINUTE) return;
    this.#toldAt = steady;
    this.#log.warn({ dropped: this.#dropped, reason: why }, "spans of slow requests are lost");
    this.#dropped = 0;
  }
}

// No more than is looked at: it is somebody else who answers.
async function textOf(response: Response): Promise<string> {
  let text = "";
  if (response.body === null) return text;
  const decoder = new TextDecoder();
  for await (const chunk of response.body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > REPLY_CHARS_MAX) return "";
  }
  return text;
}

// The collector may take some and refuse others.
function refusedIn(text: string): { readonly count: number; readonly why: string } {
  try {
    const { partialSuccess = {} } = JSON.parse(text) as {
      readonly partialSuccess?: { rejectedSpans?: string | number; errorMessage?: string };
    };
    const count = Math.max(Number(partialSuccess.rejectedSpans) || 0, 0);
    return { count, why: String(partialSuccess.errorMessage ?? "") };
  } catch {
    return { count: 0, why: "" };
  }
}

function whyOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}

// --- the span ---

// Names are those of the conventions for HTTP, and that of the queue those of messaging.
function spanOf(request: SlowRequest, now: number): object {
  const { told, method, status, took, queue, replyBytes } = request;
  const { path, requestId, traceparent, tracestate } = told;
  const parent = traceparent && validTraceparent(traceparent);
  const [, traceId, parentSpanId] = parent ? parent.split("-") : [];
  const state = parent ? (tracestate ?? "") : "";
  const isError = status >= 500;
  return {
    traceId: traceId ?? newId(16),
    spanId: newId(8),
    ...(parentSpanId !== undefined && { parentSpanId }),
    ...(state !== "" && isTracestate(state) && { traceState: state }),
    name: `${method} ${path}`,
    kind: SERVER,
    startTimeUnixNano: nanosOf(now - took),
    endTimeUnixNano: nanosOf(now),
    attributes: attributesOf({
      "http.request.method": method,
      "url.path": path,
      "http.route": path,
      "http.response.status_code": status,
      "http.response.body.size": replyBytes,
      ...(queue !== "" && { "messaging.destination.name": queue }),
      ...(requestId !== "" && { "querator.request_id": requestId }),
      ...(isError && { "error.type": String(status) }),
    }),
    status: isError ? { code: ERROR } : {},
  };
}

function newId(bytes: number): string {
  return randomBytes(bytes).toString("hex");
}

// More digits than a number has.
function nanosOf(micros: number): string {
  return `${Math.round(micros)}000`;
}

function attributesOf(values: Readonly<Record<string, string | number>>): readonly object[] {
  return Object.entries(values).map(([key, value]) => ({
    key,
    value: typeof value === "string" ? { stringValue: value } : { intValue: String(value) },
  }));
}

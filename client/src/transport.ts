// One request and its reply over HTTP, and nothing more: no retries, no meaning. In Node it goes over
// node:http with connections that are kept, which costs about half of what fetch does; elsewhere, or
// if it is asked for, over fetch. Aborting a request closes its connection, so that the server forgets
// it. A failure says whether the request may have reached the server.

import { NetworkError, TimeoutError } from "./errors.ts";
import { nodeTransport } from "./node-transport.ts";

export interface TransportRequest {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

export interface TransportReply {
  readonly status: number;
  readonly body: string;
}

export interface Transport {
  send(request: TransportRequest): Promise<TransportReply>;
  /** Closes connections that are idle. */
  close(): void;
}

export interface TransportOptions {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Used in place of what fits the platform. */
  readonly fetch: typeof globalThis.fetch | undefined;
}

/** The transport that fits this platform. */
export function makeTransport(options: TransportOptions): Transport {
  if (options.fetch === undefined) {
    const transport = nodeTransport(options);
    if (transport !== undefined) return transport;
  }
  return fetchTransport(options);
}

// Failures before anything was sent.
const UNSENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** The error for a request that got no reply. */
export function networkError(cause: unknown, url: URL): NetworkError {
  const codes = [cause, (cause as { cause?: unknown }).cause].map(codeOf);
  const code = codes.find((each) => each !== undefined);
  const uncertain = code === undefined || !UNSENT.has(code);
  const text = (cause as Error).message || code || "no reply";
  const hint = uncertain ? "" : "; is the server running, and is the url right?";
  return new NetworkError("network", `Cannot reach ${url.origin}: ${text}${hint}`, {
    retryable: true,
    uncertain,
    cause,
  });
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { code, errors } = error as { code?: unknown; errors?: unknown[] };
  if (typeof code === "string") return code;
  return Array.isArray(errors) ? codeOf(errors[0]) : undefined;
}

export function timeoutError(url: URL, timeoutMs: number): TimeoutError {
  const text = `No answer from ${url.origin} within ${Math.round(timeoutMs)} ms`;
  return new TimeoutError("timeout", text, { retryable: true, uncertain: true });
}

function fetchTransport({ url, headers, fetch = globalThis.fetch }: TransportOptions): Transport {
  return {
    async send({ method, path, body, timeoutMs, signal }) {
      const controller = new AbortController();
      const abort = (): void => controller.abort(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      let timedOut = false;
      const timer = setTimeout(() => {
        timedOut = true;
        controller.abort();
      }, timeoutMs);
      try {
        const response = await fetch(url.origin + path, {
          method,
          headers,
          signal: controller.signal,
          ...(method === "POST" ? { body } : {}),
        });
        return { status: response.status, body: await response.text() };
      } catch (error) {
        signal?.throwIfAborted();
        throw timedOut ? timeoutError(url, timeoutMs) : networkError(error, url);
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      }
    },
    close() {},
  };
}

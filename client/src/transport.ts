// One request and its reply over HTTP, and nothing more: no retries, no meaning. In Node it goes over
// connections of its own that are kept (socket-transport.ts); elsewhere, through a proxy, or if it is
// asked for, over fetch. Aborting a request closes its connection, so that the server forgets it. A
// failure says whether the request may have reached the server. What a reply may hold is bounded.

import {
  InvalidRequestError,
  NetworkError,
  QueratorError,
  ServerError,
  TimeoutError,
} from "./errors.ts";
import { socketTransport } from "./socket-transport.ts";
import { startTimer } from "./timer.ts";

export interface TransportRequest {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /**
   * Whether the server waits with its answer until something happens. If such a request is aborted, an
   * answer that is on its way is taken all the same, where the platform can: it may hold items.
   */
  readonly isWait?: boolean;
  /** Sent as `Idempotency-Key`. */
  readonly idempotencyKey?: string | undefined;
}

export interface TransportReply {
  readonly status: number;
  readonly body: string;
  /** When the server answered, as it says. */
  readonly date: string | undefined;
}

export interface Transport {
  send(request: TransportRequest): Promise<TransportReply>;
  /** Closes connections. */
  close(): void;
}

/** What is needed to speak TLS with a server that not everybody trusts, or that wants to know who asks. */
export interface TlsOptions {
  /** Authorities to trust in place of those of the platform, in PEM form. */
  readonly ca?: string | Uint8Array | undefined;
  /** The certificate to show, and its key, in PEM form. */
  readonly cert?: string | Uint8Array | undefined;
  readonly key?: string | Uint8Array | undefined;
}

export interface TransportOptions {
  readonly url: URL;
  readonly tls?: TlsOptions | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** Used in place of what fits the platform. */
  readonly fetch: typeof globalThis.fetch | undefined;
  /** Bytes of a reply; 256 MiB by default, which is more than any reply of a server has. */
  readonly replyBytesMax?: number;
  /**
   * How long a connection is kept while nothing travels over it; 4 seconds by default, as fetch does in
   * Node: less than any proxy keeps it, or it might close it in the moment in which a request leaves.
   */
  readonly idleMs?: number;
  /** How long to wait for a connection, if less than for the answer; over fetch it is the platform's. */
  readonly connectMs?: number | undefined;
}

export const REPLY_BYTES_MAX = 268_435_456;
export const IDLE_MS = 4_000;

/** The transport that fits this platform. */
export function makeTransport(options: TransportOptions): Transport {
  if (options.fetch === undefined) {
    const transport = socketTransport(options);
    if (transport !== undefined) return transport;
  }
  const what = isUnix(options.url) ? "a Unix socket" : options.tls && "tls";
  if (what !== undefined) {
    const text = `${what} is for Node alone, without fetch and without a proxy`;
    throw new InvalidRequestError("invalid", text);
  }
  return fetchTransport(options);
}

/** Whether a url names a Unix socket: `unix:/run/querator.sock`. */
export function isUnix({ protocol }: URL): boolean {
  return protocol === "unix:";
}

/** A url as errors name it, without its path if that is not all of it. */
export function shownUrl(url: URL): string {
  return isUnix(url) ? `unix:${decodeURIComponent(url.pathname)}` : url.origin;
}

// Failures before anything was sent; the last two are Bun's names.
const UNSENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
  "ConnectionRefused",
  "FailedToOpenSocket",
]);

// The server's certificate is not accepted: nothing was sent, and to try again does not help.
const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ALTNAME/;

// The server wants to see a certificate of the client: nothing was read of what was sent.
const ASKED_FOR = /_ALERT_CERTIFICATE_REQUIRED$/;

// What answers is not TLS, but http most likely: nothing was sent, and to try again does not help.
const NO_TLS = /wrong version number/i;

/**
 * The error for a request that got no reply. Nothing was sent without a connection; where it is not known
 * whether there was one, the code of the error tells.
 */
export function networkError(cause: unknown, url: URL, isConnected?: boolean): QueratorError {
  if (cause instanceof QueratorError) return cause;
  const causes = [cause, (cause as { cause?: unknown } | undefined | null)?.cause];
  const code = causes.map(codeOf).find((each) => each !== undefined);
  const isUntrusted = code !== undefined && UNTRUSTED.test(code);
  const isNoTls = causes.some((each) =>
    NO_TLS.test((each as Error | undefined | null)?.message ?? ""),
  );
  const mayBeSent = isConnected ?? (code === undefined || !UNSENT.has(code));
  const uncertain = mayBeSent && !isUntrusted && !isNoTls;
  let text = (cause as Error | undefined | null)?.message || code || "no reply";
  let hint = uncertain ? "" : "; is the server running, and is the url right?";
  if (isUntrusted) hint = "; docs/CLIENT.md tells how to trust an authority of your own";
  if (ASKED_FOR.test(code ?? "")) {
    text = "the server asks for a certificate of its clients";
    hint = "; give one with tls.cert and tls.key, or --client-cert and --client-key";
  }
  if (isNoTls) {
    text = "no TLS is spoken there";
    hint = `; use http://${url.host}`;
  }
  return new NetworkError("network", `Cannot reach ${shownUrl(url)}: ${text}${hint}`, {
    retryable: !(isUntrusted || isNoTls),
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

export function timeoutError(url: URL, timeoutMs: number, isConnected = true): TimeoutError {
  const what = isConnected ? "answer from" : "connection to";
  const text = `No ${what} ${shownUrl(url)} within ${Math.round(timeoutMs)} ms`;
  return new TimeoutError("timeout", text, { retryable: true, uncertain: isConnected });
}

export function replyTooLarge(url: URL, bytesMax: number): QueratorError {
  const text = `The answer from ${shownUrl(url)} is larger than ${bytesMax} bytes`;
  return new ServerError("invalid-reply", text, { uncertain: true });
}

function fetchTransport(options: TransportOptions): Transport {
  const { url, headers, fetch = globalThis.fetch, replyBytesMax = REPLY_BYTES_MAX } = options;
  return {
    async send({ method, path, body, timeoutMs, signal, idempotencyKey }) {
      signal?.throwIfAborted();
      const controller = new AbortController();
      // For a fetch that does not look at its signal.
      const aborted = Promise.withResolvers<never>();
      aborted.promise.catch(() => undefined);
      controller.signal.addEventListener("abort", () => aborted.reject(controller.signal.reason));
      const abort = (): void => controller.abort(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      let timedOut = false;
      const timer = startTimer(() => {
        timedOut = true;
        controller.abort();
      }, timeoutMs);
      try {
        const fetched = fetch(url.origin + path, {
          method,
          headers:
            idempotencyKey === undefined
              ? headers
              : { ...headers, "Idempotency-Key": idempotencyKey },
          signal: controller.signal,
          // Followed, a call would turn into a GET of something else, and its key go there.
          redirect: "manual",
          ...(method === "POST" ? { body } : {}),
        });
        const response = await Promise.race([fetched, aborted.promise]);
        const date = response.headers.get("date") ?? undefined;
        const length = Number(response.headers.get("content-length") ?? 0);
        if (length > replyBytesMax) {
          controller.abort();
          throw replyTooLarge(url, replyBytesMax);
        }
        return {
          status: response.status,
          body: await Promise.race([response.text(), aborted.promise]),
          date,
        };
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

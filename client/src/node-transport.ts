// The transport over node:http and node:https. The modules are asked for at run time, so that bundlers
// for browsers find no import of them.

import type * as Http from "node:http";
import type * as Https from "node:https";
import { startTimer } from "./timer.ts";
import type { Transport, TransportOptions, TransportReply, TransportRequest } from "./transport.ts";
import {
  IDLE_MS,
  networkError,
  REPLY_BYTES_MAX,
  replyTooLarge,
  timeoutError,
} from "./transport.ts";

// For an answer that may be on its way when a request that waits is aborted.
const LATE_REPLY_MS = 1_000;

interface NodeProcess {
  readonly versions?: { readonly node?: string; readonly bun?: string; readonly deno?: string };
  getBuiltinModule?(name: string): unknown;
}

/** The transport, or nothing if this is not Node. */
export function nodeTransport(options: TransportOptions): Transport | undefined {
  const process = (globalThis as { process?: NodeProcess }).process;
  const { node, bun, deno } = process?.versions ?? {};
  if (node === undefined || bun !== undefined || deno !== undefined) return undefined;
  const isSecure = options.url.protocol === "https:";
  const module = process?.getBuiltinModule?.(isSecure ? "node:https" : "node:http");
  return module === undefined ? undefined : new NodeTransport(options, module as typeof Https);
}

class NodeTransport implements Transport {
  readonly #url: URL;
  readonly #request: typeof Http.request;
  readonly #agent: Http.Agent;
  readonly #base: Http.RequestOptions;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #replyBytesMax: number;

  constructor(options: TransportOptions, http: typeof Https | typeof Http) {
    const { url, headers, replyBytesMax = REPLY_BYTES_MAX, idleMs = IDLE_MS } = options;
    this.#url = url;
    this.#request = http.request as typeof Http.request;
    // The connection used last is used first, so that those that are not needed go away.
    this.#agent = new http.Agent({ keepAlive: true, scheduling: "lifo", timeout: idleMs });
    this.#headers = headers;
    this.#replyBytesMax = replyBytesMax;
    this.#base = {
      agent: this.#agent,
      hostname: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port),
    };
  }

  send({
    method,
    path,
    body,
    timeoutMs,
    signal,
    isWait,
  }: TransportRequest): Promise<TransportReply> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const headers =
        method === "POST"
          ? { ...this.#headers, "Content-Length": Buffer.byteLength(body) }
          : this.#headers;
      const request = this.#request({ ...this.#base, method, path, headers });
      let timer = startTimer(() => fail(timeoutError(this.#url, timeoutMs)), timeoutMs);
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const fail = (error: unknown): void => {
        end();
        reject(signal?.aborted ? signal.reason : networkError(error, this.#url));
        request.destroy();
      };
      const abort = (): void => {
        const { socket } = request;
        if (isWait !== true || socket === null || socket.connecting) {
          fail(signal!.reason);
          return;
        }
        // Our end of the connection is closed and the server closes its own, before which comes what it
        // has answered until then.
        clearTimeout(timer);
        timer = startTimer(() => fail(signal!.reason), LATE_REPLY_MS);
        socket.end();
      };
      signal?.addEventListener("abort", abort, { once: true });
      request.on("error", fail);
      request.on("response", (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on("data", (chunk: Buffer) => {
          chunks.push(chunk);
          bytes += chunk.length;
          if (bytes > this.#replyBytesMax) fail(replyTooLarge(this.#url, this.#replyBytesMax));
        });
        response.on("error", fail);
        response.on("end", () => {
          end();
          const all = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
          const { date } = response.headers;
          resolve({ status: response.statusCode!, body: all.toString(), date });
        });
      });
      request.end(method === "POST" ? body : undefined);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

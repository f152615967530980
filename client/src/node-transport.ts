// The transport over node:http and node:https. The modules are asked for at run time, so that bundlers
// for browsers find no import of them.

import type * as Http from "node:http";
import type * as Https from "node:https";
import type { Transport, TransportOptions, TransportReply, TransportRequest } from "./transport.ts";
import { networkError, timeoutError } from "./transport.ts";

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

  constructor({ url, headers }: TransportOptions, http: typeof Https | typeof Http) {
    this.#url = url;
    this.#request = http.request as typeof Http.request;
    // The connection used last is used first, so that those that are not needed go away.
    this.#agent = new http.Agent({ keepAlive: true, scheduling: "lifo" });
    this.#headers = headers;
    this.#base = {
      agent: this.#agent,
      hostname: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port),
    };
  }

  send({ method, path, body, timeoutMs, signal }: TransportRequest): Promise<TransportReply> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const headers =
        method === "POST"
          ? { ...this.#headers, "Content-Length": Buffer.byteLength(body) }
          : this.#headers;
      const request = this.#request({ ...this.#base, method, path, headers });
      const abort = (): void => {
        reject(signal!.reason);
        request.destroy();
      };
      const timer = setTimeout(() => {
        reject(timeoutError(this.#url, timeoutMs));
        request.destroy();
      }, timeoutMs);
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const fail = (error: Error): void => {
        end();
        reject(networkError(error, this.#url));
      };
      signal?.addEventListener("abort", abort, { once: true });
      request.on("error", fail);
      request.on("response", (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", fail);
        response.on("end", () => {
          end();
          const all = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
          resolve({ status: response.statusCode!, body: all.toString() });
        });
      });
      request.end(method === "POST" ? body : undefined);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

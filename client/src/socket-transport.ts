// The transport over the sockets of Node, with and without TLS: one request at a time on a connection, and
// connections that are kept for the next. What node:http makes of each request costs as much as all that
// a worker does with its items (docs/decisions/0015). The modules are asked for at run time, so that
// bundlers for browsers find no import of them.

import type * as Net from "node:net";
import type * as Tls from "node:tls";
import { ReplyReader } from "./reply-reader.ts";
import { startTimer } from "./timer.ts";
import type { Transport, TransportOptions, TransportReply, TransportRequest } from "./transport.ts";
import {
  IDLE_MS,
  isUnix,
  networkError,
  REPLY_BYTES_MAX,
  replyTooLarge,
  timeoutError,
} from "./transport.ts";

// For an answer that may be on its way when a request that waits is aborted.
const LATE_REPLY_MS = 1_000;

interface NodeProcess {
  readonly versions?: { readonly node?: string; readonly bun?: string; readonly deno?: string };
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly execArgv?: readonly string[];
  getBuiltinModule?(name: string): unknown;
}

/** The transport, or nothing if this is not Node, or if Node is to go through a proxy. */
export function socketTransport(options: TransportOptions): Transport | undefined {
  const process = (globalThis as { process?: NodeProcess }).process;
  const { node, bun, deno } = process?.versions ?? {};
  if (node === undefined || bun !== undefined || deno !== undefined) return undefined;
  if (!isUnix(options.url) && isProxied(options.url, process!)) return undefined;
  const net = process?.getBuiltinModule?.("node:net") as typeof Net | undefined;
  if (net === undefined) return undefined;
  if (options.url.protocol !== "https:")
    return new SocketTransport(options, opener(options.url, net));
  // Only where it is needed, for it is a good part of what a short program loads.
  const tls = process?.getBuiltinModule?.("node:tls") as typeof Tls | undefined;
  if (tls === undefined) return undefined;
  return new SocketTransport(options, secureOpener(options, net, tls));
}

// Whether Node is told to use the proxies that its environment names: its fetch does, and looks at NO_PROXY
// as well.
function isProxied({ protocol }: URL, { env = {}, execArgv = [] }: NodeProcess): boolean {
  const flags = [...execArgv, ...(env.NODE_OPTIONS ?? "").split(/\s+/)];
  const isOn = env.NODE_USE_ENV_PROXY === "1" || flags.includes("--use-env-proxy");
  const name = protocol === "https:" ? "https_proxy" : "http_proxy";
  return isOn && Boolean(env[name] || env[name.toUpperCase()]);
}

/** What opens connections to the server of a url. */
function opener(url: URL, net: typeof Net): () => Net.Socket {
  if (isUnix(url)) {
    const path = decodeURIComponent(url.pathname);
    return () => net.connect({ path });
  }
  const { host, port } = placeOf(url, 80);
  return () => net.connect({ host, port, noDelay: true });
}

/** The same, for https. */
function secureOpener(
  { url, tls: own }: TransportOptions,
  net: typeof Net,
  tls: typeof Tls,
): () => Net.Socket {
  const { host, port } = placeOf(url, 443);
  // An address is no name that a certificate could be chosen by.
  const servername = net.isIP(host) === 0 ? host : "";
  const given = own as Tls.ConnectionOptions | undefined;
  // Of the last connection, so that the next begins with fewer steps.
  let session: Buffer | undefined;
  return () => {
    const options = { ...given, host, port, servername, ALPNProtocols: ["http/1.1"] };
    const socket = tls.connect(session === undefined ? options : { ...options, session });
    socket.setNoDelay();
    socket.on("session", (next: Buffer) => {
      session = next;
    });
    return socket;
  };
}

function placeOf(url: URL, usualPort: number): { readonly host: string; readonly port: number } {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return { host, port: url.port === "" ? usualPort : Number(url.port) };
}

class SocketTransport implements Transport {
  readonly #url: URL;
  readonly #open: () => Net.Socket;
  // The fields of every request's head.
  readonly #fields: string;
  readonly #isAscii: boolean;
  readonly #replyBytesMax: number;
  readonly #idleMs: number;
  readonly #connectMs: number;
  readonly #all = new Set<HttpSocket>();
  // The one used last is used first, so that those that are not needed go away.
  readonly #idle: HttpSocket[] = [];

  constructor(options: TransportOptions, open: () => Net.Socket) {
    const { url, headers, replyBytesMax = REPLY_BYTES_MAX, idleMs = IDLE_MS } = options;
    this.#url = url;
    this.#open = open;
    // The last one of a name counts, however it is written.
    const fields = new Map<string, string>();
    const own = { Host: isUnix(url) ? "localhost" : url.host, Connection: "keep-alive" };
    for (const [name, value] of Object.entries({ ...own, ...headers })) {
      fields.set(name.toLowerCase(), `${name}: ${value}\r\n`);
    }
    this.#fields = [...fields.values()].join("");
    this.#isAscii = isAscii(this.#fields);
    this.#replyBytesMax = replyBytesMax;
    this.#idleMs = idleMs;
    this.#connectMs = options.connectMs ?? Number.POSITIVE_INFINITY;
  }

  send(request: TransportRequest): Promise<TransportReply> {
    const { timeoutMs, signal, isWait } = request;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const socket = this.#takeIdle() ?? this.#connect();
      const connectMs = socket.isConnected ? timeoutMs : Math.min(this.#connectMs, timeoutMs);
      const late = (waitedMs: number): void =>
        fail(timeoutError(this.#url, waitedMs, socket.isConnected));
      let timer = startTimer(() => {
        if (connectMs === timeoutMs || !socket.isConnected) late(connectMs);
        else timer = startTimer(() => late(timeoutMs), timeoutMs - connectMs);
      }, connectMs);
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const fail = (error: unknown): void => {
        end();
        const reason = signal?.aborted
          ? signal.reason
          : networkError(error, this.#url, socket.isConnected);
        reject(reason);
        socket.destroy();
      };
      const abort = (): void => {
        if (isWait !== true || !socket.isConnected) {
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
      socket.exchange({
        request: this.#write(request),
        reader: new ReplyReader(this.#replyBytesMax, () =>
          replyTooLarge(this.#url, this.#replyBytesMax),
        ),
        succeed: (reply) => {
          end();
          resolve(reply);
        },
        fail,
      });
    });
  }

  #write({ method, path, body, idempotencyKey }: TransportRequest): string | Uint8Array {
    let line = `${method} ${path} HTTP/1.1\r\n${this.#fields}`;
    if (idempotencyKey !== undefined) line += `Idempotency-Key: ${idempotencyKey}\r\n`;
    if (method === "GET") return Buffer.from(`${line}\r\n`, "latin1");
    const head = `${line}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
    // A key or header may have letters of Latin-1, of which UTF-8 would make others.
    return this.#isAscii
      ? head + body
      : Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body)]);
  }

  // The one used last, if it can still be used: what has ended a moment ago may not have left yet.
  #takeIdle(): HttpSocket | undefined {
    for (;;) {
      const socket = this.#idle.pop();
      if (socket === undefined || socket.isUsable) return socket;
      socket.destroy();
    }
  }

  #connect(): HttpSocket {
    const socket = new HttpSocket(this.#open(), {
      idleMs: this.#idleMs,
      onIdle: () => this.#idle.push(socket),
      onClose: () => {
        this.#all.delete(socket);
        const index = this.#idle.indexOf(socket);
        if (index !== -1) this.#idle.splice(index, 1);
      },
    });
    this.#all.add(socket);
    return socket;
  }

  close(): void {
    for (const socket of this.#all) socket.destroy();
  }
}

interface Exchange {
  readonly request: string | Uint8Array;
  readonly reader: ReplyReader;
  readonly succeed: (reply: TransportReply) => void;
  readonly fail: (error: unknown) => void;
}

interface HttpSocketOptions {
  readonly idleMs: number;
  /** It can be used again. */
  readonly onIdle: () => void;
  readonly onClose: () => void;
}

/** A connection, with one exchange or none. */
class HttpSocket {
  readonly #socket: Net.Socket;
  readonly #options: HttpSocketOptions;
  #exchange: Exchange | undefined;
  #isConnected = false;
  #idleUntil = 0;

  constructor(socket: Net.Socket, options: HttpSocketOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on("data", (data: Buffer) => this.#read(data));
    socket.on("end", () => {
      if (this.#exchange?.reader.end()) this.#succeed(this.#exchange);
      else this.#fail(hungUp());
    });
    socket.on("encrypted" in socket ? "secureConnect" : "connect", () => {
      this.#isConnected = true;
    });
    socket.on("error", (error) => this.#fail(error));
    socket.on("timeout", () => this.destroy());
    socket.on("close", () => {
      options.onClose();
      this.#fail(hungUp());
    });
  }

  /** Whether anything of a request can have left. */
  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** Whether it can carry another request. A program that was busy may not have seen its time pass. */
  get isUsable(): boolean {
    return this.#socket.writable && performance.now() < this.#idleUntil;
  }

  /** Sends a request on a connection that is idle; tells once what has become of it. */
  exchange(exchange: Exchange): void {
    const socket = this.#socket;
    this.#exchange = exchange;
    socket.ref();
    socket.setTimeout(0);
    socket.write(exchange.request);
  }

  /** Closes our end. */
  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #read(data: Buffer): void {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      this.destroy(); // nobody has asked for it
      return;
    }
    try {
      if (exchange.reader.push(data)) this.#succeed(exchange);
    } catch (error) {
      this.#fail(error);
    }
  }

  #succeed({ reader, succeed }: Exchange): void {
    const socket = this.#socket;
    this.#exchange = undefined;
    const idleMs = Math.min(reader.keepMs, this.#options.idleMs);
    // A server that answers before it has read everything does not read the rest as a request.
    const isIdle = idleMs > 0 && socket.writable && socket.writableLength === 0;
    if (isIdle) {
      // A process that has nothing else to do may exit.
      socket.unref();
      socket.setTimeout(idleMs);
      this.#idleUntil = performance.now() + idleMs;
      this.#options.onIdle();
    } else {
      socket.destroy();
    }
    succeed(reader.reply);
  }

  #fail(error: unknown): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    this.destroy();
    exchange?.fail(error);
  }
}

function hungUp(): Error {
  return Object.assign(new Error("the connection was closed before the answer"), {
    code: "ECONNRESET",
  });
}

function isAscii(text: string): boolean {
  return /^[ -~\r\n\t]*$/.test(text);
}

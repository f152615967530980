// A client that survives the server: requests over kept-alive connections to wherever the host
// says the server is. An answer is whole or the request is broken; nothing is ever sent twice.

import { connect, type Socket } from "node:net";
import type { Host } from "./host.ts";

// No answer for so long is a defect: every request here has a shorter time-out of its own.
const SILENCE_MS = 30_000;

/** What became of a request. Times are milliseconds since 1970. */
export interface Answer {
  /** 0 if the connection broke before the whole answer was there: nobody knows what happened. */
  readonly status: number;
  readonly text: string;
  readonly sentAt: number;
  readonly at: number;
}

class Connection {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #settle: ((answer: { status: number; text: string }) => void) | undefined;
  isOpen = true;
  isSilent = false;

  constructor(port: number) {
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.setNoDelay(true);
    // Where nobody listens any more, a connection may end up with itself.
    this.#socket.on("connect", () => {
      if (this.#socket.localPort === port) this.#socket.destroy();
    });
    this.#socket.setTimeout(SILENCE_MS, () => {
      this.isSilent = this.#settle !== undefined;
      this.#socket.destroy();
    });
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("error", () => this.#socket.destroy());
    this.#socket.on("end", () => this.#socket.destroy());
    this.#socket.on("close", () => {
      this.isOpen = false;
      this.#answer({ status: 0, text: "" });
    });
  }

  post(path: string, body: string): Promise<{ status: number; text: string }> {
    const { promise, resolve } = Promise.withResolvers<{ status: number; text: string }>();
    this.#settle = resolve;
    this.#socket.write(
      `POST /v1/${path} HTTP/1.1\r\nHost: querator\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
    return promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    const end = this.#received.indexOf("\r\n\r\n");
    if (end === -1) return;
    const head = this.#received.toString("latin1", 0, end);
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    if (this.#received.length < end + 4 + length) return;
    const text = this.#received.toString("utf8", end + 4, end + 4 + length);
    this.#received = Buffer.alloc(0);
    if (/^connection: close/im.test(head)) this.isOpen = false;
    this.#answer({ status: Number(head.slice(9, 12)), text });
  }

  #answer(answer: { status: number; text: string }): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.(answer);
  }
}

export class Client {
  readonly #host: Host;
  #idle: Connection[] = [];
  readonly #open = new Set<Connection>();
  /** Requests that were never answered although the server lived. */
  silent: string[] = [];

  constructor(host: Host) {
    this.#host = host;
  }

  /** Sends a request as soon as the server is up; rejects if it has ended by itself. */
  async post(path: string, request: object): Promise<Answer> {
    const port = await this.#host.up();
    this.#idle = this.#idle.filter((each) => each.isOpen);
    const connection = this.#idle.pop() ?? new Connection(port);
    this.#open.add(connection);
    const body = JSON.stringify(request);
    const sentAt = Date.now();
    const { status, text } = await connection.post(path, body);
    if (connection.isSilent) this.silent.push(`${path} ${body.slice(0, 200)}`);
    if (connection.isOpen) this.#idle.push(connection);
    else this.#open.delete(connection);
    return { status, text, sentAt, at: Date.now() };
  }

  /** Sends a request that must succeed, again if the connection breaks; answers the body. */
  async ok<T>(path: string, request: object): Promise<T> {
    for (;;) {
      const { status, text } = await this.post(path, request);
      if (status === 0) continue;
      if (status !== 200) throw new Error(`${path}: ${status} ${text}`);
      return JSON.parse(text) as T;
    }
  }

  close(): void {
    for (const connection of this.#open) connection.close();
  }
}

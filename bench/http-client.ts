// The lightest HTTP/1.1 client that a load generator can use: one socket, kept alive, over TLS if its address says
// https; requests that are sent before the last answer has come are pipelined. It knows only what our servers
// answer: a status and a body with Content-Length.

import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

export interface Response {
  readonly status: number;
  readonly body: Buffer;
}

interface Waiting {
  resolve(response: Response): void;
  reject(error: Error): void;
}

export class HttpClient {
  readonly #socket: Socket;
  /** What follows the path in every request. */
  readonly #headers: string;
  #buffer: Buffer = Buffer.alloc(0);
  /** Whoever waits for an answer, in the order of requests. */
  #waiting: Waiting[] = [];

  private constructor(socket: Socket, headers: string) {
    this.#socket = socket;
    this.#headers = headers;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("connection closed")));
  }

  /** Connects; every request shows the key, if there is one. */
  static open(url: URL, key?: string): Promise<HttpClient> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpClient>();
    const shown = key === undefined ? "" : `\r\nAuthorization: Bearer ${key}`;
    const headers = `HTTP/1.1\r\nHost: ${url.host}${shown}`;
    const where = { port: Number(url.port), host: url.hostname };
    const opened = (): void => resolve(new HttpClient(socket, headers));
    // Whose certificate it is does not matter here.
    const socket: Socket =
      url.protocol === "https:"
        ? connectTls({ ...where, rejectUnauthorized: false }, opened)
        : connect(where, opened);
    socket.once("error", reject);
    return promise;
  }

  /** Sends a body: JSON as text, Protobuf as bytes, which is then also what it asks for. */
  post(path: string, body: string | Uint8Array): Promise<Response> {
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    this.#waiting.push({ resolve, reject });
    const head = `POST ${path} ${this.#headers}\r\nContent-Length: ${Buffer.byteLength(body)}`;
    if (typeof body === "string") {
      this.#socket.write(`${head}\r\nContent-Type: application/json\r\n\r\n${body}`);
    } else {
      const type = "application/protobuf";
      this.#socket.cork();
      this.#socket.write(`${head}\r\nContent-Type: ${type}\r\nAccept: ${type}\r\n\r\n`);
      this.#socket.write(body);
      this.#socket.uncork();
    }
    return promise;
  }

  close(): void {
    this.#waiting = [];
    this.#socket.destroy();
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  #take(chunk: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    for (;;) {
      const end = this.#buffer.indexOf("\r\n\r\n");
      if (end === -1) return;
      const head = this.#buffer.toString("latin1", 0, end);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (this.#buffer.length < end + 4 + length) return;
      const body = this.#buffer.subarray(end + 4, end + 4 + length);
      this.#buffer = this.#buffer.subarray(end + 4 + length);
      this.#waiting.shift()?.resolve({ status: Number(head.slice(9, 12)), body });
    }
  }
}

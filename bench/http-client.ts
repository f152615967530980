// The lightest HTTP/1.1 client that a load generator can use: one socket, kept alive; requests that
// are sent before the last answer has come are pipelined. It knows only what our servers answer: a
// status and a body with Content-Length.

import { connect, type Socket } from "node:net";

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
  readonly #host: string;
  #buffer: Buffer = Buffer.alloc(0);
  /** Whoever waits for an answer, in the order of requests. */
  #waiting: Waiting[] = [];

  private constructor(socket: Socket, host: string) {
    this.#socket = socket;
    this.#host = host;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("connection closed")));
  }

  static open(url: URL): Promise<HttpClient> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpClient>();
    const socket = connect(Number(url.port), url.hostname, () =>
      resolve(new HttpClient(socket, url.host)),
    );
    socket.once("error", reject);
    return promise;
  }

  /** Sends a body: JSON as text, Protobuf as bytes, which is then also what it asks for. */
  post(path: string, body: string | Uint8Array): Promise<Response> {
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    this.#waiting.push({ resolve, reject });
    const head = `POST ${path} HTTP/1.1\r\nHost: ${this.#host}\r\nContent-Length: ${Buffer.byteLength(body)}`;
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

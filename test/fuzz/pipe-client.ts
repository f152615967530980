// A connection on which many requests may be under way at a time: they are sent without waiting for
// the replies, which come in the order of the requests. When the connection ends, what was not
// answered is rejected.

import { connect, type Socket } from "node:net";

export interface PipeReply {
  readonly status: number;
  readonly body: Buffer;
}

interface Waiting {
  readonly resolve: (reply: PipeReply) => void;
  readonly reject: (error: Error) => void;
}

/** A client that need not wait for one reply to send the next request. */
export class PipeClient {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];
  #chunks: Buffer[] = [];
  #bytes = 0;
  #needed = 0;

  constructor(port: number) {
    this.#socket = connect({ port, host: "127.0.0.1" });
    this.#socket.setNoDelay(true);
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("error", () => this.#socket.destroy());
    this.#socket.on("close", () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error("connection closed"));
    });
  }

  post(path: string, request: object): Promise<PipeReply> {
    const { promise, resolve, reject } = Promise.withResolvers<PipeReply>();
    if (this.#socket.destroyed) throw new Error("connection closed");
    this.#waiting.push({ resolve, reject });
    const body = JSON.stringify(request);
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
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#needed) return;
    let rest = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    this.#needed = 0;
    for (;;) {
      const end = rest.indexOf("\r\n\r\n");
      if (end === -1) break;
      const head = rest.toString("latin1", 0, end);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      const whole = end + 4 + length;
      if (rest.length < whole) {
        this.#needed = whole;
        break;
      }
      const body = rest.subarray(end + 4, whole);
      rest = rest.subarray(whole);
      this.#waiting.shift()?.resolve({ status: Number(head.slice(9, 12)), body });
    }
    this.#chunks = [rest];
    this.#bytes = rest.length;
  }
}

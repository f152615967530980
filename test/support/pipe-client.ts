// A connection on which many requests may be under way at a time: they are sent without waiting for
// the replies, which come in the order of the requests. When the connection ends, what was not
// answered is rejected.

import { connect, type Socket } from "node:net";
import { type Reply, ReplyReader, requestText } from "./http-text.ts";

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

/** A client that need not wait for one reply to send the next request. */
export class PipeClient {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];
  readonly #reader = new ReplyReader();
  /** Resolves when it is connected, or has failed. */
  readonly connected: Promise<void>;

  constructor(port: number) {
    this.#socket = connect({ port, host: "127.0.0.1" });
    this.#socket.setNoDelay(true);
    this.connected = new Promise((resolve) => {
      this.#socket.once("connect", resolve);
      this.#socket.once("close", () => resolve());
    });
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("error", () => this.#socket.destroy());
    this.#socket.on("close", () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error("connection closed"));
    });
  }

  post(path: string, request: object): Promise<Reply> {
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    if (this.#socket.destroyed) throw new Error("connection closed");
    this.#waiting.push({ resolve, reject });
    this.#socket.write(requestText(path, request));
    return promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#reader.add(chunk);
    for (let reply = this.#reader.next(); reply !== undefined; reply = this.#reader.next()) {
      this.#waiting.shift()?.resolve(reply);
    }
  }
}

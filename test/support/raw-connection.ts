// One kept-alive connection on which any bytes can be sent, also such as no HTTP client would. It
// sends one request at a time and tells what came back: a reply, the end of the connection, or nothing
// in time. Nothing is ever sent twice.

import { connect, type Socket } from "node:net";
import { type Reply, ReplyReader } from "./http-text.ts";

export type Outcome =
  /** `at`: when it was whole, in milliseconds like performance.now(). */
  | { readonly kind: "reply"; readonly reply: Reply; readonly at: number }
  /** The connection was closed without a whole reply. */
  | { readonly kind: "closed"; readonly received: Buffer }
  /** Nothing has come in time; the connection is given up. */
  | { readonly kind: "silent" };

export interface SendOptions {
  /** How long to wait for the whole reply, in milliseconds. */
  readonly waitMs: number;
  /** The reply to a HEAD request has no body, whatever its headers say. */
  readonly bodiless?: boolean;
}

/** One open connection. */
export class RawConnection {
  readonly #socket: Socket;
  readonly #reader = new ReplyReader();
  #ended = false;
  #look: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => {
      this.#reader.add(chunk);
      this.#look?.();
    });
    socket.on("error", () => socket.destroy());
    const end = (): void => {
      this.#ended = true;
      this.#look?.();
    };
    socket.on("end", end);
    socket.on("close", end);
  }

  /** Connects; rejects if nobody listens there. */
  static open(port: number, host = "127.0.0.1"): Promise<RawConnection> {
    const { promise, resolve, reject } = Promise.withResolvers<RawConnection>();
    const socket = connect({ port, host });
    socket.once("error", reject);
    socket.once("connect", () => {
      // Where nobody listens any more, a connection may end up with itself.
      if (socket.localPort === port) socket.destroy(new Error(`nobody listens on port ${port}`));
      else {
        socket.off("error", reject);
        resolve(new RawConnection(socket));
      }
    });
    return promise;
  }

  get isOpen(): boolean {
    return !this.#ended && !this.#socket.destroyed;
  }

  /** Goes away at once, as a client that has crashed; with a reset the server hears of an error. */
  destroy({ reset = false } = {}): void {
    if (reset) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }

  /** Sends bytes and waits for a reply. */
  async send(bytes: Buffer | string, options: SendOptions): Promise<Outcome> {
    this.#socket.write(bytes);
    return this.#receive(options);
  }

  /** Sends bytes and goes away as soon as they are on their way. */
  async sendAndLeave(bytes: Buffer | string): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#socket.write(bytes, () => resolve());
      this.#socket.once("close", () => resolve());
    });
    this.destroy();
  }

  #receive({ waitMs, bodiless = false }: SendOptions): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const settle = (outcome: Outcome): void => {
      clearTimeout(timer);
      this.#look = undefined;
      resolve(outcome);
    };
    const timer = setTimeout(() => {
      this.destroy();
      settle({ kind: "silent" });
    }, waitMs);
    this.#look = () => {
      const reply = this.#reader.next({ bodiless, isEnd: this.#ended });
      if (reply !== undefined) {
        if (reply.headers.get("connection")?.toLowerCase() === "close") this.#ended = true;
        settle({ kind: "reply", reply, at: performance.now() });
      } else if (this.#ended) {
        settle({ kind: "closed", received: this.#reader.rest });
      }
    };
    this.#look();
    return promise;
  }
}

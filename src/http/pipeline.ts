// What a client sends on a connection of node:http without waiting for replies. node:http would serve all
// of it at once, and a client that sends hundreds of requests would have as many places in every turn of the
// event loop as hundreds of clients; and it would keep the replies for one that does not take them away.
// So each turn serves a few, as long as replies are taken; those behind them wait, and no more is read
// from the connection meanwhile.

import type { Socket } from "node:net";
import { MILLISECOND } from "../clock.ts";
import { STALLED_REPLY } from "./edge.ts";

const SERVED_MAX = 16;

/** Takes a request to the end: resolves when its reply is given to the connection. Never rejects. */
export type Serve = () => Promise<void>;

/** The requests of each connection that are not answered yet. */
export class Pipelines {
  readonly #all = new WeakMap<Socket, Pipeline>();

  /** Serves a request when there is room among those that came before it on its connection. */
  add(socket: Socket, serve: Serve): void {
    let pipeline = this.#all.get(socket);
    if (pipeline === undefined) {
      pipeline = new Pipeline(socket);
      this.#all.set(socket, pipeline);
    }
    pipeline.add(serve);
  }
}

class Pipeline {
  readonly #socket: Socket;
  // Under way, or ended in this turn: what is answered at once takes a place as well.
  #served = 0;
  #ended = 0;
  #waiting: Serve[] = [];
  #isStalled = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    // node:http reads on with the end of every request and of every reply.
    socket.on("resume", () => {
      if (this.#waiting.length > 0) socket.pause();
    });
    socket.on("drain", () => this.#onDrain());
    socket.on("close", () => {
      this.#waiting = [];
    });
  }

  add(serve: Serve): void {
    this.#waiting.push(serve);
    this.#go();
    if (this.#waiting.length > 0) this.#socket.pause();
  }

  #go(): void {
    const socket = this.#socket;
    while (this.#waiting.length > 0 && this.#served < SERVED_MAX && !socket.writableNeedDrain) {
      void this.#serve(this.#waiting.shift()!);
    }
    if (this.#waiting.length === 0 || this.#served > 0 || this.#isStalled) return;
    this.#isStalled = true;
    socket.setTimeout(STALLED_REPLY / MILLISECOND); // without progress node:http then destroys the socket
  }

  async #serve(serve: Serve): Promise<void> {
    this.#served++;
    await serve();
    this.#ended++;
    if (this.#ended === 1) setImmediate(() => this.#endTurn());
  }

  #endTurn(): void {
    this.#served -= this.#ended;
    this.#ended = 0;
    this.#goOn();
  }

  #onDrain(): void {
    if (this.#isStalled) this.#socket.setTimeout(0);
    this.#isStalled = false;
    this.#goOn();
  }

  #goOn(): void {
    if (this.#waiting.length === 0) return;
    this.#go();
    if (this.#waiting.length === 0) this.#socket.resume();
  }
}

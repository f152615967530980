// Requests that a client sends on a connection of node:http without waiting for replies. node:http would begin
// them all at once: a client with hundreds of requests would get as much of every turn of the event loop as
// hundreds of clients, and its replies would pile up in memory if it does not take them. So only a few are
// begun in each turn, as long as replies are taken; the others wait, and meanwhile no more is read from the
// connection.

import type { Socket } from "node:net";
import { MILLISECOND } from "../clock.ts";
import { STALLED_REPLY } from "./edge.ts";

const BEGUN_MAX = 16;

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
  // Requests under way, and those that have ended in this turn: what is answered at once counts as well.
  #begun = 0;
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
    while (this.#waiting.length > 0 && this.#begun < BEGUN_MAX && !socket.writableNeedDrain) {
      void this.#serve(this.#waiting.shift()!);
    }
    if (this.#waiting.length === 0 || this.#begun > 0 || this.#isStalled) return;
    this.#isStalled = true;
    socket.setTimeout(STALLED_REPLY / MILLISECOND); // without progress node:http then destroys the socket
  }

  async #serve(serve: Serve): Promise<void> {
    this.#begun++;
    await serve();
    this.#ended++;
    if (this.#ended === 1) setImmediate(() => this.#endTurn());
  }

  #endTurn(): void {
    this.#begun -= this.#ended;
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

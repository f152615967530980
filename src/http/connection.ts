// A connection from its first byte on. Plain requests (plain-head.ts), one after the other, are read
// and answered here, straight from the socket: what node:http makes of each costs more than all that
// the server does with it. Anything else, or more than one at a time, makes it a connection of
// node:http for good, which then reads what was read here again, and refuses what is to be refused.

import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { type CancelTimer, MILLISECOND, SECOND, SystemClock } from "../clock.ts";
import { Chunks } from "./chunks.ts";
import {
  answer,
  brokenReply,
  type Edge,
  ENDING,
  type Exchange,
  FREE_BYTES,
  lengthOf,
  type Reply,
  STALLED_REPLY,
} from "./edge.ts";
import type { Head } from "./head.ts";
import { PLAIN_HEAD_BYTES_MAX, PlainHeads } from "./plain-head.ts";

const HEAD_END = Buffer.from("\r\n\r\n");

// A client that has not sent the whole of a request by then is left to the time-outs of node:http.
const PATIENCE = 10 * SECOND;

// How often connections are looked at, at least.
const SWEEP = 5 * SECOND;

const CLOSES = "Connection: close";

// More that comes while a request is answered waits in the buffers of the system.
const AHEAD_BYTES_MAX = 65_536;

/** The plain connections of a server. */
export class Connections {
  readonly edge: Edge;
  readonly heads: PlainHeads;
  readonly #handOver: (socket: Socket) => void;
  readonly #open = new Set<Connection>();
  // Connections live in the time of their clients, whatever a virtual clock says.
  readonly #clock = new SystemClock();
  // Set as long as there are connections.
  #cancelSweep: CancelTimer | undefined;
  #isEnding = false;
  // The end of a reply's head, which is the same for a second; until when, in steady time.
  #headEnd = "";
  #headEndUntil = 0;

  /** `handOver` makes a connection one of node:http. */
  constructor(edge: Edge, handOver: (socket: Socket) => void) {
    this.edge = edge;
    this.heads = new PlainHeads(edge.endpoints, edge.access);
    this.#handOver = handOver;
  }

  // An idle connection is not kept much longer than it is told.
  get #every(): number {
    return Math.min(SWEEP, this.edge.keepAlive / 4);
  }

  /** Steady time, by which connections live. */
  steady(): number {
    return this.#clock.steady();
  }

  add(socket: Socket): void {
    this.#open.add(new Connection(socket, this));
    this.#cancelSweep ??= this.#clock.wakeAfter(this.#every, () => this.#sweep());
  }

  remove(connection: Connection): void {
    this.#open.delete(connection);
  }

  /** Gives up a connection; the bytes were read from it, and belong to a request not yet served. */
  handOver(connection: Connection, socket: Socket, bytes: Buffer): void {
    this.remove(connection);
    this.#handOver(socket);
    if (bytes.length > 0) socket.unshift(bytes);
  }

  /** From now on replies end their connection, and say so. */
  startEnding(): void {
    this.#isEnding = true;
    this.#headEndUntil = 0;
    this.#cancelSweep?.();
  }

  /** Ends those that wait for a request. */
  endIdle(): void {
    for (const connection of this.#open) connection.endIfIdle();
  }

  /** Closes all. */
  destroy(): void {
    for (const connection of this.#open) connection.destroy();
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** What follows the length in the head of a reply. */
  headEnd(steady: number, isLast = false): string {
    if (isLast && !this.#isEnding) {
      return `\r\nDate: ${dateOf(this.#clock.now())}\r\n${CLOSES}\r\n\r\n`;
    }
    if (steady >= this.#headEndUntil) {
      const now = this.#clock.now();
      const kept = this.#isEnding
        ? CLOSES
        : `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(this.edge.keepAlive / SECOND)}`;
      this.#headEnd = `\r\nDate: ${dateOf(now)}\r\n${kept}\r\n\r\n`;
      this.#headEndUntil = steady + SECOND - (now % SECOND);
    }
    return this.#headEnd;
  }

  #sweep(): void {
    this.#cancelSweep = undefined;
    const steady = this.steady();
    for (const connection of this.#open) connection.check(steady);
    if (this.#open.size === 0 || this.#isEnding) return;
    this.#cancelSweep = this.#clock.wakeAfter(this.#every, () => this.#sweep());
  }
}

/** One connection, between two requests, while one is read, or while it is answered. */
class Connection implements Exchange {
  readonly #socket: Socket;
  readonly #all: Connections;
  /** The request that is read or answered. */
  #head: Head | undefined;
  /** What has come of it, its head included, while it is read. */
  #chunks = new Chunks();
  #missing = 0;
  #isAnswering = false;
  /** What has come since, while it is answered. */
  #ahead = new Chunks();
  #aheadBytes = 0;
  /** Bytes of the request and of its reply that count as held. */
  #held = 0;
  #onGone: (() => void) | undefined;
  /** When it was last answered, or has sent the first part of what is not whole yet; in steady time. */
  #since: number;
  #hasServed = false;

  constructor(socket: Socket, all: Connections) {
    this.#socket = socket;
    this.#all = all;
    this.#since = all.steady();
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onError);
    socket.on("timeout", this.#onTimeout);
    socket.on("close", this.#onClose);
  }

  // --- of the exchange under way ---

  get requestId(): string {
    return this.#head?.requestId ?? "";
  }

  get idempotencyKey(): string {
    const head = this.#head;
    return head?.isV2 === true ? (head.idempotencyKey ?? "") : "";
  }

  isGone(): boolean {
    return this.#socket.destroyed;
  }

  onGone(gone: () => void): void {
    this.#onGone = gone;
  }

  // --- reading ---

  readonly #onData = (chunk: Buffer): void => {
    if (this.#isAnswering) {
      // What crosses our end on its way: it was told that nothing more is served here.
      if (this.#socket.writableEnded) return;
      // Served when this one is answered, by node:http.
      this.#ahead.add(chunk);
      this.#aheadBytes += chunk.length;
      if (this.#aheadBytes > AHEAD_BYTES_MAX) this.#socket.pause();
    } else if (this.#head === undefined) this.#begin(chunk);
    else this.#add(this.#head, chunk, chunk.length);
  };

  #begin(chunk: Buffer): void {
    const end = chunk.indexOf(HEAD_END);
    const head =
      end === -1 || end > PLAIN_HEAD_BYTES_MAX
        ? undefined
        : this.#all.heads.read(chunk.toString("latin1", 0, end));
    const bodyBytes = chunk.length - end - HEAD_END.length;
    if (head === undefined) {
      this.#handOver(chunk);
      return;
    }
    this.#missing = head.contentLength;
    if (bodyBytes < this.#missing) this.#since = this.#all.steady();
    this.#add(head, chunk, bodyBytes);
  }

  #add(head: Head, chunk: Buffer, bodyBytes: number): void {
    const { held, limits } = this.#all.edge;
    this.#head = head;
    this.#chunks.add(chunk);
    this.#missing -= bodyBytes;
    this.#hold(bodyBytes);
    const isFree = this.#held <= FREE_BYTES || held.bytes <= limits.requestBytes;
    if (this.#missing < 0 || !isFree) this.#handOver(this.#chunks.take());
    else if (this.#missing === 0) this.#serve(head);
  }

  #handOver(bytes: Buffer): void {
    const socket = this.#socket;
    this.#release();
    socket.off("data", this.#onData);
    socket.off("end", this.#onEnd);
    socket.off("error", this.#onError);
    socket.off("timeout", this.#onTimeout);
    socket.off("close", this.#onClose);
    this.#all.handOver(this, socket, bytes);
  }

  // --- answering ---

  #serve(head: Head): void {
    const whole = this.#chunks.take();
    this.#isAnswering = true;
    const body = whole.subarray(whole.length - head.contentLength);
    answer(head, body, this, this.#all.edge).then(this.#send, this.#fail);
  }

  readonly #send = (reply: Reply | undefined): void => {
    this.#onGone = undefined;
    this.#release();
    const socket = this.#socket;
    // The client is gone, or has ended its side, and cannot be answered any more.
    if (reply === undefined || socket.destroyed || socket.writableEnded) return;
    this.#since = this.#all.steady();
    const isTaken = this.#write(reply, this.#since);
    if (this.#all.isEnding || reply.isLast === true) this.#endOurs();
    else if (isTaken) this.#next();
    if (!isTaken) this.#holdUntilTaken(reply.body.length);
  };

  // The client is to end its side as well. What it has sent ahead is not served, as the reply says.
  #endOurs(): void {
    this.#ahead.take();
    this.#socket.end();
    this.#socket.resume();
    this.#socket.setTimeout(STALLED_REPLY / MILLISECOND);
  }

  // A client that does not take its reply away must not keep it in memory for ever.
  #holdUntilTaken(bytes: number): void {
    const socket = this.#socket;
    this.#hold(bytes);
    socket.setTimeout(STALLED_REPLY / MILLISECOND);
    socket.once("drain", () => {
      this.#release();
      if (socket.writableEnded) return;
      socket.setTimeout(0);
      this.#next();
    });
  }

  #write({ status, type, body, isLast, retryAfter }: Reply, steady: number): boolean {
    const socket = this.#socket;
    const { isV2, requestId } = this.#head!;
    const id = isV2 ? `\r\nX-Request-Id: ${requestId}` : "";
    const later = retryAfter === undefined ? "" : `\r\nRetry-After: ${retryAfter}`;
    const end = this.#all.headEnd(steady, isLast);
    const bytes = lengthOf(body);
    const head = `${headStart(status, type)}${bytes}${id}${later}${end}`;
    if (typeof body === "string") {
      // A text of ASCII, as most are, is the same in both, and one of them need not be encoded.
      return socket.write(head + body, bytes === body.length ? "latin1" : "utf8");
    }
    socket.cork();
    socket.write(head, "latin1");
    const isTaken = socket.write(body);
    socket.uncork();
    return isTaken;
  }

  readonly #fail = (error: unknown): void => {
    this.#all.edge.log.error({ err: error }, "request failed");
    this.#socket.destroy();
  };

  #next(): void {
    this.#head = undefined;
    this.#isAnswering = false;
    this.#hasServed = true;
    if (this.#aheadBytes === 0) return;
    this.#handOver(this.#ahead.take());
    this.#socket.resume();
  }

  // --- what is held ---

  #hold(bytes: number): void {
    this.#held += bytes;
    this.#all.edge.held.bytes += bytes;
  }

  #release(): void {
    this.#all.edge.held.bytes -= this.#held;
    this.#held = 0;
  }

  // --- the end ---

  readonly #onEnd = (): void => {
    // Half a request.
    if (this.#head !== undefined && !this.#isAnswering) this.#socket.write(brokenReply());
    this.#socket.end();
  };

  // What follows is the end of the socket.
  readonly #onError = (): void => undefined;

  readonly #onTimeout = (): void => {
    this.#socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#all.remove(this);
    this.#release();
    this.#chunks = new Chunks();
    this.#ahead = new Chunks();
    this.#onGone?.();
  };

  /** Ends what has waited for too long. */
  check(steady: number): void {
    if (this.#isAnswering) return;
    const isBetween = this.#head === undefined && this.#hasServed;
    if (steady - this.#since < (isBetween ? this.#all.edge.keepAlive : PATIENCE)) return;
    if (isBetween) this.#socket.destroy();
    else this.#handOver(this.#chunks.take());
  }

  /** A request that is on its way meets an answer, from which its sender knows that it was not served. */
  endIfIdle(): void {
    if (this.#head !== undefined || this.#socket.writableEnded) return;
    this.#isAnswering = true;
    this.#socket.write(brokenReply(ENDING));
    this.#endOurs();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

function dateOf(now: number): string {
  return new Date(now / MILLISECOND).toUTCString();
}

const headStarts = new Map<string, string>();

function headStart(status: number, type: string): string {
  const key = `${status}${type}`;
  let start = headStarts.get(key);
  if (start === undefined) {
    start =
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "unknown"}\r\n` +
      `Content-Type: ${type}\r\nX-Content-Type-Options: nosniff\r\nContent-Length: `;
    headStarts.set(key, start);
  }
  return start;
}

// A connection from its first byte on. Plain requests (plain-head.ts) that come one after the other are
// read and answered here, straight from the socket, for node:http spends more on a request than the rest
// of the server does. With anything else, or with a second request before the first is answered, the
// connection is handed over to node:http for good: the bytes that were read here are put back into the
// socket, node:http reads them again, and refuses what has to be refused.

import type { Socket } from "node:net";
import { ANYONE, Principal } from "../auth/principal.ts";
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
  peerOf,
  type Reply,
  STALLED_REPLY,
  waitOn,
} from "./edge.ts";
import type { Head } from "./head.ts";
import { STATUS_CODES } from "./node-http.ts";
import { PLAIN_HEAD_BYTES_MAX, PlainHeads } from "./plain-head.ts";
import { certificateOf } from "./secure.ts";
import { noteSlow } from "./slow-requests.ts";
import { belong } from "./tenants.ts";

const HEAD_END = Buffer.from("\r\n\r\n");

// A connection whose client takes longer than this to send a request is handed over to node:http and its time-outs.
const PATIENCE = 10 * SECOND;

// At least this often all connections are checked for having waited too long.
const SWEEP = 5 * SECOND;

const CLOSES = "Connection: close";

const ASKS_FOR_KEY = "\r\nWWW-Authenticate: Bearer";

// So much is read ahead while a request is answered; what comes after it waits in the buffers of the system.
const AHEAD_BYTES_MAX = 65_536;

/** The plain connections of a server. */
export class Connections {
  readonly edge: Edge;
  readonly heads: PlainHeads;
  readonly #handOver: (socket: Socket) => void;
  readonly #open = new Set<Connection>();
  // Real time, even if the queues run on a virtual clock: clients live in real time.
  readonly #clock = new SystemClock();
  // Ends the wait for the next sweep; set while there are connections.
  #cancelSweep: CancelTimer | undefined;
  #isEnding = false;
  // The end of a reply's head, which holds the date, and the steady time until which that date is right.
  #headEnd = "";
  #headEndUntil = 0;

  /** `handOver` gives a socket to node:http. */
  constructor(edge: Edge, handOver: (socket: Socket) => void) {
    this.edge = edge;
    this.heads = new PlainHeads(edge.endpoints, edge.access);
    this.#handOver = handOver;
  }

  // Often enough that an idle connection is closed soon after the time that its client was told.
  get #every(): number {
    return Math.min(SWEEP, this.edge.keepAlive / 4);
  }

  /** The steady time in which all times of connections are measured. */
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

  /** Hands a connection over to node:http, with the bytes that were read of requests not answered yet. */
  handOver(connection: Connection, socket: Socket, bytes: Buffer): void {
    this.remove(connection);
    this.#handOver(socket);
    if (bytes.length > 0) socket.unshift(bytes);
  }

  /** From now on every reply closes its connection, and says so. */
  startEnding(): void {
    this.#isEnding = true;
    this.#headEndUntil = 0;
    this.#cancelSweep?.();
  }

  /** Ends the connections that wait for a request. */
  endIdle(): void {
    for (const connection of this.#open) connection.endIfIdle();
  }

  /** Closes all connections at once. */
  destroy(): void {
    for (const connection of this.#open) connection.destroy();
  }

  /** How many requests are not answered yet. */
  get answering(): number {
    let count = 0;
    for (const connection of this.#open) if (connection.isAnswering) count++;
    return count;
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** The end of a reply's head: all that follows the content length. */
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

/** One connection: it waits for a request, reads one, or answers one. */
class Connection implements Exchange {
  readonly #socket: Socket;
  readonly #all: Connections;
  /** The head of the request that is being read or answered. */
  #head: Head | undefined;
  /** While a request is read: all that has come of it, with its head. */
  #chunks = new Chunks();
  #missing = 0;
  #isAnswering = false;
  /** While a request is answered: what the client has sent ahead. */
  #ahead = new Chunks();
  #aheadBytes = 0;
  /** How many bytes of the request and its reply are counted in `edge.held`. */
  #held = 0;
  #onGone: (() => void) | undefined;
  /** When, in steady time, it was opened, was answered last, or sent the first part of an incomplete request. */
  #since: number;
  /** When the request at hand was there. */
  #servedAt = 0;
  queue = "";
  waitedUntil = 0;
  #hasServed = false;

  // Who sent the last request, and how they said so; asked for anew when they say something else.
  #principal = ANYONE;
  #authorization: string | undefined;
  #isCut = false;

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

  // --- the exchange under way, as a handler sees it ---

  get requestId(): string {
    return this.#head?.requestId ?? "";
  }

  get idempotencyKey(): string {
    const head = this.#head;
    return head?.isV2 === true ? (head.idempotencyKey ?? "") : "";
  }

  get namespace(): string {
    return this.#head?.namespace ?? "";
  }

  get traceparent(): string | undefined {
    const head = this.#head;
    return head?.isV2 === true ? head.traceparent : undefined;
  }

  get tracestate(): string | undefined {
    return this.#head?.tracestate;
  }

  get principal(): Principal {
    return this.#principal;
  }

  get address(): string {
    return peerOf(this.#socket);
  }

  get isAnswering(): boolean {
    return this.#isAnswering;
  }

  isGone(): boolean {
    return this.#isCut || this.#socket.destroyed;
  }

  onGone(gone: () => void): void {
    this.#onGone = gone;
    // Nothing waited when that was said.
    if (this.#principal.isEnded) this.#onCut();
  }

  // Followed from one request to the next, for that costs nothing while they come from the same.
  #follow(principal: Principal): void {
    if (principal === this.#principal) return;
    this.#principal.offEnd(this.#onCut);
    this.#principal = principal;
    principal.onEnd(this.#onCut);
  }

  // The key was taken away: a request that waits in its name does so no more.
  readonly #onCut = (): void => {
    const gone = this.#onGone;
    const head = this.#head;
    if (gone === undefined || head === undefined) return;
    const next = waitOn(head, head.accepted, this.#all.edge, {
      before: this.#principal,
      socket: this.#socket,
    });
    if (next instanceof Principal) {
      this.#follow(next);
      return;
    }
    this.#isCut = true;
    this.#send(next);
    gone();
  };

  // --- reading ---

  readonly #onData = (chunk: Buffer): void => {
    if (this.#isAnswering) {
      // We have ended the connection, and the last reply said so: what comes now is dropped.
      if (this.#socket.writableEnded) return;
      // For node:http, to which the connection goes once this request is answered.
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
    if (head === undefined || !this.#knows(head)) {
      this.#handOver(chunk);
      return;
    }
    this.#missing = head.contentLength;
    if (bodyBytes < this.#missing) this.#since = this.#all.steady();
    this.#add(head, chunk, bodyBytes);
  }

  // Whether it is known who sends a request; who is refused is left to node:http, which answers the error.
  #knows({ authorization }: Head): boolean {
    const { auth } = this.#all.edge;
    if (auth === undefined) return true;
    const isSame = authorization === this.#authorization && this.#principal !== ANYONE;
    // Whom a certificate stands for is asked each time: the user may have been made meanwhile.
    const certificate = authorization === undefined ? certificateOf(this.#socket) : undefined;
    if (isSame && certificate === undefined && auth.isTaken(this.#principal)) return true;
    try {
      const principal = auth.principalOf(authorization, certificate);
      if (belong(this.#socket, principal, auth) !== undefined) return false;
      this.#follow(principal);
      // A copy: a part of a head would keep all of it.
      this.#authorization =
        authorization && Buffer.from(authorization, "latin1").toString("latin1");
      return true;
    } catch {
      return false;
    }
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
    this.#principal.offEnd(this.#onCut);
    this.#all.handOver(this, socket, bytes);
  }

  // --- answering ---

  #serve(head: Head): void {
    const whole = this.#chunks.take();
    this.#isAnswering = true;
    const body = whole.subarray(whole.length - head.contentLength);
    this.#servedAt = this.#all.steady();
    answer(head, body, this, this.#all.edge).then(this.#send, this.#fail);
  }

  readonly #send = (reply: Reply | undefined): void => {
    this.#onGone = undefined;
    this.#release();
    const socket = this.#socket;
    // The client has gone, or our side has been ended: nobody can be answered any more.
    if (reply === undefined || socket.destroyed || socket.writableEnded) return;
    this.#since = this.#all.steady();
    const time = this.#since - this.#servedAt;
    this.#head!.endpoint.meter.note(reply.status, time);
    if (time >= this.#all.edge.slowAfter) this.#noteSlow(reply);
    const isTaken = this.#write(reply, this.#since);
    if (this.#all.isEnding || reply.isLast === true) this.#endOurs();
    else if (isTaken) this.#next();
    if (!isTaken) this.#holdUntilTaken(reply.body.length);
  };

  #noteSlow(reply: Reply): void {
    const told = this.#head!;
    const { queue, waitedUntil } = this;
    const [headAt, readAt, answeredAt] = [this.#servedAt, this.#servedAt, this.#since];
    const bodyBytes = told.contentLength;
    const times = { headAt, readAt, waitedUntil, answeredAt };
    noteSlow(this.#all.edge, reply, { told, method: "POST", queue, bodyBytes, ...times });
  }

  // Ends our side, and waits for the client to end its own. What it has sent ahead is dropped; it knows that
  // from the reply, which says that it is the last.
  #endOurs(): void {
    this.#ahead.take();
    this.#socket.end();
    this.#socket.resume();
    this.#socket.setTimeout(STALLED_REPLY / MILLISECOND);
  }

  // A reply that waits in the socket counts as held, and its client must not leave it there for ever.
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
    const ask = isV2 && status === 401 ? ASKS_FOR_KEY : "";
    const later = retryAfter === undefined ? "" : `\r\nRetry-After: ${retryAfter}`;
    const end = this.#all.headEnd(steady, isLast);
    const bytes = lengthOf(body);
    const head = `${headStart(status, type)}${bytes}${id}${ask}${later}${end}`;
    if (typeof body === "string") {
      // As many bytes as characters: the text is ASCII, as most are, and latin1 writes it without encoding.
      return socket.write(head + body, bytes === body.length ? "latin1" : "utf8");
    }
    socket.cork();
    socket.write(head, "latin1");
    const isTaken = socket.write(body);
    socket.uncork();
    return isTaken;
  }

  readonly #fail = (error: unknown): void => {
    const { path, requestId: request_id } = this.#head!;
    this.#all.edge.log.error({ err: error, path, request_id }, "request failed");
    this.#socket.destroy();
  };

  #next(): void {
    this.#head = undefined;
    this.queue = "";
    this.waitedUntil = 0;
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
    // The client has ended its side in the middle of a request.
    if (this.#head !== undefined && !this.#isAnswering) this.#socket.write(brokenReply());
    this.#socket.end();
  };

  // Nothing to do: the socket is closed next, and #onClose does all there is to do.
  readonly #onError = (): void => undefined;

  readonly #onTimeout = (): void => {
    this.#socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#all.remove(this);
    this.#release();
    this.#chunks = new Chunks();
    this.#ahead = new Chunks();
    this.#principal.offEnd(this.#onCut);
    this.#onGone?.();
  };

  /** Closes the connection, or hands it over, if it has waited for too long. */
  check(steady: number): void {
    if (this.#isAnswering) return;
    const isBetween = this.#head === undefined && this.#hasServed;
    if (steady - this.#since < (isBetween ? this.#all.edge.keepAlive : PATIENCE)) return;
    if (isBetween) this.#socket.destroy();
    else this.#handOver(this.#chunks.take());
  }

  /**
   * Ends the connection if it waits for a request. It is sent a reply all the same: a client whose request is
   * just on its way learns from it that the request was not executed.
   */
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

// Those who listen to events through one thread. What they are sent is made from the ring, for all that are at the same
// place with the same wish once, and in a bounded part of the time of the thread: its loops come first. A listener that
// does not take what it is sent, or for whom there is no time, is left where it is; if the ring has gone on without it
// by then, it is told of the gap, and goes on behind it. So nothing piles up for anybody.

import { type CancelTimer, type Clock, MILLISECOND, SECOND } from "../clock.ts";
import { QueueError as Known, type QueueError } from "../errors.ts";
import type { Heed, Page } from "./center.ts";
import type { Interest } from "./hub.ts";
import type { Ring } from "./ring.ts";
import {
  type Chunk,
  chunkOf,
  cursorOf,
  heartbeatOf,
  messageOf,
  positionOf,
  type Wish,
} from "./text.ts";

/** Listeners of one thread. */
export const LISTENERS_MAX = 256;

const HEARTBEAT = 15 * SECOND;

// A listener that takes nothing for this long is cut off.
const STALLED = 60 * SECOND;

// How long listeners are served at a time; and after that the loops have so many times as long for themselves.
const SLICE = 2 * MILLISECOND;
const REST = 90;

// Events that one listener is looked at for at a time.
const LOOK = 8_192;

/** Where a listener is sent to. */
export interface Outlet {
  /** Sends a text; false if no more is to be sent before `onDrain` says so. */
  write(bytes: Buffer): boolean;
  onDrain(drained: () => void): void;
  /** Ends it: what was sent still arrives, unless it is not taken. */
  end(): void;
  destroy(): void;
}

/** The ring as this thread reaches it. */
export interface Source {
  readonly ring: Ring;
  /** Sees to it that the ring of this thread is kept up, as long as somebody listens. */
  follow(): Promise<void>;
  unfollow(): void;
  listen(interest: Interest): Promise<Heed>;
  unlisten(interest: Interest): void;
  /** What the ring of this thread does not hold any more; undefined if no other does. */
  readonly pageFrom: ((position: number) => Promise<Page>) | undefined;
}

export interface ListenOptions {
  readonly wish: Wish;
  /** The cursor behind which it begins; "" for now. */
  readonly after: string;
  /** Whether it may still have what it asks for. */
  readonly mayListen: () => boolean;
}

interface Listener {
  readonly wish: Wish;
  readonly key: string;
  readonly run: string;
  readonly outlet: Outlet;
  readonly mayListen: () => boolean;
  position: number;
  /** Why there is a gap before `position`, which it is still to be told of; "" for none. */
  gap: string;
  lost: number;
  isBlocked: boolean;
  isFetching: boolean;
  wroteAt: number;
}

/** A listener, for who has let it in. */
export interface Listening {
  /** It has gone. */
  leave(): void;
  /** Tells it why it is not told more, and ends it. */
  end(error: QueueError): void;
}

export class Listeners {
  readonly #source: Source;
  readonly #clock: Clock;
  // In the order in which they are served next.
  readonly #all = new Set<Listener>();
  // Those that are let in at present as well.
  #count = 0;
  #cancelPump: CancelTimer | undefined;
  #cancelBeat: CancelTimer | undefined;
  #restsUntil = 0;
  #closed: QueueError | undefined;
  #following: Promise<void> | undefined;

  constructor(source: Source, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Lets a listener in: `open` is called when all that happens from then on will be told. */
  async add(
    { wish, after, mayListen }: ListenOptions,
    open: (begin: string) => Outlet | undefined,
  ): Promise<Listening | undefined> {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#count >= LISTENERS_MAX) {
      throw new Known("retry", `there are ${LISTENERS_MAX} listeners already; try again later`, {
        code: "overloaded",
      });
    }
    this.#count++;
    const { interest } = wish;
    let isIn = false;
    let isHeeded = false;
    try {
      if (this.#count === 1) this.#following = this.#source.follow();
      await this.#following;
      isHeeded = true;
      const heed = await this.#source.listen(interest);
      const start = startOf(after, heed);
      const outlet =
        this.#closed === undefined
          ? open(heartbeatOf(cursorOf(heed.run, start.position)))
          : undefined;
      if (this.#closed !== undefined) throw this.#closed;
      if (outlet === undefined) return undefined;
      isIn = true;
      const listener: Listener = {
        wish,
        key: JSON.stringify([interest, [...(wish.what ?? ["all"])], wish.item]),
        run: heed.run,
        outlet,
        mayListen,
        ...start,
        isBlocked: false,
        isFetching: false,
        wroteAt: this.#clock.steady(),
      };
      this.#all.add(listener);
      outlet.onDrain(() => {
        listener.isBlocked = false;
        this.wake();
      });
      this.#beat();
      this.wake();
      return {
        leave: () => this.#leave(listener),
        end: (error) => this.#end(listener, error),
      };
    } finally {
      if (!isIn) this.#goneBy(isHeeded ? interest : undefined);
    }
  }

  /** There is more, or room for more. */
  wake(): void {
    if (this.#cancelPump !== undefined || this.#all.size === 0) return;
    const rest = Math.max(this.#restsUntil - this.#clock.steady(), MILLISECOND);
    this.#cancelPump = this.#clock.wakeAfter(rest, () => {
      this.#cancelPump = undefined;
      this.#pump();
    });
  }

  /** Ends all, and lets nobody in any more. */
  close(error: QueueError): void {
    this.#closed ??= error;
    for (const listener of [...this.#all]) this.#end(listener, error);
    this.#cancelPump?.();
    this.#cancelPump = undefined;
  }

  // --- what is sent ---

  #pump(): void {
    const began = this.#clock.steady();
    const { ring } = this.#source;
    const chunks = new Map<string, { readonly bytes: Buffer; readonly end: number }>();
    let isMore = false;
    for (const listener of [...this.#all]) {
      if (this.#clock.steady() - began >= SLICE) {
        isMore = true;
        break;
      }
      if (listener.isBlocked || listener.isFetching) continue;
      if (listener.gap === "" && listener.position >= ring.end) continue;
      // The next time it comes last.
      this.#all.delete(listener);
      this.#all.add(listener);
      if (!listener.mayListen()) {
        this.#end(listener, new Known("forbidden", "access denied", { code: "permission_denied" }));
        continue;
      }
      if (listener.position < ring.first && !this.#catchUp(listener)) continue;
      const { position, gap, lost } = listener;
      const key = `${position} ${gap} ${lost} ${listener.key}`;
      let chunk = chunks.get(key);
      if (chunk === undefined) {
        const { text, end } = this.#chunkFor(listener);
        chunk = { bytes: Buffer.from(gapOf(listener) + text), end };
        chunks.set(key, chunk);
      }
      told(listener);
      this.#send(listener, chunk.bytes);
      listener.position = chunk.end;
      if (chunk.end < ring.end) isMore = true;
    }
    const spent = this.#clock.steady() - began;
    this.#restsUntil = began + spent + spent * REST;
    if (isMore) this.wake();
  }

  #chunkFor({ wish, run, position }: Listener): Chunk {
    const { ring } = this.#source;
    const entries = ring.from(position, LOOK);
    const last = entries.at(-1);
    const end = last === undefined ? ring.end : last.first + last.happened.ids.length;
    return chunkOf(entries, { wish, run, from: position, end: Math.max(end, position) });
  }

  // What it is to be sent next is not in the ring of this thread: false if it is being asked for elsewhere.
  #catchUp(listener: Listener): boolean {
    const { ring, pageFrom } = this.#source;
    if (pageFrom === undefined) {
      skipTo(listener, ring.first);
      return true;
    }
    listener.isFetching = true;
    pageFrom(listener.position)
      .then(({ first, entries, end }) => {
        if (!this.#all.has(listener)) return;
        if (first > listener.position) skipTo(listener, first);
        const { wish, run, position } = listener;
        const chunk = chunkOf(entries, { wish, run, from: position, end });
        this.#send(listener, Buffer.from(gapOf(listener) + chunk.text));
        told(listener);
        listener.position = chunk.end;
        listener.isFetching = false;
        this.wake();
      })
      .catch(() => listener.outlet.destroy()); // the server ends
    return false;
  }

  #send(listener: Listener, bytes: Buffer): void {
    if (bytes.length === 0) return;
    listener.wroteAt = this.#clock.steady();
    if (!listener.outlet.write(bytes)) listener.isBlocked = true;
  }

  // --- who comes and goes ---

  #beat(): void {
    this.#cancelBeat ??= this.#clock.wakeAfter(HEARTBEAT, () => {
      this.#cancelBeat = undefined;
      const now = this.#clock.steady();
      for (const listener of this.#all) {
        const { outlet, wroteAt, isBlocked, run, position } = listener;
        if (isBlocked && now - wroteAt >= STALLED) outlet.destroy();
        else if (!isBlocked && !listener.isFetching && listener.gap === "") {
          this.#send(listener, Buffer.from(heartbeatOf(cursorOf(run, position))));
        }
      }
      if (this.#all.size > 0) this.#beat();
    });
  }

  #end(listener: Listener, { code, detail }: QueueError): void {
    if (!this.#all.has(listener)) return;
    const { run, position, outlet } = listener;
    this.#leave(listener);
    outlet.write(Buffer.from(messageOf(cursorOf(run, position), "end", { code, detail })));
    outlet.end();
  }

  #leave(listener: Listener): void {
    if (this.#all.delete(listener)) this.#goneBy(listener.wish.interest);
  }

  #goneBy(interest: Interest | undefined): void {
    if (interest !== undefined) this.#source.unlisten(interest);
    if (--this.#count > 0) return;
    this.#source.unfollow();
    this.#cancelBeat?.();
    this.#cancelBeat = undefined;
  }
}

// Where a listener begins that was at a cursor before, and what it has missed by then.
function startOf(
  after: string,
  { run, since, end }: Heed,
): Pick<Listener, "position" | "gap" | "lost"> {
  if (after === "") return { position: end, gap: "", lost: 0 };
  const position = positionOf(after, run);
  if (position === undefined || position > end) {
    return { position: end, gap: "restarted", lost: 0 };
  }
  if (position < since) return { position: since, gap: "not_kept", lost: 0 };
  return { position, gap: "", lost: 0 };
}

function skipTo(listener: Listener, first: number): void {
  listener.lost += first - listener.position;
  listener.gap ||= "behind";
  listener.position = first;
}

// What it is told of the gap before its position; "" if there is none.
function gapOf({ run, position, gap: reason, lost }: Listener): string {
  if (reason === "") return "";
  const data = { reason, ...(lost > 0 && { at_most: lost }) };
  return messageOf(cursorOf(run, position), "gap", data);
}

function told(listener: Listener): void {
  listener.gap = "";
  listener.lost = 0;
}

// Where the events of all threads come together, on the first one: it holds the ring that gives each its position, and
// knows what is listened to, on whatever thread. What nobody listens to is not published, and is not in the ring; what
// somebody has listened to goes on to be for a while, so that who comes back finds what they have missed.

import { randomBytes } from "node:crypto";
import { type CancelTimer, type Clock, MINUTE } from "../clock.ts";
import type { Happened } from "../queue/queue.ts";
import type { Interest } from "./hub.ts";
import { type Entry, Ring } from "./ring.ts";

/** Events that are held for those who come back, or are slow. */
export const RING_EVENTS = 32_768;

// How long what nobody listens to any more is kept up.
const GRACE = MINUTE;

// What is kept up for nobody, at most.
const FORSAKEN_MAX = 64;

// Events that go to another thread at a time.
const PAGE_EVENTS = 4_096;

/** Where a listener may begin. */
export interface Heed {
  /** Another text for each run of the server. */
  readonly run: string;
  /** From this position on the ring has had all that is listened to. */
  readonly since: number;
  readonly end: number;
}

/** Entries of the ring, in a row; `first` is where they begin, or would. */
export interface Page {
  readonly first: number;
  readonly entries: readonly Entry[];
  /** Behind them, and behind what is no entry. */
  readonly end: number;
}

interface Heeded {
  readonly interest: Interest;
  readonly since: number;
  listeners: number;
  forsake: CancelTimer | undefined;
}

interface Mirror {
  readonly push: (page: Page) => Promise<void>;
  position: number;
  isBusy: boolean;
}

export interface CenterOptions {
  readonly clock: Clock;
  /** Makes all threads know what is listened to. */
  readonly tell: (interests: readonly Interest[]) => Promise<void>;
}

export class EventCenter {
  readonly ring = new Ring(RING_EVENTS);
  readonly #options: CenterOptions;
  readonly #run = randomBytes(4).toString("hex");
  readonly #heeded = new Map<string, Heeded>();
  readonly #mirrors = new Map<number, Mirror>();
  /** Called when there is more; set by the first thread. */
  onMore: () => void = () => undefined;

  constructor(options: CenterOptions) {
    this.#options = options;
  }

  // --- what happens ---

  take(happened: readonly Happened[]): void {
    for (const each of happened) this.ring.append(each);
    this.onMore();
    for (const mirror of this.#mirrors.values()) if (!mirror.isBusy) void this.#feed(mirror);
  }

  // One page at a time: a thread that is slow misses some, and holds nobody up.
  async #feed(mirror: Mirror): Promise<void> {
    mirror.isBusy = true;
    try {
      while (mirror.position < this.ring.end) {
        const page = this.pageFrom(mirror.position);
        mirror.position = page.end;
        await mirror.push(page);
      }
    } catch {
      return; // the thread has ended, and the server with it
    }
    mirror.isBusy = false;
  }

  // --- who listens ---

  /** Has what is of an interest published from now on, or goes on to; resolves when all threads do. */
  async listen(interest: Interest): Promise<Heed> {
    const key = JSON.stringify(interest);
    let heeded = this.#heeded.get(key);
    if (heeded === undefined) {
      // What happened meanwhile was not published: no cursor from before may pass for one of now.
      this.ring.skip();
      heeded = { interest, since: this.ring.end, listeners: 1, forsake: undefined };
      this.#heeded.set(key, heeded);
    } else {
      heeded.listeners++;
      heeded.forsake?.();
      heeded.forsake = undefined;
    }
    // Also if it is known: another one may just be making it so.
    await this.#tell();
    return { run: this.#run, since: heeded.since, end: this.ring.end };
  }

  unlisten(interest: Interest): void {
    const key = JSON.stringify(interest);
    const heeded = this.#heeded.get(key);
    if (heeded === undefined || --heeded.listeners > 0) return;
    const forsaken = [...this.#heeded].filter(([, { listeners }]) => listeners === 0);
    for (const [each] of forsaken.slice(0, -FORSAKEN_MAX)) this.#drop(each);
    heeded.forsake = this.#options.clock.wakeAfter(GRACE, () => this.#drop(key));
  }

  #drop(key: string): void {
    this.#heeded.get(key)?.forsake?.();
    this.#heeded.delete(key);
    void this.#tell().catch(() => undefined); // the server ends
  }

  #tell(): Promise<void> {
    return this.#options.tell(Array.from(this.#heeded.values(), ({ interest }) => interest));
  }

  // --- who reads ---

  /** Gives a thread all that comes from now on; answers where that begins. */
  follow(thread: number, push: (page: Page) => Promise<void>): number {
    const position = this.ring.end;
    this.#mirrors.set(thread, { push, position, isBusy: false });
    return position;
  }

  unfollow(thread: number): void {
    this.#mirrors.delete(thread);
  }

  /** Entries from a position on, or from the first one that is there. */
  pageFrom(position: number): Page {
    const entries = this.ring.from(position, PAGE_EVENTS);
    const last = entries.at(-1);
    const end = last === undefined ? this.ring.end : last.first + last.happened.ids.length;
    return { first: Math.max(position, this.ring.first), entries, end };
  }

  /** Nothing is kept up any more. */
  close(): void {
    for (const { forsake } of this.#heeded.values()) forsake?.();
    this.#heeded.clear();
    this.#mirrors.clear();
  }
}

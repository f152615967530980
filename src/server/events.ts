// The events of a server, put together: on the first thread all come together and are given their order; each other
// thread sends there what happens in its loops, and has what it needs of the rest for those who listen through it.

import { SystemClock } from "../clock.ts";
import type { QueueError } from "../errors.ts";
import { EventCenter, type Heed, type Page } from "../observe/center.ts";
import type { EventHub, Interest } from "../observe/hub.ts";
import { Listeners, type Source } from "../observe/listeners.ts";
import { Ring } from "../observe/ring.ts";
import type { Happened } from "../queue/queue.ts";

/** What the first thread does for the events of the others. */
export interface EventCalls {
  take(happened: readonly Happened[]): void;
  listen(interest: Interest): Promise<Heed>;
  unlisten(interest: Interest): void;
  follow(thread: number): number;
  unfollow(thread: number): void;
  pageFrom(position: number): Page;
}

/** The other threads, as far as events go to them. */
export interface OtherThreads {
  listenTo(interests: readonly Interest[]): Promise<void>;
  tellEvents(thread: number, page: Page): Promise<void>;
}

/** The events of the first thread, and so of the server. */
export class ServerEvents implements EventCalls {
  readonly listeners: Listeners;
  readonly #center: EventCenter;
  readonly #others: () => OtherThreads | undefined;

  /** `others` are the other threads once they run. */
  constructor(hub: EventHub, others: () => OtherThreads | undefined) {
    const clock = new SystemClock();
    this.#others = others;
    const center = new EventCenter({
      clock,
      tell: async (interests) => {
        hub.listenTo(interests);
        await others()?.listenTo(interests);
      },
    });
    this.#center = center;
    hub.connect((happened) => center.take([happened]));
    this.listeners = new Listeners(
      {
        ring: center.ring,
        follow: async () => undefined,
        unfollow: () => undefined,
        listen: (interest) => center.listen(interest),
        unlisten: (interest) => center.unlisten(interest),
        pageFrom: undefined,
      },
      clock,
    );
    center.onMore = () => this.listeners.wake();
  }

  take(happened: readonly Happened[]): void {
    this.#center.take(happened);
  }

  listen(interest: Interest): Promise<Heed> {
    return this.#center.listen(interest);
  }

  unlisten(interest: Interest): void {
    this.#center.unlisten(interest);
  }

  follow(thread: number): number {
    return this.#center.follow(thread, async (page) => this.#others()?.tellEvents(thread, page));
  }

  unfollow(thread: number): void {
    this.#center.unfollow(thread);
  }

  pageFrom(position: number): Page {
    return this.#center.pageFrom(position);
  }

  /** Ends all who listen through this thread. */
  close(error: QueueError): void {
    this.listeners.close(error);
    this.#center.close();
  }
}

// Of another thread: as much as listeners may lag behind without having to ask the first one.
const MIRROR_EVENTS = 8_192;

/** Calls to `EventCalls` of the first thread. */
type Calls = {
  readonly [K in keyof EventCalls]: (
    ...args: Parameters<EventCalls[K]>
  ) => Promise<Awaited<ReturnType<EventCalls[K]>>>;
};

/** The events of another thread. */
export class ThreadEvents {
  readonly listeners: Listeners;
  readonly #ring = new Ring(MIRROR_EVENTS);

  constructor(thread: number, hub: EventHub, first: Calls) {
    hub.connect((happened) => ignored(first.take([happened]))); // all of a tick travel together
    const ring = this.#ring;
    const source: Source = {
      ring,
      async follow() {
        const end = await first.follow(thread);
        if (ring.end < end) ring.reset(end);
      },
      unfollow: () => ignored(first.unfollow(thread)),
      listen: (interest) => first.listen(interest),
      unlisten: (interest) => ignored(first.unlisten(interest)),
      pageFrom: (position) => first.pageFrom(position),
    };
    this.listeners = new Listeners(source, new SystemClock());
  }

  /** More has happened, on whatever thread. */
  tell({ first, entries }: Page): void {
    if (this.#ring.end !== first) this.#ring.reset(first);
    for (const { first: at, happened } of entries) this.#ring.append(happened, at);
    this.listeners.wake();
  }
}

// The line ends with the server.
function ignored(call: Promise<unknown>): void {
  void call.catch(() => undefined);
}

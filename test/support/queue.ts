// A queue by itself, without a server around it: for tests of what its requests do and answer.

import type { TestContext } from "node:test";
import { type Clock, HOUR, SECOND, VirtualClock } from "../../src/clock.ts";
import { MESSAGES, retryLater } from "../../src/errors.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import {
  type Extended,
  ExtendRequest,
  Item,
  type Leased,
  LeaseRequest,
  type ListedItem,
  type Place,
  type Produced,
  ProduceRequest,
  Queue,
  type QueueRules,
  Turns,
} from "../../src/queue/queue.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { ItemRecord, type Storage } from "../../src/storage/storage.ts";
import { SILENT } from "./server.ts";

// Longer than any lease of these tests: time may pass while a request waits.
const TIMEOUT = HOUR;
// What comes back is leasable in the next turn, and what is read for it in the one after.
const SETTLED = 4;

/** Those of a queue that was made with a name and no more, but for its times. */
export const RULES: QueueRules = {
  leaseTimeout: 60 * SECOND,
  expireTimeout: 3_600 * SECOND,
  maxAttempts: 0,
  deadQueue: "",
  retryDelay: 0,
  retryFactor: 2,
  retryMaxDelay: HOUR,
  retryJitter: 0.2,
  onLeaseEnd: "retry_now",
  keepCompleted: 0,
  keepMax: 10_000,
  keepPayload: false,
};

/** What a queue is opened with; it has defaults for all. */
export interface QueueOptions {
  /** One for each partition. */
  readonly storages?: readonly Storage[];
  readonly rules?: Partial<QueueRules>;
  /** By default one that stands still. */
  readonly clock?: Clock;
}

export class TestQueue {
  readonly queue: Queue;
  readonly clock: Clock;
  readonly #open: () => Promise<Queue>;

  private constructor(queue: Queue, clock: Clock, open: () => Promise<Queue>) {
    this.queue = queue;
    this.clock = clock;
    this.#open = open;
  }

  static async open(
    t: TestContext,
    {
      storages = [new MemoryStorage({ name: "a" })],
      rules,
      clock = new VirtualClock(),
    }: QueueOptions,
  ): Promise<TestQueue> {
    const places: Place[] = [];
    for (const [number, storage] of storages.entries()) {
      const place = { queue: "q", number, idPrefix: `${number}`.padStart(18, "A"), createdAt: 1 };
      const [key] = await storage.createPartitions([place]);
      places.push({ ...place, key: key!, storage });
    }
    const open = async (): Promise<Queue> => {
      const queue = await Queue.open(
        "q",
        { ...RULES, ...rules },
        {
          places,
          context: {
            clock,
            limits: DEFAULT_LIMITS,
            turns: new Turns(),
            budget: { bytes: 0 },
            waiting: { leases: 0, items: 0 },
            random: () => 0.5,
            log: SILENT,
            findIntake: () => undefined,
          },
          onFailing: (_, error) => {
            throw error;
          },
        },
      );
      t.after(() => queue.close(retryLater(MESSAGES.serviceShutdown)));
      return queue;
    };
    return new TestQueue(await open(), clock, open);
  }

  /** The same queue as it is after a restart: this one must not be used any more. */
  async reopened(): Promise<TestQueue> {
    await this.queue.close(retryLater(MESSAGES.serviceShutdown));
    return new TestQueue(await this.#open(), this.clock, this.#open);
  }

  /** By when a request is to be answered. */
  get deadline(): number {
    return this.clock.steady() + TIMEOUT;
  }

  /** Produces items, due at these times; 0 for at once. */
  produce(...dueAts: readonly number[]): Promise<Produced> {
    const items = dueAts.map((at) => new Item(new ItemRecord("", Buffer.from("a")), at));
    return this.queue.submit(new ProduceRequest(items, this.deadline));
  }

  lease(batchSize: number): Promise<Leased> {
    const request = new LeaseRequest("", batchSize, this.deadline, { isShared: true });
    return this.queue.submit(request);
  }

  /** Leases what is there right now, once all is done that is to be done by now. */
  async leaseNow(batchSize: number): Promise<readonly string[]> {
    const request = new LeaseRequest("", batchSize, this.deadline, { isShared: true });
    const answer = this.queue.submit(request);
    await this.settled();
    if (!request.settled) this.queue.cancel(request);
    return answer.then(leaseIds, () => []);
  }

  /** Waits for all that time has brought about, and that was asked for before. */
  async settled(): Promise<void> {
    for (let i = 0; i < SETTLED; i++) await this.items();
  }

  /** All that waits or is leased in partition 0. */
  items(): Promise<readonly ListedItem[]> {
    return this.queue.list(0, { table: "items", pivot: "", limit: 10_000 });
  }

  /** Extends leases by as many microseconds each. */
  extend(...leases: readonly (readonly [id: string, duration: number])[]): Promise<Extended> {
    const items = leases.map(([id, duration]) => ({ id, for: duration }));
    return this.queue.submit(new ExtendRequest(0, items, this.deadline));
  }

  /** Produces so many items and leases them; answers their lease ids. */
  async leased(count: number): Promise<readonly string[]> {
    await this.produce(...Array.from({ length: count }, () => 0));
    return leaseIds(await this.lease(count));
  }
}

/** The lease ids of what was leased. */
export function leaseIds({ ids, items }: Leased): readonly string[] {
  return items.map(({ seq }) => ids.id(seq));
}

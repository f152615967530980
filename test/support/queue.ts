// A queue by itself, without a server around it: for tests of what its requests do and answer.

import type { TestContext } from "node:test";
import { type Clock, SECOND, VirtualClock } from "../../src/clock.ts";
import { MESSAGES, retryLater } from "../../src/errors.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import {
  Item,
  type Leased,
  LeaseRequest,
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

const TIMEOUT = 5 * SECOND;

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
        {
          leaseTimeout: 60 * SECOND,
          expireTimeout: 3_600 * SECOND,
          maxAttempts: 0,
          deadQueue: "",
          ...rules,
        },
        {
          places,
          context: {
            clock,
            limits: DEFAULT_LIMITS,
            turns: new Turns(),
            budget: { bytes: 0 },
            waiting: { leases: 0 },
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

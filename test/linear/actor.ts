// What a client does of its own accord: a random mix of everything that a queue offers, of what a
// careful client would do and of what a careless one does. All choices come from its own seed; what
// it can choose from depends on the replies.

import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "../support/random.ts";
import type { Client, Cut } from "./client.ts";
import { now } from "./times.ts";

/** What sets one queue of one round apart from others. */
export interface Mood {
  readonly leaseTimeoutMs: number;
  /** About how many items lie in the queue at most. */
  readonly backlog: number;
  readonly batchMax: number;
  /** How often a connection is cut. */
  readonly cuts: number;
  /** How long clients pause between operations, at most. */
  readonly pauseMs: number;
  /** How many unique keys there are. */
  readonly keys: number;
}

/** What the clients of a queue know of each other. */
export interface Ground {
  readonly mood: Mood;
  /** About how many items there are: a guess, put right by whoever looks. */
  outstanding: number;
  payloads: number;
  /** Ids of late, whoever leased or listed them. */
  readonly ids: string[];
  /** Ids of late of items with unique keys, which they keep until their end. */
  readonly named: string[];
}

const IDS_MAX = 30;

/** Draws the mood of a queue. */
export function drawMood(random: Random): Mood {
  return {
    leaseTimeoutMs: random.pick([100, 150, 200, 300, 600]),
    backlog: random.pick([2, 8, 50]),
    batchMax: random.pick([1, 3, 5, 5]),
    cuts: random.pick([0, 0, 0.04, 0.12]),
    pauseMs: random.pick([0, 2, 10]),
    keys: random.pick([1, 3, 6]),
  };
}

interface Held {
  readonly id: string;
  readonly deadline: number;
}

export class Actor {
  readonly #client: Client;
  readonly #ground: Ground;
  readonly #random: Random;
  /** What it has leased and wants to end. */
  #held: Held[] = [];
  /** What it has leased and let go of. */
  readonly #stale: string[] = [];
  readonly #actions: readonly (readonly [weight: number, act: () => Promise<void>])[];

  constructor(client: Client, ground: Ground, random: Random) {
    this.#client = client;
    this.#ground = ground;
    this.#random = random;
    // Some clients rather produce, some rather consume.
    const taste = random.next();
    this.#actions = [
      [6 * taste, () => this.#produce()],
      [2 + 6 * (1 - taste), () => this.#lease()],
      [5, () => this.#complete(this.#takeHeld())],
      [1.2, () => this.#retry()],
      [1.5, () => this.#extend()],
      [0.8, () => this.#forget()],
      [0.4, () => this.#waitForDeadline()],
      [0.6, () => this.#completeStale()],
      [0.4, () => this.#completeOthers()],
      [0.3, () => this.#list()],
      [1.5, () => this.#claim()],
      [0.5, () => this.#cancel()],
      [0.4, () => this.#get()],
    ];
  }

  /** Acts until a time, in microseconds. */
  async run(until: number): Promise<void> {
    while (now() < until) {
      await this.#act();
      const { pauseMs } = this.#ground.mood;
      if (pauseMs > 0) await sleep(this.#random.next() * pauseMs);
    }
    this.#client.close();
  }

  async #act(): Promise<void> {
    const total = this.#actions.reduce((sum, [weight]) => sum + weight, 0);
    let rest = this.#random.next() * total;
    for (const [weight, act] of this.#actions) {
      rest -= weight;
      if (rest < 0) return act();
    }
  }

  #cut(): Cut {
    if (!this.#random.chance(this.#ground.mood.cuts)) return undefined;
    if (this.#random.chance(0.2)) return { part: this.#random.next() };
    const afterMs = this.#random.chance(0.5) ? 0 : this.#random.next() * 20;
    return { afterMs, reset: this.#random.chance(0.5) };
  }

  async #produce(): Promise<void> {
    const ground = this.#ground;
    if (ground.outstanding >= ground.mood.backlog) return this.#lease();
    const count = 1 + this.#random.below(5);
    ground.outstanding += count;
    const payloads = Array.from({ length: count }, () => `i${++ground.payloads}`);
    await this.#client.produce(payloads, this.#cut());
  }

  // Mostly some others want the same key at the same time.
  async #claim(): Promise<void> {
    const ground = this.#ground;
    const key = `k${this.#random.below(ground.mood.keys)}`;
    const payload = `i${++ground.payloads}`;
    const id = await this.#client.claim(key, payload, this.#random.chance(0.5), this.#cut());
    if (id === "") return;
    ground.named.push(id);
    if (ground.named.length > IDS_MAX) ground.named.shift();
  }

  async #cancel(): Promise<void> {
    const id = this.#random.pickIfAny(this.#ground.named);
    if (id !== undefined) await this.#client.cancel(id, this.#cut());
  }

  async #get(): Promise<void> {
    const id = this.#random.pickIfAny(this.#ground.named);
    if (id !== undefined) await this.#client.get(id);
  }

  async #lease(): Promise<void> {
    const batch = 1 + this.#random.below(this.#ground.mood.batchMax);
    const waitMs = this.#random.chance(0.7)
      ? 12 + this.#random.below(50)
      : 200 + this.#random.below(150);
    const items = await this.#client.lease(batch, waitMs, this.#cut());
    this.#held.push(...items);
    if (items.length === 0) this.#ground.outstanding = Math.max(0, this.#ground.outstanding - 1);
    this.#learn(items);
  }

  #learn(items: readonly { readonly id: string }[]): void {
    const { ids } = this.#ground;
    ids.push(...items.map(({ id }) => id));
    if (ids.length > IDS_MAX) ids.splice(0, ids.length - IDS_MAX);
  }

  #takeHeld(): string[] {
    const count = 1 + this.#random.below(4);
    return this.#held.splice(this.#random.below(this.#held.length), count).map(({ id }) => id);
  }

  async #complete(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return this.#lease();
    this.#ground.outstanding -= ids.length;
    await this.#client.complete(ids, this.#cut());
    this.#stale.push(...ids.slice(0, 1));
  }

  async #retry(): Promise<void> {
    const ids = this.#takeHeld();
    if (ids.length === 0) return;
    const dead = this.#random.chance(0.1);
    const items = ids.map((id) => ({ id, dead: dead && this.#random.chance(0.5) }));
    await this.#client.retry(items, this.#cut());
    this.#stale.push(...ids);
  }

  // Mostly of what it holds, which it goes on holding, for longer or shorter; else of whatever it knows.
  async #extend(): Promise<void> {
    const random = this.#random;
    const from = random.below(Math.max(this.#held.length, 1));
    const ids = this.#held.slice(from, from + 1 + random.below(4)).map(({ id }) => id);
    if (random.chance(0.2)) ids.push(...this.#stale.slice(0, 1));
    if (random.chance(0.1)) ids.push(...this.#ground.ids.slice(-1));
    if (ids.length === 0) return;
    const { leaseTimeoutMs } = this.#ground.mood;
    const leases = ids.map((id) => ({ id, ms: 1 + random.below(2 * leaseTimeoutMs) }));
    const extended = await this.#client.extend(leases, this.#cut());
    this.#held = this.#held.map((held) => {
      return { ...held, deadline: extended.get(held.id) ?? held.deadline };
    });
  }

  // Does nothing about what it holds, so that time ends the leases.
  async #forget(): Promise<void> {
    this.#stale.push(...this.#takeHeld());
  }

  // Ends a lease about when time does.
  async #waitForDeadline(): Promise<void> {
    const [held] = this.#held.splice(0, 1);
    if (held === undefined) return;
    const ms = (held.deadline - now()) / 1_000 + this.#random.next() * 12 - 2;
    if (ms > 0) await sleep(ms);
    if (this.#random.chance(0.5)) await this.#complete([held.id]);
    else await this.#client.retry([{ id: held.id, dead: false }], this.#cut());
    this.#stale.push(held.id);
  }

  // Names what is long over, by itself, or with something that is not: then nothing may be done.
  async #completeStale(): Promise<void> {
    const [stale] = this.#stale.splice(this.#random.below(this.#stale.length), 1);
    if (stale === undefined) return;
    const ids = [stale];
    const held = this.#random.chance(0.5) ? this.#random.pickIfAny(this.#held) : undefined;
    if (held !== undefined) ids.splice(this.#random.below(2), 0, held.id);
    else if (this.#random.chance(0.2)) ids.push(stale);
    if (this.#random.chance(0.7)) await this.#client.complete(ids, this.#cut());
    else {
      const items = ids.map((id) => ({ id, dead: this.#random.chance(0.2) }));
      await this.#client.retry(items, this.#cut());
    }
  }

  // Names what others have leased, or what waits.
  async #completeOthers(): Promise<void> {
    const { ids } = this.#ground;
    const some = Array.from({ length: 1 + this.#random.below(2) }, () =>
      this.#random.pickIfAny(ids),
    );
    const known = some.filter((id) => id !== undefined);
    if (known.length > 0) await this.#client.complete(known, this.#cut());
  }

  // Looks at the queue, and sometimes tries to complete what nobody has leased yet.
  async #list(): Promise<void> {
    const items = await this.#client.list(this.#cut());
    this.#ground.outstanding = items.length;
    const waiting = items.filter(({ leased }) => !leased);
    this.#learn(waiting.slice(0, 3));
    const item = this.#random.pickIfAny(waiting);
    if (item === undefined || this.#random.chance(0.3)) return;
    if (this.#random.chance(0.7)) await this.#client.complete([item.id], this.#cut());
    else await this.#client.retry([{ id: item.id, dead: false }], this.#cut());
  }
}

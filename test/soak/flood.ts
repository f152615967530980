// The process that floods the server: for each queue producers that never wait for their replies, and
// consumers that lease and complete. When its time is over the producers stop, and the consumers go
// on until everything that was accepted is done. It is told to begin and to stop, and tells what it
// has counted.

import { setTimeout as sleep } from "node:timers/promises";
import type { Reply } from "../support/http-text.ts";
import { PipeClient } from "../support/pipe-client.ts";
import { Random } from "../support/random.ts";
import { Ledger, type Outcome } from "./ledger.ts";

export interface FloodOptions {
  readonly port: number;
  readonly seed: number;
  readonly queues: readonly string[];
  /** Requests of producers that are under way at a time, for each queue; rounded up to full connections. */
  readonly depth: number;
  readonly consumers: number;
  readonly payloadBytesMax: number;
  /** Once the producers have stopped: after how long without any progress the rest is given up. */
  readonly stallMs: number;
}

export type FloodCommand = { readonly begin: FloodOptions } | { readonly stop: true };

export interface FloodResult {
  readonly counts: Ledger["counts"];
  /** Requests that were refused as overload, by verb. */
  readonly overloaded: Readonly<Record<string, number>>;
  readonly failures: readonly string[];
}

export type FloodNotice = { readonly begun: true } | { readonly ended: FloodResult };

const OVERLOADED = "queue is overloaded; try again later";
const UNKNOWN = "request timeout; the storage did not answer in time, the outcome is unknown";
const EMPTY = "request timeout; no items are in the queue, try again";
const NOT_EXECUTED = "request timeout; the request was not executed, try again";

const FAILURES_MAX = 20;
const ITEMS_MAX = 4;
const LEASE_ITEMS = 100;
// How long a client that was told to try again later waits.
const LATER_MS = 5;
// Of one connection the server serves no more requests at a time.
const DEPTH_EACH = 16;

class Flood {
  readonly #options: FloodOptions;
  readonly #random: Random;
  readonly #ledger = new Ledger();
  readonly #overloaded: Record<string, number> = { produce: 0, lease: 0, complete: 0 };
  readonly #failures: string[] = [];
  /** The connections of the consumers. */
  readonly #leasing: PipeClient[] = [];
  #connections = 0;
  readonly #allConnected = Promise.withResolvers<void>();
  #producing = true;
  #consuming = true;
  readonly #producers: Promise<void>[];
  readonly #consumers: Promise<void>[];

  constructor(options: FloodOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#producers = options.queues.flatMap((queue) =>
      Array.from({ length: Math.ceil(options.depth / DEPTH_EACH) }, () => this.#produce(queue)),
    );
    this.#consumers = options.queues.flatMap((queue) =>
      Array.from({ length: options.consumers }, (_, i) => this.#consume(queue, `consumer-${i}`)),
    );
  }

  /** Resolves when the first answers are there. */
  async rises(): Promise<void> {
    const { counts } = this.#ledger;
    while (counts.accepted + counts.refused === 0 && this.#producing) await sleep(5);
  }

  async stop(): Promise<FloodResult> {
    this.#producing = false;
    await Promise.all(this.#producers);
    let done = -1;
    let doneAt = Date.now();
    while (this.#ledger.unfinished.length > 0 && Date.now() < doneAt + this.#options.stallMs) {
      if (this.#ledger.counts.completed !== done) doneAt = Date.now();
      done = this.#ledger.counts.completed;
      await sleep(20);
    }
    this.#consuming = false;
    for (const client of this.#leasing) client.close();
    await Promise.all(this.#consumers);
    const { unfinished, counts, violations } = this.#ledger;
    const failures = [...this.#failures, ...violations];
    if (unfinished.length > 0) {
      failures.push(`${unfinished.length} accepted items are lost, the first is ${unfinished[0]}`);
    }
    return { counts, overloaded: this.#overloaded, failures };
  }

  // The flood begins when all of it is connected: Node takes in one connection with each round of its
  // event loop, so that later ones, also those of others, would wait long.
  async #connect(): Promise<PipeClient> {
    const client = new PipeClient(this.#options.port);
    await client.connected;
    const connections = this.#producers.length + this.#consumers.length;
    if (++this.#connections === connections) this.#allConnected.resolve();
    await this.#allConnected.promise;
    return client;
  }

  // Keeps requests under way, as many as were asked for, and never slows down.
  async #produce(queue: string): Promise<void> {
    const client = await this.#connect();
    const strand = async (): Promise<void> => {
      while (this.#producing) await this.#produceOnce(client, queue);
    };
    await Promise.all(Array.from({ length: DEPTH_EACH }, strand));
    client.close();
  }

  async #produceOnce(client: PipeClient, queue: string): Promise<void> {
    const count = 1 + this.#random.below(ITEMS_MAX);
    const first = this.#ledger.send(count);
    const items = Array.from({ length: count }, (_, i) => ({
      utf8: `${first + i} `.padEnd(this.#random.length(this.#options.payloadBytesMax), "x"),
    }));
    const request = { queue_name: queue, request_timeout: "30s", items };
    let outcome: Outcome = "unknown";
    try {
      outcome = this.#produceOutcome(await client.post("queue.produce", request));
    } catch (error) {
      this.#fail(`produce: ${(error as Error).message}`);
      this.#producing = false;
    }
    this.#ledger.settle(first, count, outcome);
  }

  #produceOutcome(reply: Reply): Outcome {
    if (reply.status === 200) return "accepted";
    const message = this.#refusal("produce", reply, [OVERLOADED, NOT_EXECUTED, UNKNOWN]);
    return message === UNKNOWN ? "unknown" : "refused";
  }

  async #consume(queue: string, client_id: string): Promise<void> {
    const client = await this.#connect();
    const lease = {
      queue_name: queue,
      client_id,
      batch_size: LEASE_ITEMS,
      request_timeout: "100ms",
    };
    try {
      while (this.#consuming) {
        const reply = await client.post("queue.lease", lease);
        if (reply.status !== 200) {
          this.#refusal("lease", reply, [OVERLOADED, EMPTY]);
          await sleep(LATER_MS);
          continue;
        }
        const { items, partition = 0 } = JSON.parse(reply.body.toString()) as {
          items: { id: string; bytes: string }[];
          partition?: number;
        };
        const numbers = items.map(({ bytes }) =>
          Number.parseInt(Buffer.from(bytes, "base64").toString(), 10),
        );
        for (const number of numbers) this.#ledger.deliver(number);
        const ids = items.map(({ id }) => id);
        await this.#complete(client, { queue_name: queue, partition, ids, request_timeout: "30s" });
        for (const number of numbers) this.#ledger.complete(number);
      }
    } catch (error) {
      if (this.#consuming) this.#fail(`consume: ${(error as Error).message}`);
    }
    client.close();
  }

  async #complete(client: PipeClient, request: object): Promise<void> {
    for (;;) {
      const reply = await client.post("queue.complete", request);
      if (reply.status === 200) return;
      this.#refusal("complete", reply, [OVERLOADED, NOT_EXECUTED]);
      await sleep(LATER_MS);
    }
  }

  // Why a request was refused; anything but the given reasons is a failure.
  #refusal(verb: string, reply: Reply, expected: readonly string[]): string {
    const { message = "" } = JSON.parse(reply.body.toString()) as { message?: string };
    if (message === OVERLOADED) this.#overloaded[verb]!++;
    const fine = reply.status === 454 && expected.includes(message);
    if (!fine) throw new Error(`${verb}: ${reply.status} ${message}`);
    return message;
  }

  #fail(text: string): void {
    if (this.#failures.length < FAILURES_MAX) this.#failures.push(text);
  }
}

let flood: Flood | undefined;

process.on("message", (command: FloodCommand) => {
  if ("begin" in command) {
    flood = new Flood(command.begin);
    void flood.rises().then(() => process.send?.({ begun: true } satisfies FloodNotice));
  } else {
    void flood!.stop().then((ended) => process.send?.({ ended } satisfies FloodNotice));
  }
});
process.on("disconnect", () => process.exit(1));

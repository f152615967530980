// The clients of a run: producers and consumers for every queue, each in a loop of its own, writing
// down in the ledger what they asked and what came of it. They go on over every death of the server.
// An answer that nothing here can have caused is a violation.

import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "../support/random.ts";
import type { Answer, Client } from "./client.ts";
import type { Delivery, ExtensionResult, LeaseReply, Ledger, Outcome } from "./ledger.ts";
import { makePayload } from "./payload.ts";
import { createRequest, type EndingKind, type QueuePlan } from "./queue-plan.ts";

export interface LoadOptions {
  readonly client: Client;
  readonly ledger: Ledger;
  readonly random: Random;
  /** How many milliseconds producers rest between requests. */
  readonly paceMs: number;
  /** Whether the server may say that it is shutting down, that its storage fails, or forget leases. */
  readonly allows: { shutdown: boolean; storageFailure: boolean; loss: boolean };
}

interface Drops {
  readonly attempts?: number;
  readonly expired?: number;
  readonly rejected?: number;
}

interface Stats {
  readonly logical_queues: readonly {
    readonly partitions: readonly {
      total?: number;
      total_leased?: number;
      scheduled?: number;
    }[];
    readonly dropped?: Drops;
  }[];
  readonly totals: { readonly counts: Readonly<Record<string, number | Drops>> };
}

// How often a queue's backlog is looked at, and how long a drain may take.
const WATCH_MS = 150;
const DRAIN_MS = 60_000;
// So many violations tell enough: nothing is waited for any more.
const VIOLATIONS_MAX = 200;

// What says that nothing was done, and what says that nobody knows.
const NOT_DONE = [
  "request timeout; no items are in the queue, try again",
  "request timeout; the request was not executed, try again",
  "queue is overloaded; try again later",
  "dead queue is busy, try again",
];
const OUTCOME_UNKNOWN =
  "request timeout; the storage did not answer in time, the outcome is unknown";

export class Load {
  readonly #options: LoadOptions;
  readonly #backlog = new Map<string, number>();
  readonly #producers: Promise<void>[] = [];
  readonly #consumers: Promise<void>[] = [];
  readonly #held = new Set<Promise<void>>();
  /** Requests that were answered with success, and with 454 because storage failed. */
  acked = 0;
  storageFailures = 0;
  #producing = true;
  #consuming = true;
  #clients = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  /** Makes the queues, and starts all clients. */
  async start(): Promise<void> {
    const { client, ledger } = this.#options;
    for (const plan of ledger.plans.values()) {
      await client.ok("queues.create", createRequest(plan));
      for (let i = 0; i < plan.producers; i++) {
        this.#producers.push(this.#watched(this.#produce(plan, `${plan.name} ${i}`)));
      }
      for (let i = 0; i < plan.consumers; i++)
        this.#consumers.push(this.#watched(this.#consume(plan)));
    }
    this.#consumers.push(this.#watched(this.#watch()));
  }

  /** So much is wrong that going on shows nothing new. */
  get isHopeless(): boolean {
    return this.#options.ledger.violations.length > VIOLATIONS_MAX;
  }

  // A client ends before its time only if the server has ended by itself.
  #watched(client: Promise<void>): Promise<void> {
    return client.catch((error: Error) => {
      this.#options.ledger.violation("ended", error.message);
      this.abandon();
    });
  }

  /** Ends the producers, lets the consumers finish everything, and ends them; answers whether nothing is left. */
  async drain(): Promise<boolean> {
    this.#producing = false;
    await Promise.all(this.#producers);
    const end = Date.now() + DRAIN_MS;
    let empty = 0;
    while (empty < 2) {
      const left = await this.#left();
      empty = left.every(([, count]) => count === 0) ? empty + 1 : 0;
      if (this.isHopeless) break;
      if (Date.now() > end) {
        this.#options.ledger.violation("stuck", `it does not drain: ${JSON.stringify(left)}`);
        break;
      }
      await sleep(20);
    }
    await this.#stop();
    return empty === 2 && !this.isHopeless;
  }

  /** Asks all clients to end, and waits for none: the server may be gone for good. */
  abandon(): void {
    this.#producing = false;
    this.#consuming = false;
  }

  async #stop(): Promise<void> {
    this.abandon();
    await Promise.all([...this.#producers, ...this.#consumers]);
    await Promise.all(this.#held);
  }

  // What every queue holds; a dead queue is asked after those that fill it.
  async #left(): Promise<readonly [string, number][]> {
    const left: [string, number][] = [];
    for (const { name } of [...this.#options.ledger.plans.values()].reverse()) {
      left.push([name, await this.#size(name)]);
    }
    return left;
  }

  async #size(queue: string): Promise<number> {
    const { client, ledger } = this.#options;
    while (!this.isHopeless) {
      const answer = await client.post("v2/queue.stats", { queue_name: queue });
      if (answer.status === 200) {
        const stats = JSON.parse(answer.text) as Stats;
        const { partitions } = stats.logical_queues[0]!;
        for (const { total = 0, total_leased = 0 } of partitions) {
          if (total_leased > total) ledger.violation("stats", `'${queue}': ${answer.text}`);
        }
        const size = partitions.reduce((sum, p) => sum + (p.total ?? 0) + (p.scheduled ?? 0), 0);
        const missing = missingOf(stats, size);
        if (missing !== 0) ledger.violation("counts", `'${queue}': ${missing}, ${answer.text}`);
        return size;
      }
      this.#outcome("v2/queue.stats", answer);
      if (answer.status !== 0) await sleep(10);
    }
    return 0;
  }

  async #watch(): Promise<void> {
    while (this.#consuming) {
      for (const { name } of this.#options.ledger.plans.values()) {
        this.#backlog.set(name, await this.#size(name));
      }
      await sleep(WATCH_MS);
    }
  }

  // --- produce ---

  async #produce(plan: QueuePlan, producer: string): Promise<void> {
    const { client, ledger, random, paceMs } = this.#options;
    while (this.#producing) {
      if ((this.#backlog.get(plan.name) ?? 0) > plan.backlog) {
        await sleep(20);
        continue;
      }
      const dueAts = Array.from({ length: random.between(plan.produceBatch) }, () =>
        random.chance(plan.scheduled) ? (Date.now() + random.between([300, 1_500])) * 1_000 : 0,
      );
      const record = ledger.produce(plan, producer, dueAts);
      const items = record.items.map(({ serial, dueAt }) => ({
        utf8: makePayload(serial, random.between(plan.payloadBytes)),
        reference: String(serial),
        ...(dueAt === 0 ? {} : { enqueue_at: new Date(dueAt / 1_000).toISOString() }),
      }));
      const request = { queue_name: plan.name, request_timeout: "10s", items };
      const answer = await client.post("queue.produce", request);
      record.sentAt = answer.sentAt;
      ledger.produceEnded(record, this.#outcome("queue.produce", answer), answer.at);
      if (answer.status !== 200) await sleep(10);
      if (paceMs > 0) await sleep(paceMs);
    }
  }

  // --- lease, and what follows ---

  async #consume(plan: QueuePlan): Promise<void> {
    const { client, ledger, random } = this.#options;
    while (this.#consuming) {
      const batchSize = random.between(plan.leaseBatch);
      const answer = await client.post("queue.lease", {
        queue_name: plan.name,
        client_id: `client-${++this.#clients}`,
        batch_size: batchSize,
        request_timeout: "400ms",
      });
      const outcome = this.#outcome("queue.lease", answer);
      if (outcome === "unknown") ledger.leaseLost(plan, { ...answer, batchSize });
      if (outcome !== "acked") {
        if (answer.status !== 454) await sleep(10);
        continue;
      }
      const reply = JSON.parse(answer.text) as LeaseReply;
      const deliveries = ledger.leased(plan, reply, { ...answer, batchSize });
      if (deliveries.length > 0) await this.#work(plan, deliveries);
    }
  }

  // Ends what one lease brought, in up to three requests that end in different ways.
  async #work(plan: QueuePlan, deliveries: readonly Delivery[]): Promise<void> {
    const { random } = this.#options;
    let start = 0;
    while (start < deliveries.length) {
      const size = random.chance(0.7) ? deliveries.length : 1 + random.below(deliveries.length);
      const group = deliveries.slice(start, start + size);
      start += group.length;
      const kind = this.#producing ? random.weighted(plan.endings) : "complete";
      if (kind !== "hold" && kind !== "extend") {
        await this.#end(plan, group, kind);
        continue;
      }
      const holds = kind === "extend" ? this.#extend(plan, group) : Promise.resolve(plan.leaseMs);
      const held = holds
        .then((ms) => sleep(random.between([0, ms * 1.2])))
        .then(() => this.#end(plan, group, "complete"));
      const watched = this.#watched(held);
      this.#held.add(watched);
      void watched.then(() => this.#held.delete(watched));
    }
  }

  // Answers for how many milliseconds.
  async #extend(plan: QueuePlan, group: readonly Delivery[]): Promise<number> {
    const { client, ledger, random } = this.#options;
    // Mostly longer than a start takes, so that many leases are extended over one.
    const ms = random.between([Math.round(plan.leaseMs * 0.3), plan.leaseMs * 8]);
    const extension = ledger.extends(group, ms);
    const leases = group.map(({ id }) => ({ lease_id: id, for: `${ms}ms` }));
    const answer = await client.post("v2/queue.extend", { queue_name: plan.name, leases });
    if (this.#outcome("v2/queue.extend", answer) === "acked") {
      const { results } = JSON.parse(answer.text) as { results: readonly ExtensionResult[] };
      ledger.extended(group, { extension, at: answer.at }, results);
    }
    extension.endedAt = answer.at;
    return ms;
  }

  async #end(plan: QueuePlan, group: readonly Delivery[], kind: EndingKind): Promise<void> {
    const { client, ledger, random } = this.#options;
    if (kind === "abandon") return;
    const common = { queue_name: plan.name, partition: group[0]!.partition };
    if (kind === "complete" || kind === "hold" || kind === "extend") {
      const ids = group.map(({ id }) => id);
      const ending = ledger.ends(group, "complete");
      for (;;) {
        const request = { ...common, request_timeout: "10s", ids };
        const answer = await client.post("queue.complete", request);
        const outcome = this.#outcome("queue.complete", answer);
        ledger.ended(group, ending, { ...answer, outcome });
        // Half of the clients ask again when they do not know: it is done once all the same.
        if (outcome !== "unknown" || random.chance(0.5)) return;
      }
    }
    const retryAt = kind === "later" ? (Date.now() + random.between([300, 1_200])) * 1_000 : 0;
    const how = {
      ...(kind === "later" ? { retry_at: new Date(retryAt / 1_000).toISOString() } : {}),
      ...(kind === "dead" ? { dead: true } : {}),
    };
    const ending = ledger.ends(group, kind === "dead" ? "dead" : "retry", retryAt);
    const items = group.map(({ id }) => ({ id, ...how }));
    const answer = await client.post("queue.retry", { ...common, items });
    const outcome = this.#outcome("queue.retry", answer);
    ledger.ended(group, ending, { ...answer, outcome });
  }

  // What an answer says about the request, and whether it can be right.
  #outcome(path: string, answer: Answer): Outcome {
    const { status, text } = answer;
    if (status === 200) {
      this.acked++;
      return "acked";
    }
    if (status === 0) return "unknown";
    // Under /v2 it is called detail, and what may be sent again has other statuses.
    const { detail = "", message = detail } = JSON.parse(text) as Record<string, string>;
    const isRetry = [454, 429, 503, 504].includes(status);
    const ends = path === "queue.complete" || path === "queue.retry";
    if (status === 400 && ends && message.startsWith("invalid storage id; ")) return "refused";
    if (isRetry && NOT_DONE.includes(message)) return "refused";
    if (isRetry && message === OUTCOME_UNKNOWN) return "unknown";
    const { ledger, allows } = this.#options;
    if (status === 400 && ends && allows.loss && message.endsWith(" is not marked as leased")) {
      return "refused";
    }
    // The 408 met a request on its way, on a connection that was being ended.
    if ([408, 453, 503].includes(status) && /^(service|queue) is shutting down$/.test(message)) {
      if (allows.shutdown) return "refused";
    }
    if (isRetry && allows.storageFailure) {
      this.storageFailures++;
      return message.startsWith("partition not available; ") ? "refused" : "unknown";
    }
    ledger.violation("answer", `${path} was answered ${status} ${text}`);
    return "unknown";
  }
}

// What came and is neither there nor counted as gone: nothing, whatever the server has been through.
function missingOf({ logical_queues, totals }: Stats, size: number): number {
  const of = (name: string): number => Number(totals.counts[name] ?? 0);
  const { attempts = 0, expired = 0, rejected = 0 } = logical_queues[0]!.dropped ?? {};
  const gone = of("completed") + of("cancelled") + of("deleted") + of("moved");
  return of("produced") + of("received") - size - gone - attempts - expired - rejected;
}

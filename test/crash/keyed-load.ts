// The clients of keys-mode.ts, over /v2: producers that use few unique keys over and over, with everything that can
// be done if one is taken; consumers that complete with a result, with what follows, reject, retry, cancel what they
// hold, or forget it; and somebody who cancels. They go on over every death of the server, and write down in
// the ledger what they asked and what came of it.

import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "../support/random.ts";
import type { Answer, Client } from "./client.ts";
import {
  type Finish,
  isWhileWaiting,
  type KeyedLedger,
  LEASE_MS,
  type Lease,
  type LeasedItem,
  type Made,
  type Outcome,
  type ProduceResult,
  type Tracked,
} from "./keyed-ledger.ts";
import type { Kept } from "./keyed-verdict.ts";

export const QUEUE = "keyed";
/** Where some of what follows a complete goes. */
export const STEPS = "steps";
const QUEUES = [QUEUE, STEPS] as const;

/** Keys of what has not ended, and of what has not been leased. */
const KEYS = [
  ...Array.from({ length: 24 }, (_, i) => `p${i}`),
  ...Array.from({ length: 12 }, (_, i) => `w${i}`),
];
/** Keys of which one more waits behind the one that has it: keep_latest. */
const LATEST_KEYS = Array.from({ length: 8 }, (_, i) => `l${i}`);
const PRODUCERS = 3;
const CONSUMERS = 4;
// So many items without a key may be there.
const PLAIN_MAX = 60;
const RECENT_MAX = 40;
const DRAIN_MS = 30_000;
const VIOLATIONS_MAX = 50;
const PAGE = 10_000;

const ENDINGS = { complete: 6, follow: 3, reject: 1, retry: 2, forget: 1, cancel: 1 } as const;

// What says that nothing was done, and what says that nobody knows.
const NOT_DONE = ["shutting_down", "queue_shutting_down", "standby", "overloaded", "timed_out"];
const REFUSALS = ["unique_key_taken", "some_refused"];
// With threads: what was refused because several storages, or both queues, would have to wait for each other.
const LATER =
  /^(unique keys are being taken in several storages|the other queue is busy), try again$/;
const AWAY = ["partition_failing", "storage_unavailable", "outcome_unknown", "taken_over"];

interface Result {
  readonly ok?: boolean;
  readonly code?: string;
}

interface Body {
  readonly code?: string;
  readonly detail?: string;
  readonly items?: readonly (LeasedItem & {
    readonly state?: string;
    readonly result?: { by: number };
  })[];
  readonly results?: readonly (ProduceResult & Result)[];
  readonly produced?: readonly ProduceResult[];
  readonly next_cursor?: string;
  readonly state?: string;
  readonly cancelled?: boolean;
}

interface Unique {
  readonly unique_key?: string;
  readonly on_duplicate?: string;
  readonly unique_while?: string;
}

interface Replied {
  readonly outcome: Outcome;
  readonly body: Body;
  readonly at: number;
  readonly sentAt: number;
}

export interface KeyedLoadOptions {
  readonly client: Client;
  readonly ledger: KeyedLedger;
  readonly random: Random;
  readonly paceMs: number;
  /** Whether the server may say that its storage is away. */
  readonly storageMayFail: boolean;
  /** Whether a queue may be served by another thread. */
  readonly isThreaded: boolean;
}

export class KeyedLoad {
  readonly #options: KeyedLoadOptions;
  readonly #work: Promise<void>[] = [];
  /** What was seen of late, to be cancelled. */
  readonly #recent: Tracked[] = [];
  #plain = 0;
  /** What was found last when it was to be empty. */
  #left = "";
  acked = 0;
  #producing = true;
  #consuming = true;

  constructor(options: KeyedLoadOptions) {
    this.#options = options;
  }

  /** Makes the queues, and starts all clients. */
  async start(): Promise<void> {
    const { client } = this.#options;
    const settings = { lease_timeout: `${LEASE_MS}ms`, keep_completed: "24h", keep_max: 1_000_000 };
    for (const queue_name of QUEUES) {
      const requested_partitions = queue_name === QUEUE ? 2 : 1;
      await client.ok("v2/queues.create", { queue_name, requested_partitions, ...settings });
    }
    const go = (run: () => Promise<void>): void => {
      const ended = run().catch((error: Error) => {
        this.#options.ledger.violation("ended", error.message);
        this.abandon();
      });
      this.#work.push(ended);
    };
    for (let i = 0; i < PRODUCERS; i++) go(() => this.#produce());
    for (let i = 0; i < CONSUMERS; i++) go(() => this.#consume(QUEUE));
    go(() => this.#consume(STEPS));
    go(() => this.#cancel());
  }

  get isHopeless(): boolean {
    return this.#options.ledger.violations.length > VIOLATIONS_MAX;
  }

  abandon(): void {
    this.#producing = false;
    this.#consuming = false;
  }

  /** Lets everything come to its end; answers whether it has. */
  async drain(): Promise<boolean> {
    this.#producing = false;
    const { ledger } = this.#options;
    let { leases } = ledger;
    let end = Date.now() + DRAIN_MS;
    while (!this.isHopeless && !(await this.#isEmpty())) {
      // As long as something is leased it goes on, however busy the machine is.
      if (ledger.leases !== leases) end = Date.now() + DRAIN_MS;
      ({ leases } = ledger);
      if (Date.now() > end) {
        ledger.violation("stuck", `it does not drain: ${this.#left}`);
        break;
      }
      await sleep(20);
    }
    this.abandon();
    await Promise.all(this.#work);
    return !this.isHopeless && (await this.#isEmpty());
  }

  async #isEmpty(): Promise<boolean> {
    for (const queue_name of [QUEUE, STEPS, QUEUE]) {
      for (const state of ["", "scheduled"]) {
        const { outcome, body } = await this.#ask("items.list", { queue_name, state, limit: 1 });
        this.#left = `${outcome} ${JSON.stringify(body)}`;
        if (outcome !== "acked" || body.items?.length) return false;
      }
    }
    return true;
  }

  /** All that has ended, by id. */
  async kept(): Promise<ReadonlyMap<string, Kept>> {
    const { client, ledger } = this.#options;
    const kept = new Map<string, Kept>();
    for (const queue_name of QUEUES) {
      for (const state of ["completed", "rejected", "cancelled"]) {
        for (let cursor: string | undefined = ""; cursor !== undefined; ) {
          const request = { queue_name, state, limit: PAGE, cursor };
          const page: Body = await client.ok("v2/items.list", request);
          for (const { id, result } of page.items ?? []) {
            if (kept.has(id)) ledger.violation("doubled", `${id} has ended twice, also ${state}`);
            kept.set(id, { state, result: result?.by });
          }
          cursor = page.next_cursor;
        }
      }
    }
    return kept;
  }

  /** Sees that all keys are free, as nothing is there. */
  async checkFree(): Promise<void> {
    const { ledger } = this.#options;
    for (const key of [...KEYS, ...LATEST_KEYS]) {
      const more = { unique_key: key, on_duplicate: "reject", ...whileOf(key) };
      const request = { queue_name: QUEUE, items: [{ utf8: "probe", ...more }] };
      const { outcome } = await this.#ask("queue.produce", request);
      if (outcome === "refused") ledger.violation("key", `'${key}' is taken, and nothing is there`);
    }
  }

  // --- produce ---

  async #produce(): Promise<void> {
    const { random, ledger, paceMs } = this.#options;
    while (this.#producing) {
      // What one request replaces must lie in one storage.
      const isAlone = random.chance(0.35);
      const made: Made[] = [];
      const items = Array.from({ length: isAlone ? 1 : random.between([1, 4]) }, () => {
        const { key, unique } = this.#chooseKey(isAlone);
        const each = ledger.makes(QUEUE, key);
        made.push(each);
        // What may wait behind another has no time of its own.
        const isLater = unique.on_duplicate !== "keep_latest" && random.chance(0.15);
        const later = isLater ? { delay: `${random.between([50, 400])}ms` } : {};
        return { utf8: String(each.serial), ...later, ...unique };
      });
      const all_or_none = random.chance(0.1);
      const replied = await this.#ask("queue.produce", { queue_name: QUEUE, items, all_or_none });
      this.#wereMade(made, replied);
      // While nothing works, nothing is to be learned by asking on and on.
      await sleep(replied.outcome === "unknown" ? 20 : paceMs);
    }
  }

  #chooseKey(mayReplace: boolean): { readonly key: string; readonly unique: Unique } {
    const { random } = this.#options;
    if (this.#plain < PLAIN_MAX && random.chance(0.15)) {
      this.#plain++;
      return { key: "", unique: {} };
    }
    if (mayReplace && random.chance(0.4)) {
      const key = random.pick(LATEST_KEYS);
      return { key, unique: { unique_key: key, on_duplicate: "keep_latest" } };
    }
    const key = random.pick(KEYS);
    const on_duplicate = mayReplace ? "replace" : random.pick(["return", "reject"]);
    return { key, unique: { unique_key: key, on_duplicate, ...whileOf(key) } };
  }

  #wereMade(made: readonly Made[], { outcome, body, at }: Replied): void {
    const { ledger } = this.#options;
    // Of one item the error itself says why.
    const results = body.results ?? (made.length === 1 ? [body] : []);
    for (const [i, each] of made.entries()) {
      const result = results[i];
      const isRefused = outcome === "refused" || result?.code !== undefined;
      const how = outcome === "acked" && isRefused ? "refused" : outcome;
      ledger.wasMade(each, how, at, result);
      const item = ledger.items.get(each.id);
      if (item !== undefined) this.#remember(item);
    }
  }

  #remember(item: Tracked): void {
    this.#recent.push(item);
    if (this.#recent.length > RECENT_MAX) this.#recent.shift();
  }

  // --- lease, and what follows ---

  async #consume(queue: string): Promise<void> {
    const { random, ledger } = this.#options;
    while (this.#consuming) {
      const request = { queue_name: queue, batch_size: random.between([1, 5]) };
      const replied = await this.#ask("queue.lease", { ...request, request_timeout: "100ms" });
      if (replied.outcome !== "acked") {
        await sleep(5);
        continue;
      }
      const leases = (replied.body.items ?? []).map((each) => ledger.leased(each, replied));
      for (const lease of leases) if (lease !== undefined) await this.#end(queue, lease);
    }
  }

  async #end(queue: string, lease: Lease): Promise<void> {
    const { random, ledger, isThreaded } = this.#options;
    const { item } = lease;
    const kind = this.#producing ? random.weighted(ENDINGS) : "complete";
    if (kind === "forget") return;
    if (kind === "cancel") await this.#cancelOne(item);
    if (kind === "reject" || kind === "retry") return this.#finish(queue, lease, kind);
    if (kind !== "follow" || queue !== QUEUE) return this.#finish(queue, lease, "complete");
    const to = isThreaded || random.chance(0.5) ? QUEUE : STEPS;
    return this.#finish(queue, lease, "complete", ledger.makes(to, ""));
  }

  async #finish(
    queue: string,
    lease: Lease,
    kind: "complete" | "reject" | "retry",
    child?: Made,
  ): Promise<void> {
    const { random, ledger } = this.#options;
    const { item, leaseId: lease_id } = lease;
    const finish = ledger.finishing(item, kind, { lease, ...(child && { child }) });
    const result = kind === "complete" ? { result: { by: finish.serial } } : {};
    const produce =
      child === undefined
        ? {}
        : { produce: [{ queue_name: child.queue, items: [{ utf8: String(child.serial) }] }] };
    const request = { queue_name: queue, leases: [{ lease_id, ...result }], ...produce };
    for (;;) {
      const { outcome, body, at } = await this.#ask(`queue.${kind}`, request);
      const [each] = body.results ?? [];
      const isRefused = outcome === "refused" || (outcome === "acked" && each?.ok !== true);
      const how = isRefused ? "refused" : outcome;
      // What was cancelled ends when its holder is told.
      if (isRefused && each?.code === "item_cancelled" && outcome === "acked") {
        const end = ledger.finishing(item, "cancel");
        ledger.finished(item, end, "acked", at);
      }
      ledger.finished(item, finish, how, at, each?.code);
      if (child !== undefined) this.#followed(child, finish, body.produced?.[0], at);
      // Half of the clients ask again when they do not know: it is done once all the same.
      if (how !== "unknown" || random.chance(0.5)) return;
    }
  }

  #followed(child: Made, { outcome }: Finish, result: ProduceResult | undefined, at: number): void {
    const { ledger } = this.#options;
    ledger.wasMade(child, outcome, at, result);
    if (outcome === "acked" && result === undefined) {
      ledger.violation("torn", `item ${child.serial} was not answered with its complete`);
    }
  }

  // --- cancel ---

  async #cancel(): Promise<void> {
    const { random } = this.#options;
    while (this.#producing) {
      await sleep(random.below(20));
      const item = random.pickIfAny(this.#recent);
      if (item !== undefined) await this.#cancelOne(item);
    }
  }

  async #cancelOne(item: Tracked): Promise<void> {
    const { ledger } = this.#options;
    const finish = ledger.finishing(item, "cancel");
    const { outcome, body, at } = await this.#ask("item.cancel", { id: item.id });
    if (outcome === "acked") {
      if (body.state === "leased" && body.cancelled === true) finish.kind = "mark";
      else if (body.state !== "cancelled") {
        ledger.violation("answer", `a cancel was answered ${JSON.stringify(body)}`, item);
      }
    }
    ledger.finished(item, finish, outcome, at);
    if (outcome !== "refused") return;
    if (body.code === "item_not_found") ledger.violation("lost", "there is no such item", item);
    if (body.code !== "precondition_failed") return;
    const isEnded = item.finishes.some(
      (each) => each.outcome !== "refused" && (each.kind === "complete" || each.kind === "reject"),
    );
    if (!isEnded) ledger.violation("lost", "it has ended, and nobody asked for it", item);
  }

  // --- answers ---

  // Asks, and tells what the answer says about the request, and whether it can be right.
  async #ask(path: string, request: object): Promise<Replied> {
    const answer = await this.#options.client.post(`v2/${path}`, request);
    const body = answer.status === 0 ? {} : (JSON.parse(answer.text) as Body);
    const { at, sentAt } = answer;
    return { outcome: this.#outcome(path, answer, body), body, at, sentAt };
  }

  #outcome(path: string, { status, text }: Answer, { code = "", detail = "" }: Body): Outcome {
    if (status === 200) {
      this.acked++;
      return "acked";
    }
    // The 408 met a request on its way, on a connection that was being ended.
    if (status === 0) return "unknown";
    if (status === 408 || NOT_DONE.includes(code)) return "refused";
    if (REFUSALS.includes(code)) return "refused";
    if (this.#options.isThreaded && LATER.test(detail)) return "refused";
    if (path === "item.cancel" && ["precondition_failed", "item_not_found"].includes(code)) {
      return "refused";
    }
    if (this.#options.storageMayFail && AWAY.includes(code)) {
      return code === "partition_failing" ? "refused" : "unknown";
    }
    this.#options.ledger.violation("answer", `${path} was answered ${status} ${text}`);
    return "unknown";
  }
}

function whileOf(key: string): Pick<Unique, "unique_while"> {
  return isWhileWaiting(key) ? { unique_while: "waiting" } : {};
}

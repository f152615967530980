// SIGKILL while items are moved back and forth between a queue and its dead queue: some are completed when
// they come back, some die again, and what died is redriven, until all are done. Each item is done once. Both queues
// share a storage, or each has one of its own.

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Random } from "../support/random.ts";
import { keepScratch, makeScratch, removeScratch } from "../support/scratch.ts";
import { Client } from "./client.ts";
import type { ModeOptions, ModeResult } from "./crash-run.ts";
import { Host } from "./host.ts";

const QUEUE = "jobs";
const DEAD = "dead";
const ITEMS = 2_000;
const BATCH = 100;
const CONSUMERS = 3;
const DRAIN_MS = 60_000;

interface Leased {
  readonly items?: readonly { readonly utf8: string; readonly lease_id: string }[];
}

interface Results {
  readonly results: readonly { readonly ok?: boolean }[];
}

interface Redrives {
  readonly redrives?: readonly { readonly state: string; readonly moved?: number }[];
}

/** `perhaps`: nobody knows whether the last complete was done. */
type Fate = "open" | "perhaps" | "done";

class Churn {
  readonly client: Client;
  readonly fates = new Map<string, Fate>();
  readonly violations: string[] = [];
  readonly #random: Random;
  #consuming = true;
  /** Whether some of what is leased is to die. */
  killing = true;
  deaths = 0;

  constructor(client: Client, random: Random) {
    this.client = client;
    this.#random = random;
  }

  /** Makes the queues, and has all items die. */
  async fill(): Promise<void> {
    const { client } = this;
    await client.ok("v2/queues.create", { queue_name: DEAD });
    // What is leased when the server is killed comes back soon.
    const settings = { lease_timeout: "1s", dead_queue: DEAD };
    await client.ok("v2/queues.create", { queue_name: QUEUE, ...settings });
    for (let serial = 0; serial < ITEMS; serial += BATCH) {
      const items = Array.from({ length: BATCH }, (_, i) => ({ utf8: String(serial + i) }));
      await client.ok("v2/queue.produce", { queue_name: QUEUE, items });
      for (const { utf8 } of items) this.fates.set(utf8, "open");
      const request = { queue_name: QUEUE, batch_size: BATCH };
      const { items: leased = [] } = await client.ok<Leased>("v2/queue.lease", request);
      const leases = leased.map(({ lease_id }) => ({ lease_id }));
      await client.ok("v2/queue.reject", { queue_name: QUEUE, leases });
    }
  }

  async consume(): Promise<void> {
    const { client } = this;
    while (this.#consuming) {
      const request = { queue_name: QUEUE, batch_size: 20, request_timeout: "100ms" };
      const { status, text } = await client.post("v2/queue.lease", request);
      if (status !== 200) continue;
      const { items = [] } = JSON.parse(text) as Leased;
      for (const { utf8 } of items) {
        if (this.fates.get(utf8) === "done") this.violations.push(`doubled: item ${utf8}`);
      }
      const dies = this.killing && this.#random.chance(0.4);
      const leases = items.map(({ lease_id }) => ({ lease_id }));
      if (leases.length === 0) continue;
      if (!dies) for (const { utf8 } of items) this.fates.set(utf8, "perhaps");
      const path = dies ? "v2/queue.reject" : "v2/queue.complete";
      const answer = await client.post(path, { queue_name: QUEUE, leases });
      if (answer.status !== 200) continue;
      const { results } = JSON.parse(answer.text) as Results;
      for (const [i, { ok }] of results.entries()) {
        if (ok !== true) continue;
        if (dies) this.deaths++;
        else this.fates.set(items[i]!.utf8, "done");
      }
    }
  }

  stop(): void {
    this.#consuming = false;
  }

  /** Begins a redrive whenever none is under way. */
  async redrive(): Promise<void> {
    while (this.#consuming) {
      const { status, text } = await this.client.post("v2/redrives.list", { queue_name: DEAD });
      if (status !== 200) continue;
      const { redrives = [] } = JSON.parse(text) as Redrives;
      if (redrives.every(({ state }) => state !== "running")) {
        await this.client.post("v2/queue.redrive", { queue_name: DEAD, rate: 2_000 });
      }
      await sleep(20);
    }
  }

  /** Whether neither queue holds anything. */
  async isEmpty(): Promise<boolean> {
    for (const queue_name of [DEAD, QUEUE, DEAD]) {
      for (const state of ["", "scheduled"]) {
        const request = { queue_name, state, limit: 1 };
        const { status, text } = await this.client.post("v2/items.list", request);
        if (status !== 200 || (JSON.parse(text) as Leased).items?.length) return false;
      }
    }
    return true;
  }
}

/** Kills the server again and again while it redrives. */
export function redriveMode(options: ModeOptions): Promise<ModeResult> {
  return play(options, { mode: "redrive", places: 1 });
}

/** The same between two storages. */
export function redriveApartMode(options: ModeOptions): Promise<ModeResult> {
  return play(options, { mode: "redrive-apart", places: 2 });
}

async function play(
  options: ModeOptions,
  { mode, places }: { readonly mode: string; readonly places: number },
): Promise<ModeResult> {
  const { seed, kills, lifeMs, progress, postgres } = options;
  const directory = makeScratch();
  const random = new Random(seed);
  const host = new Host({ dataDir: join(directory, "data"), postgres, places });
  const client = new Client(host);
  const churn = new Churn(client, random);
  const { violations } = churn;
  let isOk = false;
  try {
    await host.start();
    await churn.fill();
    const work = [...Array.from({ length: CONSUMERS }, () => churn.consume()), churn.redrive()];
    for (let kill = 1; kill <= kills && violations.length === 0; kill++) {
      await sleep(random.below(lifeMs));
      await host.kill();
      await host.start();
      progress(`${mode}: kill ${kill} of ${kills}, ${churn.deaths} deaths`);
    }
    churn.killing = false;
    const end = Date.now() + DRAIN_MS;
    while (!(await churn.isEmpty())) {
      if (Date.now() > end) {
        violations.push("stuck: it does not drain");
        break;
      }
      await sleep(20);
    }
    churn.stop();
    await Promise.all(work);
    for (const [serial, fate] of churn.fates) {
      if (fate === "open") violations.push(`lost: item ${serial}`);
    }
    for (const request of client.silent) violations.push(`silent: ${request}`);
    client.close();
    const { code } = await host.terminate();
    if (code !== 0) violations.push(`exit: the last stop ended with ${code}`);
    if (postgres === undefined) for (const line of host.failures) violations.push(`log: ${line}`);
    isOk = violations.length === 0;
    const done = [...churn.fates.values()].filter((fate) => fate === "done").length;
    const figures = `${kills} kills survived, ${ITEMS} items redriven, ${churn.deaths} of them again, ${done} surely completed`;
    return { mode, figures, violations };
  } finally {
    churn.stop();
    client.close();
    await host.end();
    if (isOk) {
      removeScratch(directory);
    } else {
      keepScratch(directory);
      progress(`the data is kept in ${directory}`);
    }
  }
}

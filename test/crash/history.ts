// Data directories whose every committed state is known. One server gets requests one after the
// other, each of them one commit, and after each everything that it holds is read back. What is
// copied away: the directory as it was at some moments on the way, as a killed server leaves it (with
// a write-ahead log), and as one that was stopped leaves it. Time changes nothing here: leases are
// long, and what is scheduled is far away.

import { cpSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../support/random.ts";
import { Client } from "./client.ts";
import { Host } from "./host.ts";
import { makePayload, readSerial } from "./payload.ts";

/** An item as storage/items.list tells it. */
export interface ListedItem {
  readonly id: string;
  readonly is_leased?: boolean;
  readonly attempts?: number;
  readonly reference: string;
  readonly payload: string;
}

/** Everything that a server holds, by place: `queue partition table`, and the records of queues. */
export interface State {
  readonly queues: string;
  readonly places: ReadonlyMap<string, readonly ListedItem[]>;
}

export interface History {
  /** Data directories: of a killed server, of a stopped one, and of earlier moments. */
  readonly killed: string;
  readonly stopped: string;
  readonly earlier: readonly string[];
  /** The state after each commit, the empty one first; as text, so that it can be found. */
  readonly states: readonly string[];
  readonly last: State;
  /** Every item that ever was in a queue, by `itemKey`. */
  readonly ever: ReadonlySet<string>;
}

interface Shape {
  readonly name: string;
  readonly partitions: number;
  readonly deadQueue?: string;
}

const SHAPES: readonly Shape[] = [
  { name: "one", partitions: 1 },
  { name: "many", partitions: 3 },
  { name: "dead", partitions: 1 },
  { name: "mortal", partitions: 1, deadQueue: "dead" },
];
const FAR_MS = 36_000_000;

/** A request was answered 454: the server says that it cannot tell. */
export class NotAvailable extends Error {}

/** Calls an endpoint; throws NotAvailable for a 454, and an Error for everything else but a success. */
export async function call<T>(client: Client, path: string, request: object): Promise<T> {
  const { status, text } = await client.post(path, request);
  if (status === 454) throw new NotAvailable(text);
  if (status === 0) throw new Error(`the server has ended during ${path}`);
  if (status !== 200) throw new Error(`${path} was answered ${status} ${text}`);
  return JSON.parse(text) as T;
}

/** Reads everything that a server holds. Places that it cannot read are left out. */
export async function readState(client: Client): Promise<State> {
  const { items = [] } = await call<{
    items?: { queue_name: string; requested_partitions: number }[];
  }>(client, "queues.list", {});
  const places = new Map<string, readonly ListedItem[]>();
  for (const { queue_name, requested_partitions } of items) {
    for (let partition = 0; partition < requested_partitions; partition++) {
      for (const table of ["items", "scheduled"]) {
        const request = { queue_name, partition, limit: 100_000 };
        try {
          const reply = await call<{ items?: ListedItem[] }>(
            client,
            `storage/${table}.list`,
            request,
          );
          places.set(`${queue_name} ${partition} ${table}`, reply.items ?? []);
        } catch (error) {
          if (!(error instanceof NotAvailable)) throw error;
        }
      }
    }
  }
  return { queues: JSON.stringify(items), places };
}

/** A state as text: equal texts are equal states. */
export function textOf({ queues, places }: State): string {
  return JSON.stringify([queues, ...places]);
}

/** What an item holds, and in which queue; not in which state it is. */
export function itemKey(place: string, { reference, payload }: ListedItem): string {
  return `${place.split(" ")[0]} ${reference} ${payload}`;
}

/** Makes a history of about so many commits below a directory. */
export async function makeHistory(options: {
  readonly directory: string;
  readonly random: Random;
  readonly steps: number;
}): Promise<History> {
  const { directory, random, steps } = options;
  const live = join(directory, "live");
  const host = new Host({ dataDir: live });
  const client = new Client(host);
  const copy = (name: string): string => {
    const to = join(directory, name);
    cpSync(live, to, { recursive: true });
    return to;
  };
  await host.start();
  const author = new Author(client, random);
  const states: string[] = [];
  const ever = new Set<string>();
  const note = async (): Promise<State> => {
    const state = await readState(client);
    states.push(textOf(state));
    for (const [place, items] of state.places) {
      for (const item of items) ever.add(itemKey(place, item));
    }
    return state;
  };
  let last = await note();
  const earlier: string[] = [];
  // A stop on the way puts everything into the main file; else that happens after 1,000 pages.
  const stopsAt = random.below(steps);
  for (let step = 0; step < steps; step++) {
    if (step === stopsAt) {
      await host.terminate();
      await host.start();
    }
    await author.step(step);
    last = await note();
    if (step % Math.ceil(steps / 5) === 3) earlier.push(copy(`earlier-${step}`));
  }
  for (const item of [...last.places.values()].flat()) readSerial(item);
  client.close();
  await host.kill();
  const killed = copy("killed");
  await host.start();
  await host.terminate();
  return { killed, stopped: copy("stopped"), earlier, states, last, ever };
}

interface Held {
  readonly queue: string;
  readonly partition: number;
  readonly id: string;
}

// Sends the requests of a history.
class Author {
  readonly #client: Client;
  readonly #random: Random;
  #held: Held[] = [];
  #serial = 0;

  constructor(client: Client, random: Random) {
    this.#client = client;
    this.#random = random;
  }

  async step(step: number): Promise<void> {
    const shape = SHAPES[step];
    if (shape !== undefined) return this.#create(shape);
    const ends = { complete: 4, retry: 1, later: 1, dead: 1, extend: 1 };
    const kinds = { produce: 6, lease: 4, ...ends, update: 0.3 };
    const kind = this.#random.weighted(kinds);
    if (kind === "produce") return this.#produce();
    if (kind === "update") return this.#update();
    if (kind === "lease") return this.#lease();
    return this.#end(kind);
  }

  async #create({ name, partitions, deadQueue = "" }: Shape): Promise<void> {
    await call(this.#client, "queues.create", {
      queue_name: name,
      requested_partitions: partitions,
      dead_queue: deadQueue,
      lease_timeout: "10h",
      expire_timeout: "100h",
    });
  }

  async #update(): Promise<void> {
    const reference = `reference ${this.#random.below(1_000)}`;
    await call(this.#client, "queues.update", { queue_name: "one", reference });
  }

  async #produce(): Promise<void> {
    const random = this.#random;
    const enqueueAt = new Date(Date.now() + FAR_MS).toISOString();
    const bytes = random.pick([50, 50, 300, 6_000] as const);
    const items = Array.from({ length: 1 + random.below(30) }, () => {
      const serial = ++this.#serial;
      const utf8 = makePayload(serial, random.below(bytes));
      const later = random.chance(0.05) ? { enqueue_at: enqueueAt } : {};
      return { utf8, reference: String(serial), ...later };
    });
    const queue_name = random.pick(["one", "one", "many", "many", "mortal"]);
    await call(this.#client, "queue.produce", { queue_name, request_timeout: "10s", items });
  }

  async #lease(): Promise<void> {
    const queue = this.#random.pick(["one", "many", "mortal"]);
    const { status, text } = await this.#client.post("queue.lease", {
      queue_name: queue,
      client_id: "author",
      batch_size: 1 + this.#random.below(30),
      request_timeout: "20ms",
    });
    if (status === 454) return; // it is empty
    const { partition = 0, items } = JSON.parse(text) as {
      partition?: number;
      items: { id: string }[];
    };
    this.#held.push(...items.map(({ id }) => ({ queue, partition, id })));
  }

  async #end(kind: "complete" | "retry" | "later" | "dead" | "extend"): Promise<void> {
    const random = this.#random;
    const one = this.#held[random.below(this.#held.length)];
    if (one === undefined) return;
    const { queue, partition } = one;
    const alike = this.#held.filter((h) => h.queue === queue && h.partition === partition);
    const ended = alike.filter((held) => held === one || random.chance(0.5));
    if (kind === "extend") {
      const leases = ended.map(({ id }) => ({ lease_id: id, for: "11h" }));
      await call(this.#client, "v2/queue.extend", { queue_name: queue, leases });
      return;
    }
    this.#held = this.#held.filter((held) => !ended.includes(held));
    const common = { queue_name: queue, partition };
    if (kind === "complete") {
      const ids = ended.map(({ id }) => id);
      await call(this.#client, "queue.complete", { ...common, request_timeout: "10s", ids });
      return;
    }
    const retry_at = new Date(Date.now() + FAR_MS).toISOString();
    const how = { retry: {}, later: { retry_at }, dead: { dead: true } }[kind];
    const items = ended.map(({ id }) => ({ id, ...how }));
    await call(this.#client, "queue.retry", { ...common, items });
  }
}

// One round: damage a copy of a data directory, start the server on it, look at everything that it
// serves, drain it, stop it, and say what became of it. What is wrong, whatever was damaged: data that
// was never committed, an item twice, an item that is missing without a word, an answer other than
// 200 and 454, a server that ends by itself, and a refusal that does not help.

import { cpSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../support/random.ts";
import { makeScratch, removeScratch } from "../support/scratch.ts";
import { StartRefused } from "../support/server-process.ts";
import { Client } from "./client.ts";
import type { Damage } from "./damage.ts";
import {
  call,
  type History,
  itemKey,
  type ListedItem,
  NotAvailable,
  readState,
  type State,
  textOf,
} from "./history.ts";
import { Host } from "./host.ts";
import { readSerial } from "./payload.ts";

/** whole: nothing is lost. older: the state of an earlier commit. partly: some answers are 454. */
export type TornOutcome = "whole" | "older" | "partly" | "refused" | "WRONG";

export interface TornRound {
  readonly damage: string;
  readonly done: string;
  readonly outcome: TornOutcome;
  /** What was wrong, or how it was refused. */
  readonly details: readonly string[];
}

// So many lines of the log are shown.
const LINES_SHOWN = 6;
// So many leases that are answered 454 end the drain of a queue.
const LEASES_MAX = 10;

/** What must not be. */
class Wrong extends Error {}

/** Plays one round; the seed of `random` fixes the damage. */
export async function tornRound(
  history: History,
  damage: Damage,
  random: Random,
): Promise<TornRound> {
  const directory = makeScratch();
  const dir = join(directory, "data");
  const from = damage.to === "either" ? random.pick(["killed", "stopped"] as const) : damage.to;
  cpSync(history[from], dir, { recursive: true });
  const done = `${from}: ${damage.apply(dir, random, history)}`;
  const host = new Host({ dataDir: dir });
  const client = new Client(host);
  const details: string[] = [];
  let outcome: TornOutcome;
  try {
    await host.start();
    if (damage.right === "refused") throw new Wrong("it started, and threw away what was left");
    outcome = await examine({ history, damage, host, client });
    const { code, ms } = await host.terminate();
    if (code !== 0) throw new Wrong(`it stopped with ${code} after ${Math.round(ms)} ms`);
  } catch (error) {
    outcome = "WRONG";
    if (error instanceof StartRefused && isHelpful(error, directory)) outcome = "refused";
    details.push((error as Error).message);
    const log = host.server.log.slice(-LINES_SHOWN).map((line) => JSON.stringify(line));
    if (outcome === "WRONG") details.push(host.server.stderr, ...log);
  } finally {
    client.close();
    await host.end();
    removeScratch(directory);
  }
  return { damage: damage.name, done, outcome, details };
}

// It ends with 1, names the file, and says what to do.
function isHelpful({ exit, stderr }: StartRefused, directory: string): boolean {
  const lines = stderr.trim().split("\n");
  return (
    exit.code === 1 &&
    lines.length === 1 &&
    stderr.startsWith("Error: ") &&
    stderr.includes(join(directory, "data")) &&
    /\b(move|restore|choose|remove)\b/.test(stderr)
  );
}

interface Examined {
  readonly history: History;
  readonly damage: Damage;
  readonly host: Host;
  readonly client: Client;
}

async function examine(examined: Examined): Promise<TornOutcome> {
  const { history, damage, client } = examined;
  const state = await readState(client);
  for (const item of [...state.places.values()].flat()) {
    try {
      readSerial(item);
    } catch (error) {
      throw new Wrong((error as Error).message);
    }
  }
  const index = history.states.lastIndexOf(textOf(state));
  if (index === -1 && damage.right === "committed") {
    throw new Wrong(`what it serves was never committed: ${difference(history.last, state)}`);
  }
  if (index === -1 && damage.right.startsWith("once-")) {
    if (damage.right === "once-true") checkOnceTrue(history, state);
    await drain(examined, state);
    return "partly";
  }
  if (index === -1) checkTrue(history.last, state);
  const missing = await drain(examined, index === -1 ? history.last : state);
  if (index === -1) missing.push(...missingScheduled(history.last, state));
  else if (missing.length === 0) return index === history.states.length - 1 ? "whole" : "older";
  if (index !== -1 && damage.right === "committed") throw new Wrong(missing.join("; "));
  checkTold(examined, missing);
  return "partly";
}

// Every item that is served is one that was committed last, in every respect.
function checkTrue(last: State, state: State): void {
  if (state.queues !== last.queues) throw new Wrong(`queues are not as they were: ${state.queues}`);
  for (const [place, items] of state.places) {
    const known = new Map(last.places.get(place)?.map((item) => [item.id, item]));
    for (const item of items) {
      const text = JSON.stringify(known.get(item.id));
      if (text === JSON.stringify(item)) continue;
      const is = JSON.stringify(item);
      throw new Wrong(
        `item of ${place} is not as it was: ${is.slice(0, 400)}, not ${text?.slice(0, 400)}`,
      );
    }
  }
}

// What is scheduled is not drained: where it is told at all, it must be told in full.
function missingScheduled(last: State, state: State): readonly string[] {
  return Array.from(last.places.keys()).filter((place) => {
    const told = state.places.get(place);
    const all = last.places.get(place)!;
    return place.endsWith(" scheduled") && told !== undefined && told.length < all.length;
  });
}

function checkOnceTrue(history: History, state: State): void {
  for (const [place, items] of state.places) {
    for (const item of items) {
      const key = itemKey(place, item);
      if (!history.ever.has(key)) throw new Wrong(`never committed: ${key.slice(0, 400)}`);
    }
  }
}

function difference(last: State, state: State): string {
  if (last.queues !== state.queues) return "the queues differ from the last state";
  const differing = [...last.places.keys()].filter(
    (place) => JSON.stringify(last.places.get(place)) !== JSON.stringify(state.places.get(place)),
  );
  return `${differing.join(", ")} differ from the last state`;
}

// Leases and completes everything; answers the places in which items are missing.
async function drain(examined: Examined, expected: State): Promise<string[]> {
  const { client, host, damage } = examined;
  const strict = !damage.right.startsWith("once-");
  const seen = new Map<string, string>();
  const missing = new Set<string>();
  const queues = new Set<string>();
  for (const [place, items] of expected.places) {
    const [queue, partition, table] = place.split(" ") as [string, string, string];
    if (table === "scheduled") continue;
    queues.add(queue);
    for (const item of items.filter((each) => each.is_leased === true)) {
      const ids = [item.id];
      const request = {
        queue_name: queue,
        partition: Number(partition),
        request_timeout: "1s",
        ids,
      };
      const { status, text } = await client.post("queue.complete", request);
      if (status === 400 || status === 454) missing.add(place);
      else if (status !== 200) throw new Wrong(`a complete was answered ${status} ${text}`);
    }
  }
  const drainAll = (timeout: string): Promise<unknown> =>
    Promise.all(
      Array.from(queues, (queue) => leaseAll(client, { queue, timeout, expected, seen, strict })),
    );
  await drainAll("150ms");
  if (unseen(expected, seen).some((place) => !isTold(host, place))) await drainAll("3s");
  for (const place of unseen(expected, seen)) missing.add(place);
  return [...missing];
}

// The places in which items wait that were not leased.
function unseen(expected: State, seen: ReadonlyMap<string, string>): readonly string[] {
  const places: string[] = [];
  for (const [place, items] of expected.places) {
    const waits = (item: ListedItem): boolean => item.is_leased !== true && !seen.has(item.id);
    if (place.endsWith(" items") && items.some(waits)) places.push(place);
  }
  return places;
}

async function leaseAll(
  client: Client,
  options: {
    readonly queue: string;
    readonly timeout: string;
    readonly expected: State;
    readonly seen: Map<string, string>;
    /** Whether `expected` is all that there may be. */
    readonly strict: boolean;
  },
): Promise<void> {
  const { queue, timeout, expected, seen, strict } = options;
  let failures = 0;
  for (;;) {
    let reply: { partition?: number; items: (ListedItem & { attempts: number })[] };
    try {
      const request = { queue_name: queue, client_id: "drain", batch_size: 50 };
      reply = await call(client, "queue.lease", { ...request, request_timeout: timeout });
    } catch (error) {
      if (!(error instanceof NotAvailable)) throw error;
      // A partition that fails is tried less and less; the others serve meanwhile.
      if (error.message.includes("no items are in the queue") || ++failures === LEASES_MAX) return;
      continue;
    }
    const { partition = 0, items } = reply;
    const place = `${queue} ${partition} items`;
    const known = new Map(expected.places.get(place)?.map((item) => [item.id, item]));
    for (const item of items) {
      const serial = readSerial(item);
      const was = known.get(item.id);
      if (was === undefined && strict) {
        throw new Wrong(`item ${serial} of ${place} was never there`);
      }
      if (seen.has(item.id)) throw new Wrong(`item ${serial} of ${place} came twice`);
      seen.set(item.id, place);
      const attempts = (was?.attempts ?? 0) + 1;
      if (was !== undefined && (was.reference !== item.reference || attempts !== item.attempts)) {
        throw new Wrong(`item ${serial} of ${place} is not as it was`);
      }
    }
    const ids = items.map(({ id }) => id);
    const request = { queue_name: queue, partition, request_timeout: "1s", ids };
    const { status, text } = await client.post("queue.complete", request);
    if (status !== 200 && status !== 454)
      throw new Wrong(`a complete was answered ${status} ${text}`);
  }
}

function checkTold({ host }: Examined, missing: readonly string[]): void {
  const fault = host.server.log.find((line) => line.msg === "queue loop failed");
  if (fault !== undefined) throw new Wrong(`a loop has failed: ${JSON.stringify(fault)}`);
  for (const place of missing) {
    if (!isTold(host, place))
      throw new Wrong(`${place} has lost items, and the log does not say so`);
  }
}

// A partition that has lost items says so in the log, or its whole storage does; whether it is
// failing at this very moment depends on when it was tried last.
function isTold(host: Host, place: string): boolean {
  const [queue, partition] = place.split(" ");
  return host.server.log.some((line) => {
    const mine = line.queue === queue && line.partition === Number(partition);
    return line.msg === "storage is away" || (line.msg === "partition is failing" && mine);
  });
}

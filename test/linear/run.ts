// Runs clients against a server in rounds, and checks what they saw. Each round has queues of its own,
// so that histories stay short enough to be checked exactly; it ends when each queue has been
// emptied, so that nothing can be lost unseen.

import { randomBytes } from "node:crypto";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Api } from "../support/api.ts";
import { Random } from "../support/random.ts";
import { isTrouble, ServerProcess, type StorageKind } from "../support/server-process.ts";
import { Actor, drawMood, type Ground, type Mood } from "./actor.ts";
import { check } from "./checker.ts";
import { Client, type Notebook } from "./client.ts";
import { type History, toText } from "./history.ts";
import { explain } from "./report.ts";
import { now } from "./times.ts";

export interface RunOptions {
  readonly seconds: number;
  readonly seed: number;
  /** Clients of each queue. */
  readonly clients: number;
  readonly queues: number;
  /** How long clients act in each round. */
  readonly roundMs: number;
  readonly storage: StorageKind;
  /** A server that runs already. */
  readonly url?: string | undefined;
  /** Is told how it goes. */
  readonly progress: (text: string) => void;
}

export interface RunResult {
  readonly rounds: number;
  readonly queues: number;
  readonly operations: number;
  readonly expired: number;
  readonly unanswered: number;
  readonly states: number;
  /** What broke, in words; undefined if nothing did. */
  readonly failure: string | undefined;
}

/** How long a queue may take to be emptied: far longer than its leases. */
const DRAIN_MS_MAX = 10_000;
/** Longer than leases are: one that ends while this waits must wake it. */
const DRAIN_WAIT_MS = 1_500;
const COMPLAINTS_SHOWN = 20;

/** What was seen of a queue, and whether it could be emptied. */
interface Played {
  readonly history: History;
  readonly emptied: boolean;
}

/** Runs rounds until the time is over or something breaks. */
export async function run(options: RunOptions): Promise<RunResult> {
  const { storage } = options;
  const server = options.url === undefined ? await ServerProcess.start({ storage }) : undefined;
  const tally = { rounds: 0, queues: 0, operations: 0, expired: 0, unanswered: 0, states: 0 };
  let failure: string | undefined;
  try {
    const url = new URL(server?.address ?? options.url!);
    const until = now() + options.seconds * 1_000_000;
    do {
      const round = tally.rounds++;
      for (const played of await playRound(url, round, options)) {
        failure ??= await checkOne(played, tally);
      }
      options.progress(
        `round ${tally.rounds}: ${tally.operations} operations, ${tally.expired} leases expired, ${tally.states} states`,
      );
      failure ??= complaintsOf(server)[0];
    } while (failure === undefined && now() < until);
  } catch (error) {
    const complaints = complaintsOf(server).slice(0, COMPLAINTS_SHOWN).join("\n");
    failure = `${error instanceof Error ? error.stack : String(error)}\n${complaints}`;
  } finally {
    await server?.terminate();
    await server?.dispose();
  }
  return { ...tally, failure };
}

// Everything that tells of something that should not happen.
function complaintsOf(server: ServerProcess | undefined): readonly string[] {
  if (server === undefined) return [];
  const warnings = server.log.filter((line) => line.level === "warn" && isTrouble(line));
  const end = server.end === undefined ? [] : [`the server ended: ${server.end}`];
  return [...server.errors, ...warnings.map((line) => JSON.stringify(line)), ...end];
}

async function checkOne(
  { history, emptied }: Played,
  tally: { -readonly [K in keyof Omit<RunResult, "failure">]: number },
): Promise<string | undefined> {
  const verdict = check(history);
  const { operations } = history;
  tally.queues++;
  tally.operations += operations.length;
  tally.unanswered += operations.filter(({ reply }) => reply === undefined).length;
  tally.states += verdict.states;
  tally.expired += verdict.expired;
  if (verdict.kind === "right" && emptied) return undefined;
  const file = join(await mkdtemp(join(tmpdir(), "linear-failure-")), `${history.queue}.json`);
  await writeFile(file, toText(history));
  const texts = {
    wrong: () => explain(history),
    right: () => `queue ${history.queue}: items are left ${DRAIN_MS_MAX} ms after the last lease`,
    undecided: () => `queue ${history.queue}: undecided after ${verdict.states} states`,
  };
  return `${texts[verdict.kind]()}\nthe whole history, for --replay: ${file}`;
}

function playRound(url: URL, round: number, options: RunOptions): Promise<Played[]> {
  const tag = randomBytes(4).toString("hex");
  const queues = Array.from({ length: options.queues }, (_, number) => {
    const queue = `linear-${tag}-${round}-${number}`;
    const mood = drawMood(new Random(options.seed, round, number));
    return playQueue({ queue, url, operations: [] }, mood, { ...options, round, number });
  });
  return Promise.all(queues);
}

/** Lets clients loose on a new queue, empties it, and answers what they saw. */
async function playQueue(
  notebook: Notebook,
  mood: Mood,
  options: RunOptions & { readonly round: number; readonly number: number },
): Promise<Played> {
  const { queue, url, operations } = notebook;
  const control = new Api(Number(url.port), { host: url.hostname });
  await control.ok("queues.create", {
    queue_name: queue,
    lease_timeout: `${mood.leaseTimeoutMs}ms`,
    expire_timeout: "1h",
    requested_partitions: 1,
  });
  const ground: Ground = { mood, outstanding: 0, payloads: 0, ids: [], named: [] };
  const until = now() + options.roundMs * 1_000;
  const actors = Array.from({ length: options.clients }, (_, i) => {
    const random = new Random(options.seed, options.round, options.number, i);
    return new Actor(new Client(`c${i}`, notebook), ground, random).run(until);
  });
  await Promise.all(actors);
  const emptied = (await drain(notebook)) && (await playAlone(notebook, options.number % 2 === 0));
  await control.ok("queues.delete", { queue_name: queue });
  control.close();
  const leaseTimeout = mood.leaseTimeoutMs * 1_000;
  return { history: { queue, leaseTimeout, operations }, emptied };
}

// Takes and completes everything, until a list shows that nothing is left; answers whether one did.
async function drain(notebook: Notebook): Promise<boolean> {
  const client = new Client("drain", notebook);
  const until = now() + DRAIN_MS_MAX * 1_000;
  let left = await client.list();
  while (left.length > 0 && now() < until) {
    const items = await client.lease(5, DRAIN_WAIT_MS);
    if (items.length > 0) await client.complete(items.map(({ id }) => id));
    left = await client.list();
  }
  client.close();
  return left.length === 0;
}

// In a crowd every request wakes the queue for others. Here a lease waits, and nothing but the end of
// another lease, by a retry or by time, can wake it.
async function playAlone(notebook: Notebook, retries: boolean): Promise<boolean> {
  const [first, second] = [new Client("first", notebook), new Client("last", notebook)];
  await first.produce(["alone"]);
  const items = await first.lease(1, DRAIN_WAIT_MS);
  const waiting = second.lease(1, DRAIN_WAIT_MS);
  if (retries && items.length > 0) {
    await sleep(5);
    await first.retry(items.map(({ id }) => ({ id, dead: false })));
  }
  await waiting;
  first.close();
  second.close();
  return drain(notebook);
}

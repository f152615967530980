// A whole run of the churn: very many queues are made, used and deleted, and leave nothing behind:
// no row in the storage file, no memory, no timer, no connection; and the server stops and starts
// again as if they had never been.

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { Api } from "../support/api.ts";
import { type Holdings, leftBehind, megabytes, usedBytes } from "../support/holdings.ts";
import type { ProofResult } from "../support/program.ts";
import { Random } from "../support/random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { liveAndDie } from "./churn-life.ts";

export interface ChurnOptions {
  readonly seed: number;
  /** How many queues live and die, twice each. */
  readonly queues: number;
  /** No new queue is begun after so long. */
  readonly seconds: number;
  readonly progress: (text: string) => void;
}

const WIDTH = 8;
const NAMES = 40;
const GRAVEYARD = "graveyard";

const SLACK = { bytes: 20_000_000, timers: 2, sockets: 1 } as const;
const CALM_MS = 20_000;

/** Lets queues live and die; answers what they have left behind. */
export async function churn(options: ChurnOptions): Promise<ProofResult> {
  const failures: string[] = [];
  const server = await ServerProcess.start({ isObserved: true });
  let again: ServerProcess | undefined;
  try {
    const api = new Api(server.port);
    const { timers } = await server.holdings();
    await liveSome({ ...options, queues: WIDTH }, server.port, api); // a warm-up
    await rowsGone(server);
    const before = { ...(await server.holdings()), timers };
    const { lives, items, errors } = await liveSome(options, server.port, api);
    failures.push(...errors);
    const { items: listed = [] } = await api.ok("queues.list", {});
    if (listed.length > 0) failures.push(`${listed.length} queues are left`);
    failures.push(...(await rowsGone(server)), ...(await nothingHeld(server, before)));
    const held = await server.holdings();
    api.close();
    const { code, signal } = await server.terminate();
    if (code !== 0) failures.push(`the server stopped with ${code ?? signal}`);
    failures.push(...server.errors, ...rowsOf(server).map((row) => `after the stop: ${row}`));
    const bytes = statSync(join(server.dataDir, "querator.db")).size;
    again = await ServerProcess.start({ dataDir: server.dataDir });
    failures.push(...(await startsEmpty(again)));
    const figures = [
      `${lives} queues lived and died twice with ${items} items`,
      `held ${megabytes(usedBytes(before))} before, ${megabytes(usedBytes(held))} after`,
      `timers ${before.timers} and ${held.timers}, file of ${Math.round(bytes / 1_024)} KiB`,
    ];
    return { failures, figures: figures.join(", ") };
  } catch (error) {
    const end = server.end === undefined ? "" : `, the server ended: ${server.end}`;
    return { failures: [...failures, `${(error as Error).message}${end}`], figures: "no figures" };
  } finally {
    await again?.dispose();
    await server.dispose();
  }
}

async function liveSome(
  options: ChurnOptions,
  port: number,
  api: Api,
): Promise<{ lives: number; items: number; errors: readonly string[] }> {
  const settings = { lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 };
  await api.ok("queues.create", { queue_name: GRAVEYARD, ...settings });
  const errors: string[] = [];
  const until = Date.now() + options.seconds * 1_000;
  let begun = 0;
  let items = 0;
  const strand = async (number: number): Promise<void> => {
    const random = new Random(options.seed + number);
    while (begun < options.queues && Date.now() < until && errors.length < 10) {
      // Few names, used again and again; no two strands have the same.
      const name = `churn-${number}-${begun++ % NAMES}`;
      if (begun % 100 === 0) options.progress(`${begun} queues`);
      try {
        const had = await liveAndDie({ port, name, graveyard: GRAVEYARD, random });
        items += had;
      } catch (error) {
        errors.push((error as Error).message);
      }
    }
  };
  await Promise.all(Array.from({ length: WIDTH }, (_, number) => strand(number)));
  await api.ok("queues.delete", { queue_name: GRAVEYARD, force: true });
  return { lives: begun, items, errors };
}

/** The tables that still hold rows of queues; what SQLite and the schema keep for themselves is not meant. */
function rowsOf(server: ServerProcess): readonly string[] {
  const db = new DatabaseSync(join(server.dataDir, "querator.db"), { readOnly: true });
  try {
    const tables = db
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
      .all() as { name: string }[];
    return tables.flatMap(({ name }) => {
      // What has been done is kept for a time of its own (auth/audit.ts).
      const ofQueues = name === "queues" ? " WHERE name NOT LIKE '~%'" : "";
      const counted = db.prepare(`SELECT count(*) AS n FROM "${name}"${ofQueues}`).get();
      const { n } = counted as { n: number };
      return n === 0 ? [] : [`table ${name} holds ${n} rows`];
    });
  } finally {
    db.close();
  }
}

// Rows of deleted queues go a few at a time.
async function rowsGone(server: ServerProcess): Promise<readonly string[]> {
  const giveUpAt = Date.now() + CALM_MS;
  for (;;) {
    const rows = rowsOf(server);
    if (rows.length === 0 || Date.now() > giveUpAt) return rows;
    await sleep(20);
  }
}

async function nothingHeld(server: ServerProcess, before: Holdings): Promise<readonly string[]> {
  const giveUpAt = Date.now() + CALM_MS;
  for (;;) {
    const left = leftBehind(before, await server.holdings(), SLACK);
    const failures = left.map((what) => `${what} are left`);
    const spins = await cpuShare(server);
    if (spins > 0.5) failures.push(`an idle server takes ${Math.round(spins * 100)}% of a core`);
    if (failures.length === 0 || Date.now() > giveUpAt) return failures;
    await sleep(50);
  }
}

// The part of a core that a server takes while nobody asks anything of it.
async function cpuShare(server: ServerProcess): Promise<number> {
  const ticks = (): number => {
    const fields = readFileSync(`/proc/${server.pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    return Number(fields[11]) + Number(fields[12]);
  };
  const ms = 200;
  const from = ticks();
  await sleep(ms);
  return ((ticks() - from) * 10) / ms; // a tick has 10 ms
}

async function startsEmpty(server: ServerProcess): Promise<readonly string[]> {
  const api = new Api(server.port);
  try {
    const { items = [] } = await api.ok("queues.list", {});
    return items.length === 0 ? [] : [`${items.length} queues are back after a restart`];
  } finally {
    api.close();
  }
}

// What may befall the database under the server: it is killed or shut down and starts again, and it
// is lost for good, so that its synchronous standby takes its place. The server is not told. It
// answers 454 meanwhile, and then goes on by itself, with nothing lost and nothing done twice.

import { setTimeout as sleep } from "node:timers/promises";
import { createDatabase, type Postgres, startPostgres } from "../support/postgres.ts";
import { Relay } from "../support/relay.ts";
import { accessMode } from "./access-mode.ts";
import { CrashRun, figuresOf, type ModeOptions, type ModeResult } from "./crash-run.ts";
import { killMode } from "./kill-mode.ts";
import { termMode } from "./term-mode.ts";

// How long the database stays away, at most.
const AWAY_MS = 1_000;
// Requests that a standby misses if it may: enough that some of them produce.
const LAG_REQUESTS = 200;
// How long the server may take to work again once it is back.
const RECOVER_MS = 30_000;

type Mode = (options: ModeOptions) => Promise<ModeResult>;

/** Kills the server, as over any storage. */
export const killOverPostgres: Mode = (options) => overPostgres(options, killMode);

/** Stops the server, as over any storage. */
export const termOverPostgres: Mode = (options) => overPostgres(options, termMode);

/** Changes who may do what, as over any storage. */
export const accessOverPostgres: Mode = (options) => overPostgres(options, accessMode);

async function overPostgres(options: ModeOptions, mode: Mode): Promise<ModeResult> {
  const database = await startPostgres({ fsync: true });
  try {
    const { url } = await createDatabase(database.url);
    return await mode({ ...options, postgres: url });
  } finally {
    await database.stop();
  }
}

/** Kills the database, or shuts it down, and starts it again. */
export async function databaseMode(options: ModeOptions): Promise<ModeResult> {
  const database = await startPostgres({ fsync: true });
  const { url } = await createDatabase(database.url);
  const run = new CrashRun({ ...options, mode: "database", postgres: url });
  const { random } = run;
  const ends = { killed: 0, "shut down": 0, paused: 0 };
  try {
    await run.start();
    for (let time = 1; time <= options.kills && !run.isHopeless; time++) {
      await run.live();
      const end = time === 1 ? "killed" : random.weighted({ killed: 4, "shut down": 2, paused: 1 });
      ends[end]++;
      if (end === "killed") await database.kill();
      else if (end === "paused") database.pause();
      if (end !== "shut down") await sleep(random.below(AWAY_MS));
      if (end === "paused") database.resume();
      else await database.restart(random.chance(0.5) ? "fast" : "immediate");
      await acknowledges(run, run.load.acked + 1);
      run.progress(`${time} of ${options.kills}, ${end}`);
    }
    return await result(run, "database", JSON.stringify(ends));
  } finally {
    await run.close();
    await database.stop();
  }
}

/** Loses the database again and again, and promotes its standby; a new one follows each. */
export async function failoverMode(options: ModeOptions): Promise<ModeResult> {
  const blind = await failOver({ ...options, kills: 1, isSynchronous: false });
  if (blind.violations.length === 0) {
    const violations = [
      "blind: without a synchronous standby nothing was lost: this proves nothing",
    ];
    return { mode: "failover", figures: "blind", violations };
  }
  options.progress("failover: with a standby that lags it fails, as it must");
  return failOver({ ...options, isSynchronous: true });
}

/** With a standby that is not synchronous, and away here for a while, acknowledged items must be lost. */
export async function failOver(
  options: ModeOptions & { readonly isSynchronous: boolean },
): Promise<ModeResult> {
  const { isSynchronous } = options;
  let primary = await startPostgres({ fsync: true });
  let lost: Postgres | undefined;
  const { url } = await createDatabase(primary.url);
  const relay = await Relay.start(primary.port);
  let standby = await primary.startStandby({ isSynchronous });
  const run = new CrashRun({ ...options, mode: "failover", postgres: relay.through(url) });
  const { random } = run;
  let cutOff = 0;
  try {
    await run.start();
    for (let time = 1; time <= options.kills && !run.isHopeless; time++) {
      if (!isSynchronous) await standby.kill();
      const { acked } = run.load;
      await run.live();
      if (!isSynchronous) await acknowledges(run, acked + LAG_REQUESTS);
      // What is cut off lives on for a while, but without its standby acknowledges nothing; a standby
      // that is not synchronous would catch up with it.
      const isCutOff = isSynchronous && random.chance(0.4);
      if (isCutOff) {
        cutOff++;
        relay.pointTo(undefined);
      } else await primary.kill();
      if (!isSynchronous) await standby.start();
      await standby.promote();
      relay.pointTo(standby.port);
      lost = primary;
      primary = standby;
      await lost.stop();
      await acknowledges(run, run.load.acked + 1);
      if (time < options.kills) standby = await primary.startStandby({ isSynchronous });
      run.progress(`failover ${time} of ${options.kills}${isCutOff ? ", cut off" : ""}`);
    }
    const how = `${options.kills} failovers, ${cutOff} of them from a database that was cut off`;
    return await result(run, "failover", how);
  } finally {
    await run.close(!isSynchronous);
    relay.close();
    await lost?.stop();
    await primary.stop();
  }
}

// Waits until so many requests have succeeded.
async function acknowledges(run: CrashRun, requests: number): Promise<void> {
  const { load, ledger } = run;
  for (const end = Date.now() + RECOVER_MS; load.acked < requests && !run.isHopeless; ) {
    if (Date.now() > end) {
      ledger.violation("stuck", "the database is there, and nothing works");
      return;
    }
    await sleep(20);
  }
}

async function result(run: CrashRun, mode: string, how: string): Promise<ModeResult> {
  const { ledger, load } = run;
  const verdict = await run.finish();
  for (const line of run.host.failures) {
    if (line.includes("queue loop failed")) ledger.violation("log", line);
  }
  const figures = `${how}, ${load.storageFailures} requests answered 454, ${figuresOf(verdict)}`;
  return { mode, figures, violations: ledger.violations };
}

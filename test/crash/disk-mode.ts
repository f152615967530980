// A disk that fails now and then: a call that syncs, writes, truncates or reads the log or the file is
// refused, once or for a while, and what was to be synced is lost, at once or with the next power cut.
// With `sync: full` nothing that was acknowledged may be lost by it; with `sync: interval` only what
// was since the last sync before the one that failed. The server says so while it cannot work, in its
// log and in its health, and works again by itself.

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { StartRefused } from "../support/server-process.ts";
import { CrashRun, figuresOf, type ModeOptions, type ModeResult } from "./crash-run.ts";
import { type DiskFault, DiskFaults } from "./disk-faults.ts";
import { PowerCut } from "./powercut.ts";

export type Sync = "full" | "interval";

const INTERVAL_MS = 50;
// How long a fault is waited for that may hit nothing, how long it lasts that does so for a while, and
// within what time the server must work again.
const HIT_MS = 1_500;
const WHILE_MS = [300, 1_200] as const;
const RECOVER_MS = 20_000;
// A fault that lasts is to be known by then.
const KNOWN_MS = 5_000;
const FOR_A_WHILE = 1_000_000;
// By how much times that two programs note may differ.
const SLACK_MS = 10;
// How often the power is cut after a fault, and how often another program reads the file before it: until
// then the log is taken over in part, of which SQLite syncs nothing.
const CUTS = 0.3;
const READERS = 0.4;
const READER_MS = 300;
// The one that every run begins with, for chance may leave it out: what a sync did not bring to the disk
// reads as something else from then on. A while later the power is cut, which shows whether what was
// acknowledged after it stands behind a hole in the log.
const SYNCS_BEFORE_CUT = 6;
const LOST_SYNC: DiskFault = {
  calls: ["sync"],
  files: ["log"],
  error: "EIO",
  times: 1,
  skip: 0,
  drops: true,
  keeps: 0,
  shortens: false,
};

/** Has the disk fail again and again, with every way to sync. */
export async function diskMode(options: ModeOptions): Promise<ModeResult> {
  const results: Awaited<ReturnType<typeof failingDisk>>[] = [];
  for (const sync of ["full", "interval"] as const) {
    results.push(await failingDisk({ ...options, sync }));
  }
  return {
    mode: "disk",
    figures: results.map(({ figures }) => figures).join("; "),
    violations: results.flatMap(({ violations }) => violations),
  };
}

/** Has the disk fail under load, `kills` times. */
export async function failingDisk(
  options: ModeOptions & { readonly sync: Sync; readonly faults?: readonly Partial<DiskFault>[] },
): Promise<{ readonly figures: string; readonly violations: readonly string[] }> {
  const { sync } = options;
  const run = new CrashRun({ ...options, mode: `disk, ${sync}` });
  run.allows.storageFailure = true;
  run.allows.loss = sync === "interval";
  const { directory, host, random } = run;
  const faults = new DiskFaults(join(directory, "faults"));
  try {
    const power = new PowerCut({ directory, dataDir: host.dataDir, random });
    return await new FailingDisk(run, power, faults, options).play();
  } finally {
    faults.close();
    await run.close();
  }
}

class FailingDisk {
  readonly #run: CrashRun;
  readonly #power: PowerCut;
  readonly #faults: DiskFaults;
  readonly #options: Parameters<typeof failingDisk>[0];
  #hit = 0;
  #lasting = 0;
  #cuts = 0;
  #refused = 0;
  #reader: DatabaseSync | undefined;

  constructor(
    run: CrashRun,
    power: PowerCut,
    faults: DiskFaults,
    options: Parameters<typeof failingDisk>[0],
  ) {
    this.#run = run;
    this.#power = power;
    this.#faults = faults;
    this.#options = options;
  }

  async play(): Promise<{ figures: string; violations: readonly string[] }> {
    const { host, ledger, load } = this.#run;
    const { kills, sync } = this.#options;
    this.#power.prepare();
    host.env = {
      ...this.#power.env({ faults: this.#faults }),
      QUERATOR_SYNC: sync,
      ...(sync === "interval" ? { QUERATOR_SYNC_INTERVAL: `${INTERVAL_MS}ms` } : {}),
    };
    await this.#run.start();
    for (let time = 1; time <= kills && ledger.violations.length === 0; time++) {
      if (this.#run.random.chance(READERS)) this.#read();
      await this.#run.live();
      const isFirst = time === 1 && this.#options.faults === undefined;
      const fault = isFirst ? LOST_SYNC : this.#choose(time - 1);
      await this.#fail(fault);
      if (isFirst) await sleep(SYNCS_BEFORE_CUT * INTERVAL_MS);
      if (isFirst || this.#run.random.chance(CUTS)) await this.#cut();
      this.#run.progress(`fault ${time} of ${kills} (${describe(fault)})`);
    }
    if (this.#hit === 0) ledger.violation("blind", "no fault has hit anything");
    const verdict = await this.#run.finish();
    for (const line of host.failures) {
      if (line.includes("queue loop failed")) ledger.violation("log", line);
    }
    const figures = `sync ${sync}: ${this.#hit} of ${kills} faults hit, ${this.#lasting} of them for a while, ${this.#cuts} power cuts after them, ${this.#refused} starts refused meanwhile, ${load.storageFailures} requests answered 454, ${ledger.blurred} of the items acknowledged not judged, for something was done with them within an interval that may be lost, ${figuresOf(verdict)}`;
    return { figures, violations: ledger.violations };
  }

  #choose(index: number): DiskFault {
    const { random } = this.#run;
    const given = this.#options.faults?.[index % this.#options.faults.length];
    const isLasting = random.chance(0.4);
    const one = random.weighted({ sync: 4, write: 2, truncate: 1, read: 1 });
    return {
      calls: random.chance(0.1) ? ["sync", "write", "truncate", "read"] : [one],
      files: random.pick([["log"], ["database"], ["log", "database"]] as const),
      error: random.chance(0.7) ? "EIO" : "ENOSPC",
      times: isLasting ? FOR_A_WHILE : 1 + random.below(3),
      skip: random.chance(0.5) ? 0 : random.below(20),
      drops: random.chance(0.6),
      keeps: random.pick([0, 30, 70, 100]),
      shortens: random.chance(0.5),
      ...given,
    };
  }

  // Reads the file in a transaction, until the fault is armed.
  #read(): void {
    try {
      const { dataDir } = this.#run.host;
      this.#reader = new DatabaseSync(join(dataDir, "querator.db"), { readOnly: true });
      this.#reader.exec("BEGIN; SELECT * FROM partitions");
    } catch {
      this.#endReader(); // the disk fails, or the server has just been cut off
    }
  }

  #endReader(): void {
    this.#reader?.close();
    this.#reader = undefined;
  }

  // Arms a fault, waits until it has hit, and until the server works again.
  async #fail(fault: DiskFault): Promise<void> {
    const { host, ledger, load, random } = this.#run;
    const faults = this.#faults;
    const isLasting = fault.times === FOR_A_WHILE;
    const armedAt = Date.now();
    if (this.#options.sync === "interval") ledger.doubt();
    faults.arm(fault);
    if (this.#reader !== undefined) {
      await sleep(random.below(READER_MS));
      this.#endReader();
    }
    const isHit = await this.#within(HIT_MS, () => faults.hits.count > 0);
    if (isHit) this.#hit++;
    if (isHit && isLasting) {
      this.#lasting++;
      await sleep(random.between(WHILE_MS));
      if (fault.calls.includes("sync") && fault.files.includes("log")) await this.#checkKnown();
    }
    faults.disarm();
    if (host.server.end !== undefined) {
      ledger.violation("disk", `the server has ended: ${host.server.stderr}`);
      return;
    }
    await this.#noteLosses(armedAt, fault);
    ledger.settle();
    const { acked } = load;
    if (!(await this.#within(RECOVER_MS, () => load.acked > acked + 20))) {
      ledger.violation("stuck", `nothing is done after ${describe(fault)}`);
    }
  }

  // While no sync goes well, the server must not call itself healthy.
  async #checkKnown(): Promise<void> {
    const end = Date.now() + KNOWN_MS;
    while (this.#faults.hits.logSyncs > 0) {
      const status = await this.#health();
      if (status === undefined || status !== "pass") return;
      if (Date.now() > end) {
        this.#run.ledger.violation(
          "health",
          "no sync goes well, and the server says it is healthy",
        );
        return;
      }
      await sleep(20);
    }
  }

  async #health(): Promise<string | undefined> {
    try {
      const response = await fetch(`${this.#run.host.server.address}/health`);
      return ((await response.json()) as { status: string }).status;
    } catch {
      return undefined;
    }
  }

  // A sync of the log that has failed is told. Where not every commit waits for one, what it was to sync
  // may be lost; after that nothing may be acknowledged that is.
  async #noteLosses(armedAt: number, fault: DiskFault): Promise<void> {
    const { ledger, host } = this.#run;
    const { logSyncs, logs, since, first, last } = this.#faults.hits;
    if (logSyncs === 0 || this.#options.sync === "full") return;
    const isLasting = fault.times === FOR_A_WHILE;
    const told = (): readonly { readonly storage: string; readonly time: number }[] =>
      host.server.log
        .filter(({ check, reason }) => reason !== undefined && /sync|takeover/.test(check!))
        .map(({ time, storage }) => ({ storage: storage!, time: Date.parse(time!) }))
        .filter(({ time }) => time >= first - SLACK_MS);
    // Each log that was hit, for each thread has one of its own.
    const isTold = (): boolean => told().some(({ time }) => isLasting || time >= last - SLACK_MS);
    const isToldOfAll = (): boolean =>
      isTold() && new Set(told().map(({ storage }) => storage)).size >= logs;
    // A takeover that fails again and loses nothing again is told once.
    if (!(await this.#within(KNOWN_MS, isToldOfAll)) && !isTold()) {
      ledger.violation("silent", `the log does not tell of ${describe(fault)}`);
      return;
    }
    // What goes wrong for a while acknowledges nothing more from the first time on that it is told.
    const ends = new Map<string, number>();
    for (const { storage, time } of told()) {
      if (!isLasting || !ends.has(storage)) ends.set(storage, time);
    }
    const end = Math.max(...ends.values());
    ledger.blur((since || armedAt) - SLACK_MS, end + SLACK_MS);
  }

  // Nobody knows what a system has that has taken lost pages for clean: the power tells.
  async #cut(): Promise<void> {
    const { host, ledger, random } = this.#run;
    await sleep(random.below(100));
    await host.kill();
    const since = this.#faults.unsyncedSince;
    if (this.#options.sync === "interval" && since > 0) {
      ledger.blur(since - SLACK_MS, Date.now());
    }
    this.#power.cut("nothing");
    this.#power.prepare();
    this.#cuts++;
    await this.#start();
  }

  // Starts it; at times on a disk that fails, on which it may refuse to start with a word on what to do.
  async #start(): Promise<void> {
    const { host, ledger, random } = this.#run;
    if (random.chance(0.5)) {
      const fault = { ...this.#choose(0), skip: random.below(10) };
      if (this.#options.sync === "interval") ledger.doubt();
      this.#faults.arm(fault);
      const server = host.spawn();
      try {
        await host.serve(server);
        this.#faults.disarm();
        await this.#noteLosses(server.spawnedAt + performance.timeOrigin, fault);
        ledger.settle();
        return;
      } catch (error) {
        this.#faults.disarm();
        ledger.settle();
        if (!(error instanceof StartRefused)) throw error;
        this.#refused++;
        if (error.exit.code !== 1 || !error.stderr.includes(host.dataDir)) {
          ledger.violation("start", `refused without a word on what to do: ${error.message}`);
        }
      }
    }
    await host.start();
  }

  async #within(ms: number, done: () => boolean): Promise<boolean> {
    const end = Date.now() + ms;
    while (!done()) {
      if (Date.now() > end || this.#run.isHopeless) return false;
      await sleep(10);
    }
    return true;
  }
}

function describe({ calls, files, error, times, skip, drops, keeps }: DiskFault): string {
  const how = times === FOR_A_WHILE ? "for a while" : `${times} times after ${skip}`;
  return `${error} from ${calls.join(", ")} of ${files.join(", ")} ${how}, ${keeps}% of the pages kept${drops ? ", the others dropped" : ""}`;
}

// The file system runs full under load: requests are answered 454, the server lives on, and once
// there is space again the queues work again by themselves. It is also killed while the disk is full,
// and started on the full disk: it runs, or it refuses with a message, and runs when there is space.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeScratch, removeScratch } from "../support/scratch.ts";
import { StartRefused } from "../support/server-process.ts";
import { CrashRun, figuresOf, type ModeOptions, type ModeResult } from "./crash-run.ts";
import { makeSmallDisk, type SmallDisk } from "./small-disk.ts";

// How long the server may take to notice that the disk is full, or that it is not any more.
const NOTICE_MS = 5_000;
const RECOVER_MS = 20_000;
const FULL_MS = 1_500;
const DIES_WHILE_FULL = 0.4;

/** Fills the disk again and again. */
export async function fullMode(options: ModeOptions): Promise<ModeResult> {
  const directory = makeScratch();
  const disk = makeSmallDisk(directory, options.mounts);
  try {
    const place = join(disk.directory, "run");
    mkdirSync(place);
    const run = new CrashRun({ ...options, mode: "full", directory: place });
    try {
      return await new FullDisk(run, disk).play(options.kills);
    } finally {
      await run.close(true); // the disk goes away
    }
  } finally {
    disk.remove();
    removeScratch(directory);
  }
}

class FullDisk {
  readonly #run: CrashRun;
  readonly #disk: SmallDisk;
  #noticed = 0;
  #deaths = 0;
  #refusals = 0;

  constructor(run: CrashRun, disk: SmallDisk) {
    this.#run = run;
    this.#disk = disk;
  }

  async play(times: number): Promise<ModeResult> {
    const { ledger, load, allows } = this.#run;
    allows.storageFailure = true;
    await this.#run.start();
    for (let time = 1; time <= times && !this.#run.isHopeless; time++) {
      await this.#run.live();
      await this.#fillAndFree();
      this.#run.progress(`full ${time} of ${times}`);
    }
    if (this.#noticed === 0) ledger.violation("full", "the disk was full, and no request failed");
    const verdict = await this.#run.finish();
    for (const line of this.#run.host.failures) {
      if (line.includes("queue loop failed")) ledger.violation("log", line);
    }
    const figures = `${times} times full (${this.#disk.kind}), ${this.#noticed} times noticed, ${load.storageFailures} requests answered 454, ${this.#deaths} kills while full, ${this.#refusals} of the starts that followed refused, ${figuresOf(verdict)}`;
    return { mode: "full", figures, violations: ledger.violations };
  }

  async #fillAndFree(): Promise<void> {
    const { host, load, ledger, random } = this.#run;
    const before = load.storageFailures;
    this.#disk.fill(host.server);
    // Files that have room inside need no space; then nothing is to be noticed.
    if (await this.#within(NOTICE_MS, () => load.storageFailures > before)) this.#noticed++;
    await sleep(random.below(FULL_MS));
    this.#disk.fill(host.server); // what was let go since is full again
    if (host.server.end !== undefined)
      ledger.violation("full", `the server has ended: ${host.server.stderr}`);
    if (random.chance(DIES_WHILE_FULL) || host.server.end !== undefined) await this.#dieAndStart();
    this.#disk.free(host.server);
    const { acked } = load;
    if (await this.#within(RECOVER_MS, () => load.acked > acked + 20)) return;
    ledger.violation("stuck", "there is space again, and nothing is done");
  }

  async #dieAndStart(): Promise<void> {
    const { host, ledger } = this.#run;
    await host.kill();
    this.#deaths++;
    const server = host.spawn();
    this.#disk.fill(server);
    try {
      await host.serve(server);
    } catch (error) {
      if (!(error instanceof StartRefused)) throw error;
      this.#refusals++;
      const says = error.exit.code === 1 && error.stderr.includes(host.dataDir);
      if (!says)
        ledger.violation("start", `refused without a word on what to do: ${error.message}`);
      this.#disk.free(server);
      await host.start();
    }
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

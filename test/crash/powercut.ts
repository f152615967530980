// The power cut: powercut.c, built with the machine's compiler and loaded into the server, keeps a
// shadow of what is durable; after the kill the data directory is made anew from it. What was
// written and not synced is gone, or some of it is there all the same, in pages or in sectors, in any
// order: disks and file systems promise no more.

import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Random } from "../support/random.ts";
import type { DiskFaults } from "./disk-faults.ts";

const SOURCE = fileURLToPath(new URL("powercut.c", import.meta.url));
const PENDING = ".pending-";
const SHM = /\.db-shm$/;

/** What of the unsynced writes is there after the cut: nothing, some pages, some sectors, or all. */
export type Survival = "nothing" | "pages" | "sectors" | "all";

/** There is no C compiler on this machine. */
export class NoCompiler extends Error {}

export class PowerCut {
  readonly #dataDir: string;
  readonly #shadow: string;
  readonly #library: string;
  readonly #random: Random;

  /** Builds the library below a directory of its own, and watches a data directory. */
  constructor(options: {
    readonly directory: string;
    readonly dataDir: string;
    readonly random: Random;
  }) {
    this.#dataDir = options.dataDir;
    this.#random = options.random;
    this.#shadow = join(options.directory, "shadow");
    this.#library = join(options.directory, "powercut.so");
    const flags = ["-std=gnu11", "-Wall", "-Wextra", "-O2", "-shared", "-fPIC"];
    try {
      execFileSync("cc", [...flags, "-o", this.#library, SOURCE, "-ldl", "-lpthread"]);
    } catch (cause) {
      const { code } = cause as { code?: string };
      if (code === "ENOENT")
        throw new NoCompiler("this proof needs a C compiler named cc", { cause });
      throw cause;
    }
  }

  /** The environment of a server that is to be cut off: perhaps by itself, in place of its n-th call. */
  env(
    options: { killAt?: number; ignoresSync?: boolean; faults?: DiskFaults } = {},
  ): Record<string, string> {
    return {
      ...(options.faults === undefined ? {} : { POWERCUT_FAULTS: options.faults.file }),
      LD_PRELOAD: this.#library,
      POWERCUT_DIR: this.#dataDir,
      POWERCUT_SHADOW: this.#shadow,
      ...(options.killAt === undefined ? {} : { POWERCUT_KILL_AT: String(options.killAt) }),
      ...(options.ignoresSync === true ? { POWERCUT_IGNORE_SYNC: "1" } : {}),
    };
  }

  /** Whether the entry of the data directory itself would be lost in a cut. */
  get losesDirectory(): boolean {
    return existsSync(`${this.#shadow}.unsynced`);
  }

  /** Takes everything as durable that the data directory holds; to be called before each start. */
  prepare(): void {
    rmSync(this.#shadow, { recursive: true, force: true });
    rmSync(`${this.#shadow}.unsynced`, { force: true });
    if (!existsSync(this.#dataDir)) return;
    cpSync(this.#dataDir, this.#shadow, { recursive: true });
    for (const name of list(this.#shadow)) if (SHM.test(name)) rmSync(join(this.#shadow, name));
  }

  /** Leaves of the data directory what a cut leaves. The server has been killed. Answers how many unsynced pages were lost. */
  cut(survival: Survival): number {
    const random = this.#random;
    const entries = new Map<string, Buffer>();
    let lost = 0;
    const live = list(this.#dataDir);
    const durable = list(this.#shadow);
    const names = [...live, ...durable].map((name) => name.replace(PENDING, ""));
    for (const name of new Set(names)) {
      if (SHM.test(name)) continue;
      const hasEntry = durable.includes(name);
      // An entry that was made or removed and not synced may be there or not.
      const keepsChange = survival === "all" || (survival !== "nothing" && random.chance(0.5));
      if (hasEntry ? !live.includes(name) && keepsChange : !keepsChange) continue;
      const synced =
        read(join(this.#shadow, name)) ??
        read(join(this.#shadow, PENDING + name)) ??
        Buffer.alloc(0);
      const written = read(join(this.#dataDir, name)) ?? synced;
      const left = this.#mix(synced, written, survival);
      lost += left.lost;
      entries.set(name, left.bytes);
    }
    // The shared memory of SQLite is never synced: it is there as it was, as zeros, or not at all.
    for (const name of live.filter((each) => SHM.test(each))) {
      const shared = readFileSync(join(this.#dataDir, name));
      if (!random.chance(0.6)) continue;
      entries.set(name, random.chance(0.5) ? shared : Buffer.alloc(shared.length));
    }
    rmSync(this.#dataDir, { recursive: true, force: true });
    mkdirSync(this.#dataDir, { mode: 0o700 });
    for (const [name, bytes] of entries) writeFileSync(join(this.#dataDir, name), bytes);
    return lost;
  }

  #mix(synced: Buffer, written: Buffer, survival: Survival): { bytes: Buffer; lost: number } {
    const random = this.#random;
    const unit = survival === "sectors" ? 512 : 4_096;
    const share = { nothing: 0, pages: random.pick([0.1, 0.5, 0.9]), sectors: 0.5, all: 1 }[
      survival
    ];
    const grows = random.chance(share) || survival === "all";
    const size = grows ? written.length : synced.length;
    const bytes = Buffer.alloc(size);
    let lost = 0;
    for (let at = 0; at < size; at += unit) {
      const before = synced.subarray(at, at + unit);
      const after = written.subarray(at, at + unit);
      const survives = before.equals(after) || random.chance(share);
      if (!survives) lost++;
      (survives ? after : before).copy(bytes, at);
    }
    if (!grows) lost += Math.max(0, Math.ceil((written.length - size) / unit));
    return { bytes, lost };
  }
}

function list(dir: string): readonly string[] {
  return existsSync(dir) ? readdirSync(dir) : [];
}

function read(file: string): Buffer | undefined {
  return existsSync(file) ? readFileSync(file) : undefined;
}

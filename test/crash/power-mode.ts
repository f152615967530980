// A power cut under load: what was written and not synced is gone, wholly or in part. First it is
// shown that this proof would see it if the server did not sync: with an fsync that does nothing it
// must find losses. Then first starts are cut off at every call, and then the server under load, at
// random moments and at random calls.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Random } from "../support/random.ts";
import { makeScratch, removeScratch } from "../support/scratch.ts";
import { ServerProcess, StartRefused } from "../support/server-process.ts";
import { CrashRun, figuresOf, type ModeOptions, type ModeResult } from "./crash-run.ts";
import { PowerCut, type Survival } from "./powercut.ts";

// Cuts that a server without fsync may survive by luck, before the proof is held to be blind.
export const BLIND_CUTS = 20;
// The first life syncs in either case, so that there is something to lose.
const FIRST_LIFE_MS = 100;
// The n-th call at which a server under load is cut off, at most.
const CALLS_MAX = 4_000;
// About as many calls as a start makes, and one with what follows at once.
const START_CALLS = [8, 60] as const;
// The calls of a first start, at most: it is ready before.
const START_CALLS_MAX = 500;

const SURVIVALS = { nothing: 4, pages: 4, sectors: 2, all: 1 } as const;

/** Cuts the power again and again. */
export async function powerMode(options: ModeOptions): Promise<ModeResult> {
  const blind = await cutUnderLoad({ ...options, kills: BLIND_CUTS, ignoresSync: true });
  if (blind.violations.length === 0) {
    const violations = ["blind: without fsync nothing was lost, so this proof proves nothing"];
    return { mode: "power", figures: "blind", violations };
  }
  const [without] = blind.violations;
  options.progress(`power: without fsync it fails, as it must: ${without!.split("\n")[0]}`);
  const first = await cutFirstStarts(options);
  const loaded = await cutUnderLoad({ ...options, ignoresSync: false });
  return {
    mode: "power",
    figures: `without fsync it fails as it must; ${first.figures}; ${loaded.figures}`,
    violations: [...first.violations, ...loaded.violations],
  };
}

interface Loaded {
  readonly figures: string;
  readonly violations: readonly string[];
}

/** Cuts the power under load; with an fsync that does nothing it ends with the first loss. */
export async function cutUnderLoad(
  options: ModeOptions & { readonly ignoresSync: boolean },
): Promise<Loaded> {
  const { kills, ignoresSync, lifeMs } = options;
  const run = new CrashRun({ ...options, mode: ignoresSync ? "power, no fsync" : "power" });
  const { directory, host, ledger, random } = run;
  let lost = 0;
  let inStarts = 0;
  try {
    const power = new PowerCut({ directory, dataDir: host.dataDir, random });
    power.prepare();
    host.env = power.env();
    await run.start();
    for (let cut = 1; cut <= kills && !run.isHopeless; cut++) {
      const life = ignoresSync && cut === 1 ? FIRST_LIFE_MS : random.below(lifeMs);
      await Promise.race([sleep(life), host.server.exited]);
      for (;;) {
        await host.kill();
        const survival = ignoresSync ? "nothing" : random.weighted<Survival>(SURVIVALS);
        lost += power.cut(survival);
        power.prepare();
        const calls = random.pick([...START_CALLS, CALLS_MAX, CALLS_MAX, CALLS_MAX]);
        const killAt = random.chance(0.6) && cut < kills ? { killAt: 1 + random.below(calls) } : {};
        host.env = power.env({ ignoresSync, ...killAt });
        host.mayEnd = "killAt" in killAt;
        if (await startsUnlessCut(run)) break;
        inStarts++;
      }
      run.progress(`cut ${cut} of ${kills}, ${lost} unsynced pages lost`);
      if (ignoresSync && ledger.violations.length > 0) break;
    }
    if (ignoresSync) {
      if (ledger.violations.length === 0) await run.finish();
      return { figures: "", violations: ledger.violations };
    }
    const verdict = await run.finish();
    const figures = `${kills} cuts under load and ${inStarts} in starts survived, ${lost} unsynced pages lost, ${figuresOf(verdict)}`;
    return { figures, violations: ledger.violations };
  } catch (error) {
    // A server that can not even start on what is left has lost something as well.
    if (!(error instanceof StartRefused)) throw error;
    ledger.violation("start", error.message);
    return { figures: "did not start", violations: ledger.violations };
  } finally {
    await run.close(ignoresSync);
  }
}

// Answers false if the server was cut off, by itself, before it was ready.
async function startsUnlessCut({ host }: CrashRun): Promise<boolean> {
  try {
    await host.start();
    return true;
  } catch (error) {
    if (error instanceof StartRefused && error.exit.signal === "SIGKILL") return false;
    throw error;
  }
}

// The first start of all, cut off at its n-th call, for every n until it is ready; then it must
// start on what is left.
async function cutFirstStarts({ seed, progress }: ModeOptions): Promise<Loaded> {
  const directory = makeScratch();
  const violations: string[] = [];
  const dataDir = join(directory, "data");
  const random = new Random(seed);
  const power = new PowerCut({ directory, dataDir, random });
  let killAt = 1;
  let losesDirectory = false;
  try {
    for (; killAt < START_CALLS_MAX; killAt++) {
      rmSync(dataDir, { recursive: true, force: true });
      power.prepare();
      const server = new ServerProcess({ dataDir, env: power.env({ killAt }) });
      const ready = await server.ready.then(
        () => true,
        () => false,
      );
      const { signal } = await server.kill();
      losesDirectory = ready && power.losesDirectory;
      const survival = random.weighted<Survival>(SURVIVALS);
      power.cut(survival);
      const again = new ServerProcess({ dataDir });
      try {
        await again.ready;
      } catch (error) {
        violations.push(
          `start: a first start cut off at call ${killAt} (${survival}): ${(error as Error).message}`,
        );
      }
      await again.kill();
      if (ready) break;
      if (signal !== "SIGKILL") violations.push(`start: a first start ended with ${signal}`);
    }
  } finally {
    removeScratch(directory);
  }
  if (losesDirectory) violations.push("start: the entry of the data directory was not synced");
  progress(`power: ${killAt} first starts cut off`);
  return { figures: `${killAt - 1} first starts cut off and survived`, violations };
}

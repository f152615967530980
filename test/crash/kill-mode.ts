// SIGKILL at random moments: under load, in the middle of starts and in the middle of stops. The
// process is gone, what it wrote is still there, and the server starts again on it at once.

import { setTimeout as sleep } from "node:timers/promises";
import { CrashRun, figuresOf, type ModeOptions, type ModeResult } from "./crash-run.ts";

// How often the server dies while it starts or stops, and within how many milliseconds.
const DIES_IN_START = 0.2;
const DIES_IN_STOP = 0.15;
const START_MS = 250;
const STOP_MS = 30;

/** Kills the server again and again. */
export async function killMode(options: ModeOptions): Promise<ModeResult> {
  const run = new CrashRun({ ...options, mode: "kill" });
  const { host, ledger, random } = run;
  run.allows.shutdown = true;
  let kills = 0;
  let inStarts = 0;
  let inStops = 0;
  try {
    await run.start();
    while (kills < options.kills && !run.isHopeless) {
      await run.live();
      if (random.chance(DIES_IN_STOP)) {
        const stopped = host.terminate();
        await sleep(random.below(STOP_MS));
        await host.server.kill();
        const { signal } = await stopped;
        if (signal === "SIGKILL") inStops++;
      } else {
        await host.kill();
      }
      while (random.chance(DIES_IN_START)) {
        const server = host.spawn();
        await sleep(random.below(START_MS));
        await server.kill();
        inStarts++;
      }
      await host.start();
      run.progress(`kill ${++kills} of ${options.kills}`);
    }
    const verdict = await run.finish();
    const figures = `${kills} kills (${inStops} of them in stops) and ${inStarts} in starts survived, ${figuresOf(verdict)}, slowest start ${Math.round(host.longestStartMs)} ms`;
    return { mode: "kill", figures, violations: ledger.violations };
  } finally {
    await run.close();
  }
}

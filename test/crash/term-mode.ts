// SIGTERM under load: the server answers what is under way or closes its connections, and ends with
// code 0 within 10 seconds. What it acknowledged is there when it starts again.

import { CrashRun, figuresOf, type ModeOptions, type ModeResult } from "./crash-run.ts";

const EXIT_MS_MAX = 10_000;

/** Stops the server again and again. */
export async function termMode(options: ModeOptions): Promise<ModeResult> {
  const run = new CrashRun({ ...options, mode: "term" });
  const { host, ledger } = run;
  let stops = 0;
  let longest = 0;
  run.allows.shutdown = true;
  try {
    await run.start();
    while (stops < options.kills && !run.isHopeless) {
      await run.live();
      const { code, signal, ms } = await host.terminate();
      longest = Math.max(longest, ms);
      if (code !== 0) ledger.violation("exit", `SIGTERM ended with ${code ?? signal}`);
      if (ms > EXIT_MS_MAX) ledger.violation("exit", `SIGTERM took ${Math.round(ms)} ms`);
      await host.start();
      run.progress(`stop ${++stops} of ${options.kills} took ${Math.round(ms)} ms`);
    }
    const verdict = await run.finish();
    const figures = `${stops} stops under load, longest exit after SIGTERM ${Math.round(longest)} ms, ${figuresOf(verdict)}`;
    return { mode: "term", figures, violations: ledger.violations };
  } finally {
    await run.close();
  }
}

// `npm run proof`: every long check of what docs/RELIABILITY.md promises, two at a time, in about ten
// minutes. Each is a program of its own with --help; this runs them, on one thread and on several,
// prints the summary of each, and ends with 1 if any has failed.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { count, seedOption } from "../test/support/options.ts";
import { conclude, progress } from "../test/support/program.ts";

interface Check {
  readonly name: string;
  /** The program and its options; `SEED` stands for the seed. */
  readonly command: string;
  /** How many threads its servers have; one by default. */
  readonly threads?: number;
}

// Beside the clients that do not behave, which wait for much of their time, run those that need one
// processor; then those that need two, beside each other.
const CHECKS: readonly Check[] = [
  { name: "hostile", command: "test/fuzz/hostile.ts --seconds 3 --seed SEED" },
  {
    name: "hostile, keys",
    command: "test/fuzz/hostile.ts --keys --attack keys,storm,flood,leases --seconds 3 --seed SEED",
  },
  { name: "sim", command: "test/sim/sim.ts --seconds 90 --seed SEED" },
  { name: "sim, sqlite", command: "test/sim/sim.ts --seconds 40 --seed SEED --storage sqlite" },
  { name: "torn", command: "test/crash/torn.ts --seconds 40 --seed SEED" },
  { name: "runtimes", command: "scripts/runtimes.ts" },
  { name: "restart-time", command: "test/crash/restart-time.ts" },
  { name: "churn", command: "test/soak/churn.ts --seed SEED" },
  { name: "churn, 2 threads", command: "test/soak/churn.ts --seed SEED", threads: 2 },
  { name: "fuzz", command: "test/fuzz/fuzz.ts --seconds 40 --seed SEED" },
  { name: "fuzz, 2 threads", command: "test/fuzz/fuzz.ts --seconds 20 --seed SEED", threads: 2 },
  { name: "tenants", command: "test/fuzz/tenants.ts --seconds 30 --seed SEED" },
  {
    name: "tenants, 2 threads",
    command: "test/fuzz/tenants.ts --seconds 20 --seed SEED",
    threads: 2,
  },
  { name: "crash", command: "test/crash/crash.ts --mode all --kills 20 --seed SEED" },
  {
    name: "crash, 2 threads",
    command: "test/crash/crash.ts --mode all --kills 10 --seed SEED",
    threads: 2,
  },
  {
    name: "crash, postgres",
    command: "test/crash/crash.ts --storage postgres --mode all --kills 12 --seed SEED",
  },
  { name: "linear", command: "test/linear/linear.ts --seconds 40 --seed SEED" },
  {
    name: "linear, 3 threads",
    command: "test/linear/linear.ts --seconds 40 --seed SEED",
    threads: 3,
  },
  { name: "overload", command: "test/soak/overload.ts --seconds 60 --seed SEED" },
  {
    name: "overload, 2 threads",
    command: "test/soak/overload.ts --seconds 20 --seed SEED",
    threads: 2,
  },
];

const root = fileURLToPath(new URL("../", import.meta.url));

/** Runs one check; answers its summary and whether it held. */
async function run(check: Check, seed: number): Promise<{ ok: boolean; line: string }> {
  const { name, threads = 1 } = check;
  const command = check.command.replace("SEED", String(seed));
  const from = performance.now();
  const child = spawn(process.execPath, command.split(" "), {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, QUERATOR_THREADS: String(threads) },
  });
  let summary = "no summary";
  createInterface({ input: child.stdout }).on("line", (line) => {
    summary = line;
  });
  createInterface({ input: child.stderr }).on("line", (line) => progress(`[${name}] ${line}`));
  const [code] = (await once(child, "close")) as [number | null];
  const seconds = Math.round((performance.now() - from) / 1000);
  const line = `[${name}, ${seconds} s] ${summary}`;
  if (code === 0) return { ok: true, line };
  return { ok: false, line: `${line}\n  QUERATOR_THREADS=${threads} node ${command}` };
}

const options = new Command("proof")
  .description("Run every long check of what docs/RELIABILITY.md promises")
  .addOption(seedOption())
  .option("--jobs <n>", "how many checks run at a time", count, 2)
  .option("--only <name>", `only those with this in the name: ${CHECKS.map((c) => c.name)}`)
  .parse()
  .opts<{ seed: number; jobs: number; only?: string }>();

const left = CHECKS.filter(({ name }) => options.only === undefined || name.includes(options.only));
const total = left.length;
const lines: string[] = [];
let failed = 0;

async function work(): Promise<void> {
  for (let check = left.shift(); check !== undefined; check = left.shift()) {
    const { ok, line } = await run(check, options.seed);
    progress(line);
    lines.push(line);
    if (!ok) failed++;
  }
}

await Promise.all(Array.from({ length: options.jobs }, work));
process.stdout.write(`${lines.join("\n")}\n`);
conclude("proof", failed === 0, `${failed} of ${total} failed, seed ${options.seed}`);

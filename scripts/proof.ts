// `npm run proof`: every long check of what docs/RELIABILITY.md promises, one after the other, in
// about ten minutes. Each is a program of its own with --help; this runs them, prints the summary of
// each, and ends with 1 if any has failed.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { seedOption } from "../test/support/options.ts";
import { conclude } from "../test/support/program.ts";

interface Check {
  readonly name: string;
  /** The program and its options; `SEED` stands for the seed. */
  readonly command: readonly string[];
}

const CHECKS: readonly Check[] = [
  { name: "sim", command: ["test/sim/sim.ts", "--seconds", "90", "--seed", "SEED"] },
  {
    name: "sim on sqlite",
    command: ["test/sim/sim.ts", "--seconds", "40", "--seed", "SEED", "--storage", "sqlite"],
  },
  { name: "linear", command: ["test/linear/linear.ts", "--seconds", "60", "--seed", "SEED"] },
  {
    name: "crash",
    command: ["test/crash/crash.ts", "--mode", "all", "--kills", "30", "--seed", "SEED"],
  },
  { name: "torn", command: ["test/crash/torn.ts", "--seconds", "45", "--seed", "SEED"] },
  { name: "restart-time", command: ["test/crash/restart-time.ts"] },
  { name: "fuzz", command: ["test/fuzz/fuzz.ts", "--seconds", "60", "--seed", "SEED"] },
  { name: "hostile", command: ["test/fuzz/hostile.ts", "--seconds", "4", "--seed", "SEED"] },
  { name: "overload", command: ["test/soak/overload.ts", "--seconds", "60", "--seed", "SEED"] },
  { name: "churn", command: ["test/soak/churn.ts", "--seed", "SEED"] },
];

const root = fileURLToPath(new URL("../", import.meta.url));

/** Runs one check; answers its summary and whether it held. */
async function run({ name, command }: Check, seed: number): Promise<{ ok: boolean; line: string }> {
  const args = command.map((arg) => (arg === "SEED" ? String(seed) : arg));
  const from = performance.now();
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  let summary = "no summary";
  createInterface({ input: child.stdout }).on("line", (line) => {
    summary = line;
    if (!line.startsWith(name.split(" ")[0]!)) process.stderr.write(`${line}\n`);
  });
  const [code] = (await once(child, "close")) as [number | null];
  const seconds = Math.round((performance.now() - from) / 1000);
  const line = `${summary} (${seconds} s)`;
  if (code !== 0) return { ok: false, line: `${line}\n  node ${args.join(" ")}` };
  return { ok: true, line };
}

const options = new Command("proof")
  .description("Run every long check of what docs/RELIABILITY.md promises")
  .addOption(seedOption())
  .option("--only <name>", `only those whose name has this in it: ${CHECKS.map((c) => c.name)}`)
  .parse()
  .opts<{ seed: number; only?: string }>();

const lines: string[] = [];
let failed = 0;
for (const check of CHECKS) {
  if (options.only !== undefined && !check.name.includes(options.only)) continue;
  process.stderr.write(`--- ${check.name}\n`);
  const { ok, line } = await run(check, options.seed);
  process.stderr.write(`${line}\n`);
  lines.push(line);
  if (!ok) failed++;
}
process.stdout.write(`${lines.join("\n")}\n`);
conclude("proof", failed === 0, `${failed} of ${lines.length} failed, seed ${options.seed}`);

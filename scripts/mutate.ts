// `npm run mutate`: shows that the checks can fail. Each planted fault is one replacement in one
// file of a copy of the tree; the check that should notice it is run there and must end with an
// error. A fault that no check notices, or that does not apply any more, is reported.

import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { CHECKS, FAULTS, type Fault } from "./faults.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const LIMIT_MS = 300_000;
// A test that waits for what the fault prevents fails then.
const TEST_LIMIT_MS = 60_000;

const options = new Command("mutate")
  .description("Plant faults, one at a time, and see that a check notices each")
  .option("--only <text>", "only faults whose name or check has this in it")
  .option("--list", "say what there is, and do nothing")
  .parse()
  .opts<{ only?: string; list?: boolean }>();

const chosen = FAULTS.filter(
  ({ name, check }) => options.only === undefined || `${name} ${check}`.includes(options.only),
);

/** Plants a fault, runs its check, and takes it out again; answers what came of it. */
async function plant(
  tree: string,
  { file, from, to, check }: Fault,
): Promise<"caught" | "MISSED" | "STALE" | "NO END"> {
  const path = join(tree, file);
  const source = readFileSync(path, "utf8");
  if (source.split(from).length !== 2) return "STALE";
  writeFileSync(
    path,
    source.replace(from, () => to),
  );
  try {
    return await run(tree, CHECKS[check]);
  } finally {
    writeFileSync(path, source);
  }
}

/** Runs a check. One test that fails is enough: others may wait for what the fault prevents. */
async function run(
  tree: string,
  [first, ...rest]: (typeof CHECKS)[keyof typeof CHECKS],
): Promise<"caught" | "MISSED" | "NO END"> {
  const isTest = first === "--test";
  const args = isTest ? [`--test-timeout=${TEST_LIMIT_MS}`, "--test-reporter=tap"] : [];
  // A group of its own, so that all that it has started ends with it.
  const child = spawn(process.execPath, [first, ...args, ...rest], {
    cwd: tree,
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
  });
  const end = () => child.exitCode === null && process.kill(-child.pid!, "SIGKILL");
  let hasFailed = false;
  let isLate = false;
  const limit = setTimeout(() => {
    isLate = true;
    end();
  }, LIMIT_MS);
  createInterface({ input: child.stdout }).on("line", (line) => {
    if (!isTest || hasFailed || !/^\s*not ok /.test(line)) return;
    hasFailed = true;
    end();
  });
  const [status] = await once(child, "close");
  clearTimeout(limit);
  if (hasFailed) return "caught";
  if (isLate) return "NO END";
  return status === 0 ? "MISSED" : "caught";
}

// A copy of all that is ours, beside the packages of others.
function copyTree(tree: string): void {
  for (const part of ["src", "client", "test", "bin", "bench", "proto", "package.json"]) {
    cpSync(join(root, part), join(tree, part), { recursive: true });
  }
  const packages = join(tree, "node_modules");
  mkdirSync(join(packages, "@querator"), { recursive: true });
  symlinkSync("../../client", join(packages, "@querator/client"));
  for (const name of readdirSync(join(root, "node_modules"))) {
    if (name === "@querator") continue;
    symlinkSync(join(root, "node_modules", name), join(packages, name));
  }
}

if (options.list === true) {
  for (const { name, file, check } of chosen) {
    process.stdout.write(`${check}: ${name} (${file})\n`);
  }
} else {
  const tree = mkdtempSync(join(tmpdir(), "querator-mutate-"));
  let bad = 0;
  try {
    copyTree(tree);
    for (const fault of chosen) {
      const result = await plant(tree, fault);
      process.stdout.write(`${result} by ${fault.check}: ${fault.name}\n`);
      if (result !== "caught") bad++;
    }
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
  const verdict = bad === 0 ? "ok" : `FAILED, ${bad} not caught`;
  process.stdout.write(`mutate: ${verdict}, ${chosen.length} faults planted\n`);
  process.exitCode = bad === 0 ? 0 : 1;
}

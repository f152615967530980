// `npm run mutate`: shows that the checks can fail. Each planted fault is one replacement in one
// file of a copy of the tree; the check that should notice it is run there and must end with an
// error. A fault that no check notices, or that does not apply any more, is reported.

import { spawnSync } from "node:child_process";
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
function plant(
  tree: string,
  { file, from, to, check }: Fault,
): "caught" | "MISSED" | "STALE" | "NO END" {
  const path = join(tree, file);
  const source = readFileSync(path, "utf8");
  if (source.split(from).length !== 2) return "STALE";
  writeFileSync(
    path,
    source.replace(from, () => to),
  );
  const [first, ...rest] = CHECKS[check];
  const limit = first === "--test" ? [`--test-timeout=${TEST_LIMIT_MS}`] : [];
  const { status } = spawnSync(process.execPath, [first, ...limit, ...rest], {
    cwd: tree,
    stdio: "ignore",
    timeout: LIMIT_MS,
  });
  writeFileSync(path, source);
  if (status === null) return "NO END";
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
      const result = plant(tree, fault);
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

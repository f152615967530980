// Runs the packages, as npm installs them, in every runtime that they are for: the server and the code of the
// README in Node 24 and 26, the client also in Node 22, Bun and Deno, and in those that cannot run them what
// they say. The runtimes come from npm. Every Node must be there; Bun and Deno are left out where they do not install.

import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { cleanEnvironment, install, packAll } from "../test/support/packed.ts";
import {
  clientProgram,
  codeOf,
  commandIn,
  prints,
  type Runtime,
  refuses,
  serve,
  THIS_NODE,
} from "../test/support/packed-programs.ts";
import { type ProofResult, progress, runProgram } from "../test/support/program.ts";
import { makeScratch, removeScratch } from "../test/support/scratch.ts";

const NODES = [20, 22, 24, 26];
const OTHERS = { bun: "bun@1", deno: "deno@2" } as const;

const scratch = makeScratch();
const project = (name: string): string => join(scratch, name);

/** Installs a runtime; undefined if that does not work here. */
async function fetched(name: string, source: string, path: string): Promise<string | undefined> {
  const there = project(`runtime-${name}`);
  mkdirSync(there);
  writeFileSync(join(there, "package.json"), '{"private": true}\n');
  const flags = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
  const options = { cwd: there, env: cleanEnvironment() };
  try {
    await promisify(execFile)("npm", ["install", ...flags, source], options);
    const file = join(there, "node_modules", path);
    await promisify(execFile)(file, ["--version"], options);
    return file;
  } catch (error) {
    progress(`${name} does not install here: ${(error as Error).message.split("\n")[0]}`);
    return undefined;
  }
}

async function nodes(): Promise<Map<number, Runtime>> {
  const found = new Map<number, Runtime>();
  for (const major of NODES) {
    const source = `node-${process.platform}-${process.arch}`;
    const file = await fetched(`node-${major}`, `${source}@${major}`, `${source}/bin/node`);
    if (file !== undefined) found.set(major, { name: `Node ${major}`, file });
  }
  return found;
}

async function others(): Promise<Runtime[]> {
  const found: Runtime[] = [];
  for (const [name, source] of Object.entries(OTHERS)) {
    const file = await fetched(name, source, `.bin/${name}`);
    const args = name === "deno" ? ["run", "-A", "--quiet"] : [];
    if (file !== undefined) found.push({ name, file, args });
  }
  return found;
}

async function check(): Promise<ProofResult> {
  const failures: string[] = [];
  const done: string[] = [];
  const attempt = async (what: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
      done.push(what);
      progress(`${what}: ok`);
    } catch (error) {
      failures.push(`${what}: ${(error as Error).message}`);
    }
  };
  const { server, client } = packAll();
  await install(project("client"), client);
  await install(project("both"), server, client);
  writeFileSync(join(project("both"), "server.mjs"), 'import "querator";');
  writeFileSync(join(project("client"), "load.mjs"), 'import "@querator/client";');
  const known = await nodes();
  for (const major of NODES) {
    if (!known.has(major)) failures.push(`Node ${major} cannot be had`);
  }
  const command = commandIn(project("both"));

  for (const major of [24, 26]) {
    const node = known.get(major);
    if (node === undefined) continue;
    await attempt(`server and README in ${node.name}`, async () => {
      const running = await serve(project("both"), node);
      try {
        for (const document of ["README.md", "client/README.md", "docs/TESTING.md"]) {
          for (const block of codeOf(document, running.address)) {
            await prints(node, project("both"), block, /^/);
          }
        }
        const { code } = await running.terminate();
        if (code !== 0) throw new Error(`the server ended with ${code}`);
      } finally {
        await running.dispose();
      }
    });
  }
  const running = await serve(project("both"), known.get(24) ?? THIS_NODE);
  try {
    const clients = [22, 24, 26].map((major) => known.get(major));
    for (const runtime of [...clients, ...(await others())]) {
      if (runtime === undefined) continue;
      await attempt(`client in ${runtime.name}`, async () => {
        for (const [how, suffix] of [
          ["import", "mjs"],
          ["require", "cjs"],
        ] as const) {
          const queue = `${runtime.name.replace(" ", "-")}-${how}`;
          const code = clientProgram(running.address, queue, how);
          await prints(runtime, project("client"), [`${how}.${suffix}`, code], "one two\n");
        }
      });
      if (runtime.args === undefined) continue;
      await attempt(`refusal in ${runtime.name}`, async () => {
        const reason = new RegExp(`querator needs Node 24 or later; this is ${runtime.name}`, "i");
        await refuses(runtime, project("both"), ["server.mjs"], reason);
        await refuses(runtime, project("both"), [command, "server", "--memory"], reason);
      });
    }
  } finally {
    await running.dispose();
  }
  for (const major of [20, 22]) {
    const node = known.get(major);
    if (node === undefined) continue;
    await attempt(`refusal in ${node.name}`, async () => {
      const reason = new RegExp(`querator needs Node 24 or later; this is Node ${major}`);
      await refuses(node, project("both"), ["server.mjs"], reason);
      await refuses(node, project("both"), [command, "server", "--memory"], reason);
      if (major >= 22) return;
      const old = new RegExp(`client needs Node 22.12 or later; this is Node ${major}`);
      await refuses(node, project("client"), ["load.mjs"], old);
    });
  }
  removeScratch(scratch);
  return { failures, figures: `${done.length} of ${done.length + failures.length} checks` };
}

await runProgram("runtimes", check);

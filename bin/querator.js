#!/usr/bin/env node
// Starts the command with a Node that can run it: this one if it is new enough, else the one that
// was installed with the package. In a clone the sources run as they are, in a published package
// what was built from them. Kept to a syntax that old versions of Node understand.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const NODE_MIN = 24;
const own = fileURLToPath(new URL("../node_modules/node/bin/node", import.meta.url));
const { bun, deno, node } = process.versions;

// Node would open a debugger to whoever is on this machine.
process.on("SIGUSR1", () => undefined);
// Only a server that runs does something with it; whoever gets it too soon goes on.
process.on("SIGUSR2", () => undefined);

if (bun || deno) {
  const name = bun ? `Bun ${bun}` : `Deno ${deno}`;
  console.error(`Error: querator needs Node ${NODE_MIN} or later; this is ${name}`);
  process.exit(1);
} else if (Number(node.split(".")[0]) >= NODE_MIN) {
  const source = new URL("../src/main.ts", import.meta.url);
  try {
    await import(
      existsSync(source) ? source.href : new URL("../dist/main.js", import.meta.url).href
    );
  } catch (error) {
    // Nothing of ours could be loaded to say it.
    if (error.code !== "EMFILE" && error.code !== "ENFILE") throw error;
    console.error(`Error: no file descriptors are left; raise the limit with ulimit -n 4096`);
    process.exit(1);
  }
} else if (existsSync(own)) {
  const child = spawn(own, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: "inherit",
    // Where the child looks whether this process is still there.
    env: { ...process.env, QUERATOR_STARTED_BY: String(process.pid) },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => child.kill(signal));
  }
  process.on("SIGUSR2", () => child.kill("SIGUSR2"));
  child.on("error", (error) => {
    console.error(`Error: cannot start ${own}: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code);
    // As the child has ended: by the signal, which nothing here holds up any more.
    for (const each of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeAllListeners(each);
    process.kill(process.pid, signal);
  });
} else {
  console.error(`Error: querator needs Node ${NODE_MIN} or later; this is Node ${node}`);
  process.exit(1);
}

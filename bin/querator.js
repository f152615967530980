#!/usr/bin/env node
// Starts the command with a Node that can run it: this one if it is new enough, else the one that
// was installed with the package. In a clone the sources run as they are, in a published package
// what was built from them. Kept to a syntax that old versions of Node understand.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const NODE_MIN = 24;
const own = fileURLToPath(new URL("../node_modules/node/bin/node", import.meta.url));

if (Number(process.versions.node.split(".")[0]) >= NODE_MIN) {
  const source = new URL("../src/main.ts", import.meta.url);
  await import(existsSync(source) ? source.href : new URL("../dist/main.js", import.meta.url).href);
} else if (existsSync(own)) {
  const child = spawn(own, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
} else {
  console.error(`Error: querator needs Node ${NODE_MIN} or later; this is ${process.version}`);
  process.exit(1);
}

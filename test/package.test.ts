// The package as it is published: built, packed, unpacked elsewhere, and run from there.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { temporaryDirectory } from "./support/server.ts";
import { ServerProcess } from "./support/server-process.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

test("the packed package runs, and can be imported", async (t) => {
  const dir = temporaryDirectory(t);
  const packed = execFileSync("npm", ["pack", "--json", "--pack-destination", dir], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const json: unknown = JSON.parse(packed.slice(packed.search(/^[[{]/m)));
  const [manifest] = (Array.isArray(json) ? json : Object.values(json as object)) as {
    filename: string;
    files: { path: string }[];
  }[];
  const paths = manifest!.files.map((file) => file.path);
  for (const path of [
    "dist/main.js",
    "dist/index.js",
    "dist/index.d.ts",
    "bin/querator.js",
    "LICENSE",
  ]) {
    assert.ok(paths.includes(path), `${path} is missing`);
  }
  assert.deepEqual(
    paths.filter((path) => /^(src|test|bench|scripts)\//.test(path) || path.includes(".test.")),
    [],
  );

  const modules = join(dir, "node_modules");
  mkdirSync(join(modules, "querator"), { recursive: true });
  const target = join(modules, "querator");
  execFileSync("tar", [
    "-xzf",
    join(dir, manifest!.filename),
    "-C",
    target,
    "--strip-components=1",
  ]);
  symlinkSync(join(root, "node_modules"), join(target, "node_modules"));

  const command = join(target, "bin/querator.js");
  const version = execFileSync(process.execPath, [command, "version"], { encoding: "utf8" });
  assert.match(version, /^querator \d+\.\d+\.\d+\n$/);
  const server = await ServerProcess.start({ storage: "memory", command });
  t.after(() => server.dispose());
  assert.equal((await fetch(`${server.address}/health`)).status, 200);
  assert.equal((await server.terminate()).code, 0);

  const program = `
    import { startServer } from "querator";
    const server = await startServer({ address: "127.0.0.1:0", memory: true, logLevel: "error" });
    console.log((await fetch(server.address + "/health")).status);
    await server.stop();
  `;
  writeFileSync(join(dir, "program.mjs"), program);
  const printed = execFileSync(process.execPath, [join(dir, "program.mjs")], { encoding: "utf8" });
  assert.equal(printed, "200\n");
});

// The package as it is published: built, packed, unpacked elsewhere, and run from there.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { checkPackage, createPackageFromTarballData, type Problem } from "@arethetypeswrong/core";
import { publint } from "publint";
import { temporaryDirectory } from "./support/server.ts";
import { ServerProcess } from "./support/server-process.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

// What the server and its command line depend on, the client excepted.
const LIBRARIES = [
  "@bufbuild",
  "commander",
  "fastest-levenshtein",
  "pg",
  "pgpass",
  "pino",
  "string-width",
  "yaml",
];

interface Manifest {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

/** Packs what lies in a directory; the archive goes into `to`. */
function pack(from: string, to: string): Manifest {
  const packed = execFileSync("npm", ["pack", "--json", "--pack-destination", to], {
    cwd: from,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const json: unknown = JSON.parse(packed.slice(packed.search(/^[[{]/m)));
  const [manifest] = (Array.isArray(json) ? json : Object.values(json as object)) as Manifest[];
  return manifest!;
}

function unpack(archive: string, into: string): void {
  mkdirSync(into, { recursive: true });
  execFileSync("tar", ["-xzf", archive, "-C", into, "--strip-components=1"]);
}

function run(program: string): string {
  return execFileSync(process.execPath, [program], { encoding: "utf8" });
}

// Both are ES modules only, which every Node that they support can also `require`; and of what came before
// `exports` there is no Node left that they support.
function isIntended(problem: Problem): boolean {
  if (problem.kind === "CJSResolvesToESM") return true;
  return problem.kind === "NoResolution" && problem.resolutionKind === "node10";
}

test("the packed packages run, and can be imported", async (t) => {
  const dir = temporaryDirectory(t);
  const manifest = pack(root, dir);
  const paths = manifest.files.map((file) => file.path);
  for (const path of [
    "dist/main.js",
    "dist/index.js",
    "dist/index.d.ts",
    "dist/testing.js",
    "dist/testing.d.ts",
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
  const target = join(modules, "querator");
  unpack(join(dir, manifest.filename), target);
  // What it depends on is beside it, the client as it is published.
  mkdirSync(join(modules, "@querator"), { recursive: true });
  for (const name of LIBRARIES) {
    symlinkSync(join(root, "node_modules", name), join(modules, name));
  }
  const built = join(root, "client/dist");
  const client = pack(built, dir);
  const clientTarget = join(modules, "@querator/client");
  unpack(join(dir, client.filename), clientTarget);

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
  assert.equal(run(join(dir, "program.mjs")), "200\n");

  const clientPaths = client.files.map((file) => file.path);
  for (const path of ["index.js", "index.d.ts", "README.md", "LICENSE", "package.json"]) {
    assert.ok(clientPaths.includes(path), `${path} is missing`);
  }
  assert.deepEqual(
    clientPaths.filter(
      (path) => !/^(\w[\w-]*\.(js|d\.ts)|README\.md|LICENSE|package\.json)$/.test(path),
    ),
    [],
  );
  const use = `
    await using server = await startTestServer({ queues: ["jobs"] });
    const client = new QueratorClient({ url: server.url });
    await client.produce("jobs", { payload: "packed" });
    console.log((await client.lease("jobs"))[0].text);
    await client.close();
  `;
  writeFileSync(
    join(dir, "import.mjs"),
    `import { QueratorClient } from "@querator/client";
    import { startTestServer } from "querator/testing";
    ${use}`,
  );
  writeFileSync(
    join(dir, "require.cjs"),
    `const { QueratorClient } = require("@querator/client");
    const { startTestServer } = require("querator/testing");
    void (async () => { ${use} })();`,
  );
  assert.equal(run(join(dir, "import.mjs")), "packed\n");
  assert.equal(run(join(dir, "require.cjs")), "packed\n");

  for (const pkgDir of [clientTarget, target]) {
    const { messages } = await publint({ pkgDir, strict: true });
    assert.deepEqual(messages, []);
  }
  for (const { filename } of [client, manifest]) {
    const archive = createPackageFromTarballData(new Uint8Array(readFileSync(join(dir, filename))));
    const result = await checkPackage(archive);
    assert.ok(result.types !== false, "it has types");
    assert.deepEqual(
      result.problems.filter((problem) => !isIntended(problem)),
      [],
    );
  }

  // Types resolve for a program of either kind.
  const types = `import { QueratorClient, type LeasedItem } from "@querator/client";
    const client = new QueratorClient({ url: "http://localhost:2319" });
    export const items: Promise<LeasedItem[]> = client.lease("jobs");
    // @ts-expect-error what is no option is an error
    void client.lease("jobs", { batch: 1 });`;
  for (const name of ["types.mts", "types.cts"]) writeFileSync(join(dir, name), types);
  const flags = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2024"];
  execFileSync(
    join(root, "node_modules/.bin/tsc"),
    [
      ...flags,
      "--lib",
      "es2024,esnext.disposable,dom",
      join(dir, "types.mts"),
      join(dir, "types.cts"),
    ],
    { cwd: dir, stdio: "pipe", encoding: "utf8" },
  );
});

// The packages as they are published: packed, installed by npm in projects that have nothing else, and run
// there. `scripts/runtimes.ts` does the same in every Node that they are for, and elsewhere.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { checkPackage, createPackageFromTarballData, type Problem } from "@arethetypeswrong/core";
import { publint } from "publint";
import { LIBRARIES } from "../src/ui/code.ts";
import { install, type Packages, pack, packAll } from "./support/packed.ts";
import {
  clientProgram,
  codeOf,
  commandIn,
  prints,
  refuses,
  serve,
  THIS_NODE,
} from "./support/packed-programs.ts";
import { makeScratch, removeScratch } from "./support/scratch.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const scratch = makeScratch();
const project = (name: string): string => join(scratch, name);
let packages: Packages;

before(async () => {
  packages = packAll();
  const { server, client } = packages;
  await install(project("server"), server);
  await install(project("client"), client);
  await install(project("both"), server, client);
});
after(() => removeScratch(scratch));

// Both are ES modules only, which every Node that they support can also `require`; and of what came before
// `exports` there is no Node left that they support.
function isIntended(problem: Problem): boolean {
  if (problem.kind === "CJSResolvesToESM") return true;
  return problem.kind === "NoResolution" && problem.resolutionKind === "node10";
}

test("the packages hold what runs, and nothing else", () => {
  const { server, client, tree } = packages;
  for (const path of [
    "dist/main.js",
    "dist/index.js",
    "dist/index.d.ts",
    "dist/testing.js",
    "dist/testing.d.ts",
    "dist/client/index.js",
    "dist/sbom.cdx.json",
    "dist/ui/static/index.html",
    "dist/ui/app/main.js",
    "dist/ui/app/pages/overview.js",
    "bin/querator.js",
    "LICENSE",
    "SECURITY.md",
  ]) {
    assert.ok(server.paths.includes(path), `${path} is missing`);
  }
  assert.deepEqual(
    server.paths.filter(
      (path) => /^(src|client|test|bench|scripts)\//.test(path) || path.includes(".test."),
    ),
    [],
  );
  const built = pack(join(tree, "client/dist"), scratch);
  for (const [{ paths }, dir] of [
    [client, "dist/"],
    [built, ""],
  ] as const) {
    for (const path of [`${dir}index.js`, `${dir}index.d.ts`, "README.md", "LICENSE"]) {
      assert.ok(paths.includes(path), `${path} is missing`);
    }
    const expected = new RegExp(
      `^(${dir}\\w[\\w-]*\\.(js|d\\.ts)|README\\.md|LICENSE|package\\.json)$`,
    );
    assert.deepEqual(
      paths.filter((path) => !expected.test(path)),
      [],
    );
  }
});

test("packing the client leaves the tree as it was", () => {
  const manifest = "client/package.json";
  const after = readFileSync(join(packages.tree, manifest), "utf8");
  assert.equal(after, readFileSync(join(root, manifest), "utf8"));
});

test("the server installs by itself, and runs by its command and inside a program", async () => {
  const there = project("server");
  const command = commandIn(there);
  const version = execFileSync(process.execPath, [command, "version"], { encoding: "utf8" });
  assert.match(version, /^querator \d+\.\d+\.\d+\n$/);
  const server = await serve(there, THIS_NODE);
  assert.equal((await fetch(`${server.address}/health`)).status, 200);
  const list = [command, "list", "--endpoint", server.address, "-o", "json"];
  const listed = execFileSync(process.execPath, list, { encoding: "utf8", stdio: "pipe" });
  assert.equal((JSON.parse(listed) as { count: number }).count, 0);
  assert.equal((await server.terminate()).code, 0);
  await server.dispose();

  const own = (load: string) => `${load}
    const main = async () => {
      const test = await startTestServer({ queues: ["jobs"] });
      await test.client.produce("jobs", { payload: "packed" });
      console.log((await test.client.lease("jobs"))[0].text);
      await test.stop();
      const server = await startServer({ address: "127.0.0.1:0", memory: true, threads: 2, logLevel: "error" });
      console.log((await fetch(server.address + "/health")).status);
      await server.stop();
    };
    main();`;
  const names = ["startServer", "querator", "startTestServer", "querator/testing"] as const;
  const [start, name, startTest, testing] = names;
  const imported = `import {${start}} from "${name}"; import {${startTest}} from "${testing}";`;
  const required = `const {${start}} = require("${name}"); const {${startTest}} = require("${testing}");`;
  await prints(THIS_NODE, there, ["own.mjs", own(imported)], "packed\n200\n");
  await prints(THIS_NODE, there, ["own.cjs", own(required)], "packed\n200\n");
});

test("the installed server has all files of its dashboard, as scripts", async (t) => {
  const server = await serve(project("server"), THIS_NODE);
  t.after(() => server.dispose());
  const open = [`${server.address}/ui/`];
  const seen = new Set<string>();
  for (let url = open.pop(); url !== undefined; url = open.pop()) {
    if (seen.has(url)) continue;
    seen.add(url);
    const reply = await fetch(url);
    assert.equal(reply.status, 200, url);
    const text = await reply.text();
    assert.doesNotMatch(text, /^(import type|interface) /m, url);
    const links = /\b(?:href|src)="([^"#]+)"|(?:from|import) ?\(?"([^"\s,]+)"/g;
    const pages = url.endsWith("/ui/") || url.endsWith(".js");
    for (const [, link, imported] of pages ? text.matchAll(links) : []) {
      if (url.endsWith(".js") && imported === undefined) continue;
      open.push(new URL((link ?? imported)!, url).href);
    }
  }
  const lib = [...seen].filter((url) => url.includes("/lib/"));
  assert.equal(lib.length, Object.keys(LIBRARIES).length, lib.join());
});

test("the client installs by itself, and works imported and required", async (t) => {
  const server = await serve(project("server"), THIS_NODE);
  t.after(() => server.dispose());
  const there = project("client");
  for (const [how, suffix] of [
    ["import", "mjs"],
    ["require", "cjs"],
  ] as const) {
    const code = clientProgram(server.address, how, how);
    await prints(THIS_NODE, there, [`${how}.${suffix}`, code], "one two\n");
  }
});

for (const document of ["README.md", "client/README.md", "docs/TESTING.md"]) {
  test(`the code of ${document} runs where both are installed`, async (t) => {
    const server = await serve(project("server"), THIS_NODE);
    t.after(() => server.dispose());
    const blocks = codeOf(document, server.address);
    assert.ok(blocks.length > 0);
    for (const block of blocks) await prints(THIS_NODE, project("both"), block, /^/);
  });
}

test("the test server has the client of the program that it is for", async () => {
  const code = `
    import { QueratorClient, QueueNotFoundError } from "@querator/client";
    import { startTestServer } from "querator/testing";
    const test = await startTestServer();
    console.log(test.client instanceof QueratorClient);
    await test.client.stats("none").catch((error) => console.log(error instanceof QueueNotFoundError));
    await test.stop();`;
  await prints(THIS_NODE, project("both"), ["one-client.mjs", code], "true\ntrue\n");
});

test("what imports the packages has types, whichever of them are there", () => {
  const useOf = (lines: string): string => `import { startTestServer } from "querator/testing";
    import { startServer } from "querator";
    export const address: Promise<string> = startServer({ memory: true }).then((s) => s.address);
    export async function use(): Promise<void> {
      const server = await startTestServer({ queues: ["jobs"] });
      const texts: string[] = (await server.client.lease("jobs")).map((item) => item.text);
      console.log(texts);
      // @ts-expect-error what is no option is an error
      void server.client.lease("jobs", { batch: 1 });
      ${lines}
    }`;
  const programs = {
    server: useOf(""),
    both: `import type { LeasedItem, QueratorClient } from "@querator/client";
      ${useOf(`const client: QueratorClient = server.client;
        const items: Promise<LeasedItem[]> = client.lease("jobs");
        void items;`)}`,
    client: `import { QueratorClient, type LeasedItem } from "@querator/client";
      const client = new QueratorClient({ url: "http://localhost:2319" });
      export const items: Promise<LeasedItem[]> = client.lease("jobs");
      // @ts-expect-error what is no option is an error
      void client.lease("jobs", { batch: 1 });`,
  };
  const flags = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2024"];
  for (const [name, code] of Object.entries(programs)) {
    const there = project(name);
    for (const suffix of ["mts", "cts"]) writeFileSync(join(there, `types.${suffix}`), code);
    execFileSync(
      join(root, "node_modules/.bin/tsc"),
      [
        ...flags,
        ...[
          "--lib",
          "es2024,esnext.disposable,dom",
          "--typeRoots",
          join(root, "node_modules/@types"),
        ],
        "types.mts",
        "types.cts",
      ],
      { cwd: there, stdio: "pipe", encoding: "utf8" },
    );
  }
});

test("those who look at packages find nothing wrong with them", async () => {
  for (const name of ["@querator/client", "querator"]) {
    const pkgDir = join(project("both"), "node_modules", name);
    const { messages } = await publint({ pkgDir, strict: true });
    // The types of one name may come from two places. Only compilers look there, and look at both.
    const unwanted = messages.filter(({ code }) => code !== "IMPORTS_FALLBACK_ARRAY_USE");
    assert.deepEqual(unwanted, []);
  }
  for (const { archive } of [packages.client, packages.server]) {
    const data = createPackageFromTarballData(new Uint8Array(readFileSync(archive)));
    const result = await checkPackage(data);
    assert.ok(result.types !== false, "it has types");
    assert.deepEqual(
      result.problems.filter((problem) => !isIntended(problem)),
      [],
    );
  }
});

// What tells the versions is loaded before all else; here it is told others.
test("a Node that is too old, Bun and Deno are told so, by the packages and by the command", async () => {
  const as = (versions: object): string =>
    `Object.defineProperty(process, "versions", { value: ${JSON.stringify(versions)} });`;
  const rows = [
    [{ node: "20.20.2" }, "Node 20\\.20\\.2"],
    [{ node: "24.3.0", bun: "1.4.5" }, "Bun 1\\.4\\.5"],
    [{ node: "24.3.0", deno: "2.9.6" }, "Deno 2\\.9\\.6"],
  ] as const;
  const there = project("both");
  for (const [versions, name] of rows) {
    writeFileSync(join(there, "as.cjs"), as(versions));
    const runtime = { ...THIS_NODE, args: ["--require", "./as.cjs"] };
    for (const what of ["querator", "querator/testing"]) {
      writeFileSync(join(there, "load.mjs"), `import ${JSON.stringify(what)};`);
      const reason = new RegExp(`Error: querator needs Node 24 or later; this is ${name}\n`);
      await refuses(runtime, there, ["load.mjs"], reason);
    }
    const reason = new RegExp(`^Error: querator needs Node 24 or later; this is ${name}\n$`);
    await refuses(runtime, there, [commandIn(there), "server", "--memory"], reason);
  }
  const old = /Error: @querator\/client needs Node 22.12 or later; this is Node /;
  for (const node of ["20.20.2", "22.11.0", "18.0.0"]) {
    writeFileSync(join(there, "as.cjs"), as({ node }));
    const runtime = { ...THIS_NODE, args: ["--require", "./as.cjs"] };
    writeFileSync(join(there, "load.mjs"), 'import "@querator/client";');
    await refuses(runtime, there, ["load.mjs"], old);
  }
});

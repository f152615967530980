// Every block of TypeScript in the documents is type-checked, and runs as it stands against a server of
// its own; it prints what it says behind arrows. `querator` and `querator/testing` are the sources; the package test shows the built ones.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { setup } from "../support/server.ts";

const DOCUMENTS = [
  "README.md",
  "client/README.md",
  "docs/CLIENT.md",
  "docs/WORKER.md",
  "docs/TESTING.md",
  "docs/RECIPES.md",
];

const root = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);
// In the tree, so that packages are found.
const scratch = mkdtempSync(join(root, "scratch-documents-"));
after(() => rmSync(scratch, { recursive: true, force: true }));

interface Block {
  readonly name: string;
  readonly file: string;
  readonly code: string;
}

const blocks = DOCUMENTS.flatMap((path) => {
  const text = readFileSync(join(root, path), "utf8");
  return [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code], i): Block => {
    const name = `${path}, block ${i + 1}`;
    return { name, file: `${name.replaceAll(/\W+/g, "-")}.ts`, code: code! };
  });
});

for (const { file, code } of blocks) writeFileSync(join(scratch, file), code);
writeFileSync(
  join(scratch, "tsconfig.json"),
  JSON.stringify({
    extends: "../tsconfig.json",
    compilerOptions: {
      paths: { querator: ["../src/index.ts"], "querator/testing": ["../src/testing.ts"] },
    },
    include: ["*.ts"],
  }),
);
// In place of what a build makes.
writeFileSync(
  join(scratch, "sources.mjs"),
  `import { registerHooks } from "node:module";
const sources = {
  querator: ${JSON.stringify(new URL("../../src/index.ts", import.meta.url).href)},
  "querator/testing": ${JSON.stringify(new URL("../../src/testing.ts", import.meta.url).href)},
};
registerHooks({ resolve: (name, context, next) => next(sources[name] ?? name, context) });
`,
);

test("the documents have blocks of code", () => {
  for (const path of DOCUMENTS) {
    assert.ok(
      blocks.some(({ name }) => name.startsWith(path)),
      path,
    );
  }
});

test("the code in the documents has no type errors", async () => {
  const tsc = join(root, "node_modules/.bin/tsc");
  await run(tsc, ["-p", scratch], { cwd: root }).catch((error: { stdout?: string }) => {
    assert.fail(error.stdout);
  });
});

for (const { name, file, code } of blocks) {
  test(`the code of ${name} runs`, async (t) => {
    const { server } = await setup(t);
    const path = join(scratch, file.replace(/\.ts$/, ".run.ts"));
    writeFileSync(path, code.replaceAll("http://localhost:2319", server.address));
    const args = ["--import", join(scratch, "sources.mjs"), path];
    const { stdout } = await run(process.execPath, args, { cwd: root, timeout: 30_000 });
    // What is printed, in whatever order it happens.
    const said = [...code.matchAll(/\/\/ → (.*)$/gm)].map(([, line]) => line);
    if (said.length > 0) assert.deepEqual(stdout.trimEnd().split("\n").sort(), said.sort());
  });
}

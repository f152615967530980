// `npm run build`: compiles the sources to dist/, which is what a published package runs. The client is
// built first, to client/dist: a package of its own, whose package.json names what was built where the
// one in client/ names the sources.

import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const client = new URL("../client/", import.meta.url);
const built = new URL("dist/", client);

function compile(config: string): void {
  execFileSync("tsc", ["-p", config], { cwd: root, stdio: "inherit" });
}

rmSync(built, { recursive: true, force: true });
compile("client/tsconfig.build.json");
for (const name of ["README.md", "LICENSE"]) cpSync(new URL(name, client), new URL(name, built));
// Private, so that nobody publishes the sources in place of what was built.
const { private: _, ...manifest } = JSON.parse(
  readFileSync(new URL("package.json", client), "utf8"),
) as Record<string, unknown>;
const published = {
  ...manifest,
  exports: {
    ".": { types: "./index.d.ts", default: "./index.js" },
    "./package.json": "./package.json",
  },
};
writeFileSync(new URL("package.json", built), `${JSON.stringify(published, null, 2)}\n`);

rmSync(new URL("../dist", import.meta.url), { recursive: true, force: true });
compile("tsconfig.build.json");

// Builds the client to client/dist: a package of its own, which can be packed and published from there, and
// which the build of the server takes its copy from.

import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const client = new URL("../client/", import.meta.url);

/** What the client's package.json exports. */
export const CLIENT_EXPORTS = {
  sources: { ".": "./src/index.ts", "./package.json": "./package.json" },
  built: (directory: string) => ({
    ".": { types: `${directory}index.d.ts`, default: `${directory}index.js` },
    "./package.json": "./package.json",
  }),
};

/** Where the client is built to. */
export const clientBuilt = new URL("dist/", client);

export function compile(config: string): void {
  execFileSync("tsc", ["-p", config], { cwd: root, stdio: "inherit" });
}

export function buildClient(): void {
  rmSync(clientBuilt, { recursive: true, force: true });
  compile("client/tsconfig.build.json");
  for (const name of ["README.md", "LICENSE"]) {
    cpSync(new URL(name, client), new URL(name, clientBuilt));
  }
  // Without what belongs to packing the directory above.
  const {
    scripts: _,
    files: __,
    ...manifest
  } = JSON.parse(readFileSync(new URL("package.json", client), "utf8")) as Record<string, unknown>;
  const published = { ...manifest, exports: CLIENT_EXPORTS.built("./") };
  writeFileSync(new URL("package.json", clientBuilt), `${JSON.stringify(published, null, 2)}\n`);
}

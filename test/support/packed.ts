// The packages as they are published: packed from a copy of the tree, so that nothing in the tree changes
// under those who run it, and installed by npm into a directory that has nothing else.

import { execFile, execFileSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const root = fileURLToPath(new URL("../..", import.meta.url));

// What a package is made of or from.
const SOURCES = [
  "bin",
  "client",
  "docs",
  "proto",
  "scripts",
  "src",
  "CHANGELOG.md",
  "LICENSE",
  "SECURITY.md",
  "README.md",
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "tsconfig.build.json",
];

export interface Packed {
  /** The archive. */
  readonly archive: string;
  /** The files in it. */
  readonly paths: readonly string[];
}

export interface Packages {
  readonly server: Packed;
  readonly client: Packed;
  /** The copy of the tree that they were packed from. */
  readonly tree: string;
}

/** Packs both packages into a directory. */
export function packAll(into: string): Packages {
  const tree = join(into, "tree");
  mkdirSync(tree);
  for (const name of SOURCES) {
    cpSync(join(root, name), join(tree, name), {
      recursive: true,
      filter: (path) => !/\/(dist|node_modules)$/.test(path),
    });
  }
  symlinkSync(join(root, "node_modules"), join(tree, "node_modules"));
  return { server: pack(tree, into), client: pack(tree, into, "-w", "client"), tree };
}

/** Runs `npm pack` in a directory. */
export function pack(from: string, into: string, ...args: readonly string[]): Packed {
  const packed = execFileSync("npm", ["pack", ...args, "--json", "--pack-destination", into], {
    cwd: from,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
  const json: unknown = JSON.parse(packed.slice(packed.search(/^[[{]/m)));
  const [manifest] = (Array.isArray(json) ? json : Object.values(json as object)) as {
    readonly filename: string;
    readonly files: readonly { readonly path: string }[];
  }[];
  const { filename, files } = manifest!;
  return { archive: join(into, filename), paths: files.map(({ path }) => path) };
}

/** Makes an empty project, and installs archives in it as a user would. */
export async function install(
  project: string,
  ...archives: readonly (Packed | string)[]
): Promise<void> {
  mkdirSync(project, { recursive: true });
  writeFileSync(join(project, "package.json"), '{"name": "project", "private": true}\n');
  const names = archives.map((each) => (typeof each === "string" ? each : each.archive));
  const flags = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
  await promisify(execFile)("npm", ["install", ...flags, ...names], {
    cwd: project,
    env: cleanEnvironment(),
  });
}

/** The environment without what npm has put into it: of somebody who types a command. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|QUERATOR_|NODE_TEST|NODE_OPTIONS|INIT_CWD)/i.test(name),
  );
  // The Node of the tree, and nothing else that is installed in it.
  const paths = (process.env.PATH ?? "")
    .split(":")
    .filter((path) => !path.includes("node_modules"));
  const bin = join(process.execPath, "..");
  return { ...Object.fromEntries(own), PATH: [bin, ...paths].join(":") };
}

/** Removes what was made, however deep. */
export function removeProject(project: string): void {
  rmSync(project, { recursive: true, force: true });
}

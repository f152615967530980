// What takes long to make and is the same for all tests of this machine and user, such as a cluster of
// PostgreSQL: made once, in a directory that outlives the tests, by whoever comes first. The others wait.

import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
} from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

// Nothing that is made takes as long.
const WAIT_MS_MAX = 170_000;

/** The directory of things of one kind; other users can read it. */
export function placeOf(kind: string): string {
  const place = join(tmpdir(), `querator-${kind}-${userInfo().username}`);
  mkdirSync(place, { recursive: true, mode: 0o755 });
  if (process.getuid !== undefined && lstatSync(place).uid !== process.getuid()) {
    throw new Error(`${place} belongs to somebody else; remove it`);
  }
  return place;
}

/** The path of what `make` makes at the path that it is given: put in place whole, or not at all. */
export function madeOnce(place: string, name: string, make: (target: string) => void): string {
  const path = join(place, name);
  if (existsSync(path)) return path;
  // A lock that goes with the process that holds it, however that ends.
  const lock = new DatabaseSync(join(place, "lock.db"), { timeout: WAIT_MS_MAX });
  try {
    lock.exec("BEGIN EXCLUSIVE");
    if (existsSync(path)) return path;
    const aside = mkdtempSync(join(place, "new-"));
    try {
      chmodSync(aside, 0o755);
      make(join(aside, name));
      renameSync(join(aside, name), path);
    } finally {
      rmSync(aside, { recursive: true, force: true });
    }
    return path;
  } finally {
    lock.close();
  }
}

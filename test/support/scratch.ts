// Temporary directories that do not outlive the program, however it ends: also when it is interrupted.
// A test that needs one for itself takes `temporaryDirectory` of server.ts, which goes with the test;
// these go when they are removed, or with the program.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const made = new Set<string>();

process.on("exit", () => {
  for (const directory of made) {
    try {
      removeScratch(directory);
    } catch {
      // something in it is still in use; there is nobody left to tell
    }
  }
});

/** Makes a directory, below `parent` if that is given. */
export function makeScratch(parent = tmpdir()): string {
  const directory = mkdtempSync(join(parent, "querator-"));
  made.add(directory);
  return directory;
}

/** Removes a directory and all that is in it. */
export function removeScratch(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  made.delete(directory);
}

/** Lets a directory outlive the program: it shows what went wrong. */
export function keepScratch(directory: string): void {
  made.delete(directory);
}

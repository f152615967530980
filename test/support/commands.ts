// Commands of the machine that a test uses if they are there.

import { execFileSync } from "node:child_process";

/** Whether a command line runs and succeeds. */
export function isThere(command: string): boolean {
  try {
    execFileSync("sh", ["-c", command], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

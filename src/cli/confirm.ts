// Asks before something is destroyed. Without somebody to ask nothing is done.

import { createInterface } from "node:readline/promises";
import { printable } from "../printable.ts";
import { CommandError, usage } from "./failure.ts";
import type { Session } from "./session.ts";

/** Goes on if the user says yes, or has said so before; throws otherwise. */
export async function confirm(
  { signal }: Session,
  question: string,
  { yes = false }: { readonly yes?: boolean | undefined },
): Promise<void> {
  if (yes) return;
  // What was read to its end has nothing to say any more.
  if (!process.stdin.isTTY || process.stdin.destroyed) {
    throw usage("there is no terminal to ask on, so nothing was done", "Give --yes if you mean it");
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    // Ctrl-C arrives here as a key, and means no.
    lines.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
    const closed = new Promise<string>((resolve) => lines.once("close", () => resolve("")));
    const asked = lines.question(`${printable(question)} [y/N] `, { signal });
    const answer = await Promise.race([asked, closed]);
    if (/^y(es)?$/i.test(answer.trim())) return;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    lines.close();
  }
  throw new CommandError("nothing was done");
}

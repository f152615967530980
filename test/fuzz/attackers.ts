// The process that attacks. It is told to begin an attack and to end it, one at a time; it tells when
// the attack is at its full strength, and at the end what it has seen. It ends with the process that
// started it.

import { Random } from "../support/random.ts";
import type { AttackContext, AttackReport } from "./attack.ts";
import { ATTACKS } from "./attacks.ts";

export type Command =
  | {
      readonly begin: string;
      readonly port: number;
      readonly seed: number;
      readonly quick: boolean;
    }
  | { readonly end: true };

export type Notice = { readonly begun: true } | { readonly ended: AttackReport };

const FAILURES_MAX = 5;

let end: (() => Promise<AttackReport>) | undefined;

async function begin(command: Extract<Command, { begin: string }>): Promise<void> {
  const counts: Record<string, number> = {};
  const failures: string[] = [];
  const context: AttackContext = {
    port: command.port,
    random: new Random(command.seed),
    quick: command.quick,
    count(what, times = 1) {
      counts[what] = (counts[what] ?? 0) + times;
    },
    counted: (what) => counts[what] ?? 0,
    fail(what) {
      if (failures.length < FAILURES_MAX) failures.push(what);
    },
  };
  let stop: (() => Promise<void>) | undefined;
  try {
    stop = await ATTACKS[command.begin]!.attack(context);
  } catch (error) {
    failures.push((error as Error).message);
  }
  end = async () => {
    await stop?.().catch((error: Error) => failures.push(error.message));
    return { counts, failures };
  };
}

async function obey(command: Command): Promise<void> {
  if ("begin" in command) {
    await begin(command);
    process.send?.({ begun: true } satisfies Notice);
  } else {
    process.send?.({ ended: await end!() } satisfies Notice);
  }
}

process.on("message", (command: Command) => void obey(command));
process.on("disconnect", () => process.exit(1));

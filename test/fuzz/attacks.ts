// All attacks by name, in the order in which they are made, with what each needs of the run. Both the
// process that attacks and the one that watches read this table; a new attack is a row here and a
// function in one of the files it imports.

import type { Attack } from "./attack.ts";
import { wrongKeys } from "./attacks-keys.ts";
import {
  itemFlood,
  largeBodies,
  largeTexts,
  neverRead,
  vanishingLeases,
  vanishLarge,
} from "./attacks-memory.ts";
import { protocols } from "./attacks-protocol.ts";
import { costlyBodies, crumbs } from "./attacks-reading.ts";
import { headerFlood, pipelined, storm, tooLarge } from "./attacks-requests.ts";
import { halfOpen, idle, slowSenders } from "./attacks-slow.ts";

export interface AttackRow {
  readonly attack: Attack;
  /** How long the long form must hold it at least, in seconds, so that the server loses patience. */
  readonly holdSeconds?: number;
  /** 99 of 100 requests of the good client must be answered within so many milliseconds meanwhile. */
  readonly p99MsMax?: number;
  /** Whether it means something only on a server that asks for keys. */
  readonly needsKeys?: boolean;
}

/** By the names that the programs print. */
export const ATTACKS: Readonly<Record<string, AttackRow>> = {
  // Headers may take 10 seconds, a whole request 60, and every 30 seconds the server looks.
  "slow senders": { attack: slowSenders, holdSeconds: 95 },
  "half-open connections": { attack: halfOpen },
  "idle connections": { attack: idle },
  "bodies too large": { attack: tooLarge },
  "header floods": { attack: headerFlood },
  "pipelined floods": { attack: pipelined },
  "connection storm": { attack: storm },
  "odd protocols": { attack: protocols },
  "vanishing leases": { attack: vanishingLeases },
  "replies for nobody": { attack: vanishLarge },
  // A large reply must make progress within 60 seconds; the first 60 count from a write under way.
  "replies never read": { attack: neverRead, holdSeconds: 130 },
  "large bodies": { attack: largeBodies },
  "large texts": { attack: largeTexts },
  "item floods": { attack: itemFlood },
  "bodies that cost much": { attack: costlyBodies, p99MsMax: 250 },
  "bodies in crumbs": { attack: crumbs, p99MsMax: 250 },
  "wrong keys": { attack: wrongKeys, p99MsMax: 250, needsKeys: true },
};

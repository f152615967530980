// When an item is tried again, how often, and how long it may live: as its queue says, or as it says itself.
// Pure: what is left to chance is drawn by a function that is given.

import { randomInt } from "node:crypto";
import type { StoredItem } from "../storage/storage.ts";
import { type Attributes, attributesOf, isPlain } from "./attributes.ts";

/** What a queue says of it. Times in microseconds. */
export interface RetryRules {
  /** 0: any number. */
  readonly maxAttempts: number;
  readonly expireTimeout: number;
  /** How long the first retry waits; 0 for not at all. */
  readonly retryDelay: number;
  /** By what each later wait is longer. */
  readonly retryFactor: number;
  readonly retryMaxDelay: number;
  /** What part of a wait is left to chance. */
  readonly retryJitter: number;
}

/** Draws a number from 0 to, not including, 1. */
export type Random = () => number;

const STEPS = 2 ** 32;

/** What nobody can foretell. */
export function draw(): number {
  return randomInt(STEPS) / STEPS;
}

type Own = Pick<Attributes, "retry" | "expireIn">;

const NOTHING_OWN: Own = { retry: undefined, expireIn: 0 };

// What an item says is meant for the queue that it was produced for: in a dead queue it is as the others.
function own(attributes: string): Own {
  if (isPlain(attributes)) return NOTHING_OWN;
  const all = attributesOf(attributes);
  const isDead = all.from !== undefined && all.redrive === "";
  return isDead ? NOTHING_OWN : all;
}

/** How often an item may be leased; 0 for any number. */
export function maxAttemptsOf(
  { attributes }: Pick<StoredItem, "attributes">,
  rules: Pick<RetryRules, "maxAttempts">,
): number {
  return own(attributes).retry?.maxAttempts ?? rules.maxAttempts;
}

/** Whether leases of some of these items count; of those that are not there they do not. */
export function countsAttempts(
  items: Iterable<Pick<StoredItem, "attributes"> | undefined>,
  rules: Pick<RetryRules, "maxAttempts">,
): boolean {
  if (rules.maxAttempts !== 0) return true;
  for (const item of items) if (item !== undefined && maxAttemptsOf(item, rules) !== 0) return true;
  return false;
}

/** How long an item with such attributes may live. */
export function lifetimeOf(
  attributes: string,
  { expireTimeout }: Pick<RetryRules, "expireTimeout">,
): number {
  return own(attributes).expireIn || expireTimeout;
}

/** How long an item waits for its next attempt; 0 for not at all. */
export function retryDelayOf(
  { attempts, attributes }: Pick<StoredItem, "attempts" | "attributes">,
  rules: RetryRules,
  random: Random,
): number {
  const { retry } = own(attributes);
  const delay = retry?.delay ?? rules.retryDelay;
  if (delay === 0) return 0;
  const factor = retry?.factor ?? rules.retryFactor;
  // Its own is not cut by what its queue said later.
  const longest = retry?.maxDelay ?? Math.max(rules.retryMaxDelay, retry?.delay ?? 0);
  const wait = Math.min(delay * factor ** Math.max(attempts - 1, 0), longest);
  const jitter = retry?.jitter ?? rules.retryJitter;
  return Math.round(wait * (1 - jitter * random()));
}

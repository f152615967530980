// What can happen in the simulated world, as plain data, and where random histories of it come
// from. A command names its targets by position - the third of the ids that are known now - so that
// a history still makes sense when commands are taken out of it to find the smallest one that fails.

import * as fc from "fast-check";
import { type Fault, METHODS, type Method } from "./fragile-storage.ts";

/** Which id a request names: of the leased ones that are known, of all that ever were, or nonsense. */
export interface IdPick {
  readonly from: "leased" | "known" | "nonsense";
  readonly index: number;
}

/** Seconds; every choice is one that a test of minutes can see the end of. */
export interface SettingsChoice {
  readonly lease: number;
  readonly expire: number;
  readonly maxAttempts: number;
  readonly partitions: number;
  readonly hasDeadQueue: boolean;
}

export type Action =
  /** `delays`: milliseconds until each item becomes leasable; 0 for at once. */
  | { readonly kind: "produce"; readonly queue: number; readonly delays: readonly number[] }
  /** `keys`: which unique key each item asks for. */
  | { readonly kind: "unique"; readonly queue: number; readonly keys: readonly number[] }
  | {
      readonly kind: "lease";
      readonly queue: number;
      readonly client: number;
      readonly batch: number;
      readonly timeout: number;
    }
  | { readonly kind: "complete"; readonly queue: number; readonly picks: readonly IdPick[] }
  /** `delay`: milliseconds until it comes back, 0 for at once, -1 for never: dead. */
  | {
      readonly kind: "retry";
      readonly queue: number;
      readonly picks: readonly (IdPick & { readonly delay: number })[];
    }
  | {
      readonly kind: "release";
      readonly queue: number;
      readonly picks: readonly (IdPick & { readonly delay: number })[];
    }
  /** `seconds`: how long each lease is to last from then on. */
  | {
      readonly kind: "extend";
      readonly queue: number;
      readonly picks: readonly (IdPick & { readonly seconds: number })[];
    }
  | { readonly kind: "disconnect"; readonly index: number }
  | {
      readonly kind: "clear";
      readonly queue: number;
      readonly items: boolean;
      readonly destructive: boolean;
      readonly scheduled: boolean;
    }
  | { readonly kind: "delete-items"; readonly queue: number; readonly picks: readonly IdPick[] }
  /** `sources`: which source id each item has, 0 for none. */
  | {
      readonly kind: "import";
      readonly queue: number;
      readonly sources: readonly number[];
      readonly leased: boolean;
    }
  | { readonly kind: "reload"; readonly queue: number }
  | { readonly kind: "update"; readonly queue: number; readonly settings: SettingsChoice }
  | { readonly kind: "delete"; readonly queue: number; readonly force: boolean }
  | { readonly kind: "create"; readonly queue: number; readonly settings: SettingsChoice }
  | { readonly kind: "advance"; readonly seconds: number }
  /** Somebody sets the wall clock, forwards or back. */
  | { readonly kind: "step"; readonly seconds: number }
  | {
      readonly kind: "fault";
      readonly storage: number;
      readonly method: Method;
      readonly fault: Fault;
    }
  | { readonly kind: "slow"; readonly storage: number; readonly turns: number }
  | { readonly kind: "heal" }
  /** The server dies after so many storage calls; 0: now. */
  | { readonly kind: "crash"; readonly calls: number; readonly applied: boolean }
  | { readonly kind: "restart"; readonly secondIsAway: boolean };

/** `together`: what comes next is sent before anything of this has happened. */
export type Command = Action & { readonly together: boolean };

/** The last one is the dead queue of the others. */
export const QUEUES = ["alpha", "beta", "gamma", "dead"] as const;
export const DEAD_QUEUE = QUEUES.length - 1;

/** All that items ask for. */
export const UNIQUE_KEYS = ["key 0", "key 1", "key 2"];

const queue = fc.nat(QUEUES.length - 1);
const index = fc.nat(30);

const pick: fc.Arbitrary<IdPick> = fc.record({
  from: fc.oneof(
    { weight: 12, arbitrary: fc.constant("leased" as const) },
    { weight: 2, arbitrary: fc.constant("known" as const) },
    { weight: 1, arbitrary: fc.constant("nonsense" as const) },
  ),
  index,
});

const picks = fc.array(pick, { minLength: 1, maxLength: 4 });
const delay = fc.constantFrom(0, 0, 0, 50, 1_000, 5_000, 60_000);

const settings: fc.Arbitrary<SettingsChoice> = fc.record({
  lease: fc.constantFrom(2, 10, 60),
  expire: fc.constantFrom(60, 120, 86_400),
  maxAttempts: fc.constantFrom(0, 0, 1, 2, 3),
  partitions: fc.constantFrom(1, 1, 2, 3),
  hasDeadQueue: fc.boolean(),
});

const kind = <K extends Action["kind"]>(name: K): fc.Arbitrary<K> => fc.constant(name);

const hot: readonly fc.WeightedArbitrary<Action>[] = [
  {
    weight: 14,
    arbitrary: fc.record({
      kind: kind("produce"),
      queue,
      delays: fc.array(delay, { minLength: 1, maxLength: 5 }),
    }),
  },
  {
    weight: 18,
    arbitrary: fc.record({
      kind: kind("lease"),
      queue,
      client: fc.nat(5),
      batch: fc.integer({ min: 1, max: 5 }),
      timeout: fc.constantFrom(1, 5, 60),
    }),
  },
  { weight: 12, arbitrary: fc.record({ kind: kind("complete"), queue, picks }) },
  {
    weight: 9,
    arbitrary: fc.record({
      kind: kind("retry"),
      queue,
      picks: fc.array(
        fc
          .tuple(pick, fc.constantFrom(0, 0, 50, 3_000, 20_000, 90_000, -1))
          .map(([which, later]) => ({ ...which, delay: later })),
        { minLength: 1, maxLength: 4 },
      ),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: kind("release"),
      queue,
      picks: fc.array(
        fc
          .tuple(pick, fc.constantFrom(0, 0, 50, 3_000, 90_000))
          .map(([which, later]) => ({ ...which, delay: later })),
        { minLength: 1, maxLength: 4 },
      ),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: kind("extend"),
      queue,
      picks: fc.array(
        fc
          .tuple(pick, fc.constantFrom(1, 5, 15, 15, 70))
          .map(([which, seconds]) => ({ ...which, seconds })),
        { minLength: 1, maxLength: 4 },
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: kind("disconnect"), index }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: kind("unique"),
      queue,
      keys: fc.array(fc.nat(UNIQUE_KEYS.length - 1), { minLength: 1, maxLength: 3 }),
    }),
  },
];

const cold: readonly fc.WeightedArbitrary<Action>[] = [
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind("clear"),
      queue,
      items: fc.boolean(),
      destructive: fc.boolean(),
      scheduled: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: kind("delete-items"), queue, picks }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind("import"),
      queue,
      sources: fc.array(fc.nat(3), { minLength: 1, maxLength: 4 }),
      leased: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: kind("reload"), queue }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("update"), queue, settings }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("delete"), queue, force: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: kind("create"), queue, settings }) },
];

const time: fc.WeightedArbitrary<Action> = {
  weight: 14,
  arbitrary: fc.record({
    kind: kind("advance"),
    seconds: fc.constantFrom(0.04, 1, 2, 3, 11, 61, 130),
  }),
};

// Odd, so that no two moments of a history have the same wall time by chance.
const step: fc.WeightedArbitrary<Action> = {
  weight: 2,
  arbitrary: fc.record({
    kind: kind("step"),
    seconds: fc.constantFrom(-61.713, -7.371, -0.037, 0.071, 7.137, 71.317),
  }),
};

const storage = fc.nat(1);

const trouble: readonly fc.WeightedArbitrary<Action>[] = [
  {
    weight: 4,
    arbitrary: fc.record({
      kind: kind("fault"),
      storage,
      method: fc.oneof(
        { weight: 5, arbitrary: fc.constant<Method>("commit") },
        { weight: 7, arbitrary: fc.constantFrom<Method[]>(...METHODS) },
      ),
      fault: fc.constantFrom<Fault[]>("fail", "lose", "hang", "hang-fail", "hang-lose"),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: kind("slow"), storage, turns: fc.nat(3) }) },
  { weight: 6, arbitrary: fc.record({ kind: kind("heal") }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: kind("crash"), calls: fc.nat(4), applied: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: kind("restart"), secondIsAway: fc.boolean() }) },
];

/** Histories of about so many commands; without trouble, storage never fails and nothing crashes. */
export function histories(length: number, hasTrouble: boolean): fc.Arbitrary<Command[]> {
  const action = fc.oneof(...hot, ...cold, time, step, ...(hasTrouble ? trouble : []));
  const command = fc
    .tuple(action, fc.constantFrom(true, true, false))
    .map(([each, together]): Command => ({ ...each, together }));
  return fc.array(command, { minLength: 1, maxLength: length, size: "max" });
}

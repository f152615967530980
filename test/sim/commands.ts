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
  /** What only /v2 can say; a queue is made or changed under /v1 without it. */
  readonly policy?: PolicyChoice | undefined;
}

/** Seconds, and 0 for none. */
export interface PolicyChoice {
  readonly retryDelay: number;
  readonly retryFactor: number;
  readonly retryMaxDelay: number;
  readonly onLeaseEnd: OnLeaseEnd;
  readonly keep: number;
  readonly keepMax: number;
}

export type OnLeaseEnd = "retry_now" | "retry_delayed" | "reject";

/** A unique key that an item asks for, and until when; `period` in seconds, in place of `until`. */
export interface KeyChoice {
  readonly key: number;
  readonly until: "pending" | "waiting" | "period";
  readonly period: number;
  readonly onDuplicate: "return" | "reject" | "replace" | "extend" | "keep_latest";
}

/** An item as only /v2 can produce it. 0 for what it does not say. */
export interface ItemChoice {
  /** Milliseconds. */
  readonly delay: number;
  readonly unique: KeyChoice | undefined;
  readonly maxAttempts: number;
  /** Seconds. */
  readonly expireIn: number;
  readonly retryDelay: number;
}

export type Action =
  /** `delays`: milliseconds until each item becomes leasable; 0 for at once. */
  | { readonly kind: "produce"; readonly queue: number; readonly delays: readonly number[] }
  | {
      readonly kind: "produce2";
      readonly queue: number;
      readonly items: readonly ItemChoice[];
      readonly allOrNone: boolean;
    }
  | {
      readonly kind: "lease";
      readonly queue: number;
      readonly client: number;
      readonly batch: number;
      readonly timeout: number;
    }
  /** `kinds`: which kinds are wanted, none for any. `seconds`: how long each lease is to last, 0 for as usual. */
  | {
      readonly kind: "lease2";
      readonly queue: number;
      readonly batch: number;
      readonly timeout: number;
      readonly kinds: readonly number[];
      readonly seconds: number;
    }
  | { readonly kind: "complete"; readonly queue: number; readonly picks: readonly IdPick[] }
  /** `follow`: for which queue something is produced with it; -1 for none. */
  | {
      readonly kind: "complete2";
      readonly queue: number;
      readonly picks: readonly IdPick[];
      readonly follow: number;
      readonly followers: number;
    }
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
  /** `delay`: as of a retry, but -1 for as the policy says. */
  | {
      readonly kind: "retry2";
      readonly queue: number;
      readonly picks: readonly (IdPick & { readonly delay: number })[];
    }
  | { readonly kind: "reject"; readonly queue: number; readonly picks: readonly IdPick[] }
  | { readonly kind: "cancel"; readonly queue: number; readonly pick: IdPick }
  /** `delay`: milliseconds until it is leasable, -1 for no change. `expireIn`: seconds, 0 for no change. */
  | {
      readonly kind: "change";
      readonly queue: number;
      readonly pick: IdPick;
      readonly delay: number;
      readonly expireIn: number;
    }
  /** `to`: -1 for each to where it came from. `limit`: 0 for all. */
  | { readonly kind: "redrive"; readonly to: number; readonly limit: number }
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

/** The kinds that items have, in turn. */
export const KINDS = ["k0", "k1", "k2"];

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
  policy: fc.option(
    fc.record({
      retryDelay: fc.constantFrom(0, 1, 4),
      retryFactor: fc.constantFrom(1, 2, 3),
      retryMaxDelay: fc.constantFrom(5, 20, 3_600),
      onLeaseEnd: fc.constantFrom<OnLeaseEnd[]>(
        "retry_now",
        "retry_delayed",
        "retry_delayed",
        "reject",
      ),
      keep: fc.constantFrom(0, 30, 100),
      keepMax: fc.constantFrom(2, 10_000, 10_000),
    }),
    { nil: undefined, freq: 2 },
  ),
});

const unique: fc.Arbitrary<KeyChoice> = fc
  .record({
    key: fc.nat(UNIQUE_KEYS.length - 1),
    until: fc.constantFrom<KeyChoice["until"][]>("pending", "pending", "waiting", "period"),
    period: fc.constantFrom(1, 10, 100),
    onDuplicate: fc.constantFrom<KeyChoice["onDuplicate"][]>(
      "return",
      "return",
      "reject",
      "replace",
      "extend",
      "keep_latest",
      "keep_latest",
    ),
  })
  .map((each) =>
    // Anything else is refused.
    each.onDuplicate === "keep_latest" ? { ...each, until: "pending" as const } : each,
  );

const item: fc.Arbitrary<ItemChoice> = fc
  .record({
    delay,
    unique: fc.option(unique, { nil: undefined, freq: 5 }),
    maxAttempts: fc.constantFrom(0, 0, 0, 1, 2),
    expireIn: fc.constantFrom(0, 0, 0, 70),
    retryDelay: fc.constantFrom(0, 0, 2, 7),
  })
  .map((each) => (each.unique?.onDuplicate === "keep_latest" ? { ...each, delay: 0 } : each));

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
    weight: 9,
    arbitrary: fc.record({
      kind: kind("produce2"),
      queue,
      items: fc.array(item, { minLength: 1, maxLength: 3 }),
      allOrNone: fc.constantFrom(false, false, false, true),
    }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      kind: kind("lease2"),
      queue,
      batch: fc.integer({ min: 1, max: 5 }),
      timeout: fc.constantFrom(1, 5, 60),
      kinds: fc.constantFrom<number[][]>([], [0], [1], [0, 2]),
      seconds: fc.constantFrom(0, 0, 3, 30),
    }),
  },
  {
    weight: 7,
    arbitrary: fc.record({
      kind: kind("complete2"),
      queue,
      picks,
      follow: fc.oneof(fc.constant(-1), queue),
      followers: fc.integer({ min: 1, max: 2 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: kind("retry2"),
      queue,
      picks: fc.array(
        fc
          .tuple(pick, fc.constantFrom(-1, -1, -1, 0, 3_000))
          .map(([which, later]) => ({ ...which, delay: later })),
        { minLength: 1, maxLength: 4 },
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: kind("reject"), queue, picks }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: kind("cancel"),
      queue,
      pick: fc.record({
        from: fc.constantFrom<IdPick["from"][]>("leased", "known", "known"),
        index,
      }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind("change"),
      queue,
      pick: fc.record({ from: fc.constant("known" as const), index }),
      delay: fc.constantFrom(-1, 0, 2_000, 60_000),
      expireIn: fc.constantFrom(0, 0, 80),
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
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind("redrive"),
      to: fc.constantFrom(-1, -1, -1, 0, 1, 2),
      limit: fc.constantFrom(0, 0, 1, 3),
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
    seconds: fc.constantFrom(0.04, 1, 2, 3, 5, 11, 61, 130),
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

// Histories that go straight to what random ones come to only now and then: one for each promise that is easily
// broken at a crash, or by the order of things.

import type { Action, Command, ItemChoice, KeyChoice, PolicyChoice } from "./commands.ts";

const together = (action: Action): Command => ({ ...action, together: true });
const then = (action: Action): Command => ({ ...action, together: false });
const leased = (index: number) => ({ from: "leased", index }) as const;
const known = (index: number) => ({ from: "known", index }) as const;
const alpha = 0;
const beta = 1;
const dead = 3;

const plain: ItemChoice = {
  delay: 0,
  unique: undefined,
  maxAttempts: 0,
  expireIn: 0,
  retryDelay: 0,
};
const key0: KeyChoice = { key: 0, until: "pending", period: 0, onDuplicate: "return" };
const produce = (...items: readonly Partial<ItemChoice>[]): Action => {
  const all = items.map((item) => ({ ...plain, ...item }));
  return { kind: "produce2", queue: alpha, items: all, allOrNone: false };
};
const lease = (batch = 1, kinds: readonly number[] = []) => {
  return { kind: "lease2" as const, queue: alpha, batch, timeout: 1, kinds, seconds: 0 };
};
const advance = (seconds: number): Action => ({ kind: "advance", seconds });
const retry = (delay: number): Action => {
  return { kind: "retry2", queue: alpha, picks: [{ ...leased(0), delay }] };
};
const restart: Action = { kind: "restart", secondIsAway: false };
const cancel: Action = { kind: "cancel", queue: alpha, pick: leased(0) };
const complete = (index: number, follow = -1) => {
  const picks = [leased(index)];
  return { kind: "complete2" as const, queue: alpha, picks, follow, followers: 2 };
};
const steady = { lease: 2, expire: 86_400, maxAttempts: 0, partitions: 1, hasDeadQueue: false };
const setUp = (policy: Partial<PolicyChoice>): Action => {
  const usual = { retryDelay: 0, retryFactor: 2, retryMaxDelay: 20, keep: 0, keepMax: 10_000 };
  const all: PolicyChoice = { ...usual, onLeaseEnd: "retry_now", ...policy };
  return { kind: "update", queue: alpha, settings: { ...steady, policy: all } };
};

/** By what they hold the server to. */
export const PROMISES: Readonly<Record<string, readonly Command[]>> = {
  "a key is free once its item is cancelled": [
    then(produce({ unique: key0 })),
    then({ kind: "cancel", queue: alpha, pick: known(0) }),
  ],
  "a key is taken for its time, whatever becomes of its item": [
    then(produce({ unique: { ...key0, until: "period", period: 10 } })),
    then(lease()),
    then(complete(0)),
    then(advance(5)),
    then(restart),
    then(advance(11)),
  ],
  "what waits behind an item gets its turn with the end of that, and not before": [
    then(produce({ unique: key0 })),
    then(lease()),
    then(produce({ unique: { ...key0, onDuplicate: "keep_latest" } })),
    then(retry(0)),
    then(lease()),
    then(restart),
    then(complete(0)),
  ],
  "what is cancelled while it is leased does not come back, also after a restart": [
    then(produce({})),
    then(lease()),
    then(cancel),
    then(restart),
    then(advance(61)),
  ],
  "what is cancelled while it is leased does not come back by a retry": [
    then(produce({})),
    then(lease()),
    then(cancel),
    then({ kind: "retry", queue: alpha, picks: [{ ...leased(0), delay: 0 }] }),
  ],
  "what has ended is kept for its time, also after a restart": [
    then(setUp({ keep: 30 })),
    then(produce({})),
    then(lease()),
    then(complete(0)),
    then(restart),
    then(advance(11)),
    then(advance(11)),
    then(advance(11)),
  ],
  "what follows a complete is there if that is done, and only then": [
    then({ kind: "update", queue: beta, settings: { ...steady, lease: 600 } }),
    then({ kind: "produce", queue: beta, delays: [0, 0, 0, 0] }),
    then({ ...lease(4), queue: beta }),
    // One of them lies in the same storage.
    ...[1, 2, 3].flatMap((calls) =>
      [alpha, dead].flatMap((target) => [
        together({ kind: "crash", calls, applied: true }),
        then({ ...complete(0, target), queue: beta }),
      ]),
    ),
  ],
  "a lease that ends by itself waits as the policy says": [
    then(setUp({ retryDelay: 4, onLeaseEnd: "retry_delayed" })),
    then(produce({})),
    then(lease()),
    then(advance(3)),
    then(advance(5)),
    then(lease()),
    then(advance(3)),
  ],
  "an item waits as it says itself": [
    then(produce({ retryDelay: 7 })),
    then(lease()),
    then(retry(-1)),
  ],
  "a lease of some kinds takes the first of them, and leaves the order of the others": [
    then(produce({}, {}, {}, {}, {}, {})),
    then(lease(1, [0])),
    then(lease(1, [1])),
    then(lease(6)),
  ],
  "a redrive moves, and does not copy": [
    then(produce({}, {})),
    then(lease(2)),
    then({ kind: "reject", queue: alpha, picks: [leased(0), leased(1)] }),
    then({ kind: "redrive", to: -1, limit: 0 }),
    then(lease(2)),
  ],
};

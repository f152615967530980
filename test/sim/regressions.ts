// Histories that once broke the server, each as small as it could be made: what the simulation has
// found stays found.

import type { Action, Command, KeyChoice } from "./commands.ts";

const together = (action: Action): Command => ({ ...action, together: true });
const then = (action: Action): Command => ({ ...action, together: false });
const leased = (index: number) => ({ from: "leased", index }) as const;
const alpha = 0;
const beta = 1;
const gamma = 2;
const dead = 3;

const produce = (queue: number, ...delays: number[]): Action => ({
  kind: "produce",
  queue,
  delays,
});
const produce2 = (queue: number, unique: KeyChoice): Action => ({
  kind: "produce2",
  queue,
  items: [{ delay: 0, unique, maxAttempts: 0, expireIn: 0, retryDelay: 0 }],
  allOrNone: false,
});
const advance = (seconds: number): Action => ({ kind: "advance", seconds });
const lease = (queue: number, client = 0, batch = 1): Action => ({
  kind: "lease",
  queue,
  client,
  batch,
  timeout: 1,
});

const policy = {
  retryDelay: 0,
  retryFactor: 2,
  retryMaxDelay: 20,
  onLeaseEnd: "retry_now" as const,
  keep: 30,
  keepMax: 10_000,
};
const keeping = { lease: 2, expire: 86_400, maxAttempts: 0, partitions: 1, hasDeadQueue: false };

/** By what went wrong. */
export const REGRESSIONS: Readonly<Record<string, readonly Command[]>> = {
  "an id given twice was called not leased, if it was imported as leased": [
    together({ kind: "import", queue: alpha, sources: [0], leased: true }),
    then(produce(alpha, 0)),
    then({ kind: "complete", queue: alpha, picks: [leased(0), leased(0)] }),
  ],
  "what was left of a deleted queue stayed in a storage that was away when the server started": [
    together({ kind: "delete", queue: beta, force: false }),
    together({ kind: "restart", secondIsAway: true }),
    together({ kind: "heal" }),
    then({ kind: "heal" }),
  ],
  "a queue that could not be created left a partition behind until the next start": [
    together({ kind: "delete", queue: dead, force: true }),
    together({ kind: "fault", storage: 1, method: "createPartitions", fault: "fail" }),
    then({
      kind: "create",
      queue: dead,
      settings: { lease: 2, expire: 60, maxAttempts: 0, partitions: 2, hasDeadQueue: false },
    }),
    then({ kind: "heal" }),
  ],
  "a queue whose creation had no answer left partitions behind until the next start": [
    together({ kind: "delete", queue: dead, force: true }),
    together({ kind: "fault", storage: 1, method: "createPartitions", fault: "lose" }),
    then({
      kind: "create",
      queue: dead,
      settings: { lease: 2, expire: 60, maxAttempts: 0, partitions: 2, hasDeadQueue: false },
    }),
    then({ kind: "heal" }),
  ],
  "an item never expired if another became due in the batch that added it": [
    then({
      kind: "update",
      queue: dead,
      settings: { lease: 2, expire: 60, maxAttempts: 0, partitions: 1, hasDeadQueue: false },
    }),
    together(produce(dead, 60_000)),
    together(advance(130)),
    then(produce(dead, 0)),
    then(advance(130)),
  ],
  "nothing scheduled became due after a scheduled item was deleted, until something else came": [
    then(produce(alpha, 1_000)),
    together({ kind: "delete-items", queue: alpha, picks: [{ from: "known", index: 0 }] }),
    together(produce(alpha, 60_000, 0)),
    then(advance(61)),
  ],
  "an item came to two queues if a redrive whose answer was lost was followed by one to elsewhere":
    [
      together(produce(dead, 0)),
      together(produce(dead, 5_000)),
      together({ kind: "redrive", to: gamma, limit: 0 }),
      together({ kind: "redrive", to: alpha, limit: 0 }),
      together({ kind: "fault", storage: 1, method: "commit", fault: "lose" }),
      then({ kind: "lease2", queue: alpha, batch: 2, timeout: 5, kinds: [0], seconds: 30 }),
    ],
  "an item was in two queues if its time came while a redrive whose answer was lost was to send it again":
    [
      together(produce(dead, 1_000, 0)),
      together({ kind: "redrive", to: gamma, limit: 0 }),
      together({ kind: "redrive", to: alpha, limit: 0 }),
      together({ kind: "fault", storage: 1, method: "commit", fault: "lose" }),
      then({ kind: "lease2", queue: alpha, batch: 1, timeout: 1, kinds: [], seconds: 0 }),
    ],
  "an item that was given up in the turn in which its last lease ended made the partition fail": [
    together(produce(beta, 0, 0)),
    together(lease(beta, 0)),
    then(lease(beta, 1)),
    together(advance(61)),
    then({
      kind: "retry",
      queue: beta,
      picks: [
        { ...leased(0), delay: -1 },
        { ...leased(1), delay: 0 },
      ],
    }),
  ],
  "a retry gave an item more leases than max_attempts": [
    together(produce(beta, 0)),
    then(lease(beta)),
    then({ kind: "retry", queue: beta, picks: [{ ...leased(0), delay: 0 }] }),
  ],
  "an import that was under way when the queue was closed was refused and done": [
    together({ kind: "fault", storage: 0, method: "commit", fault: "hang-lose" }),
    then({ kind: "import", queue: alpha, sources: [0], leased: false }),
    together({ kind: "restart", secondIsAway: false }),
  ],
  "a produce that waited when the queue was closed was refused and done": [
    together({ kind: "fault", storage: 0, method: "readScheduled", fault: "hang-lose" }),
    together({ kind: "reload", queue: gamma }),
    then(lease(alpha)),
    then(produce(gamma, 0)),
    together({ kind: "restart", secondIsAway: false }),
  ],
  "a produce was done twice if it came while dead letters were looked up": [
    together(lease(beta)),
    together({ kind: "fault", storage: 0, method: "findKeys", fault: "hang" }),
    together(produce(beta, 0)),
    together(advance(61)),
    then(lease(alpha)),
    together(produce(dead, 0)),
    together(advance(0.04)),
  ],
  "a lease was shorter than it should be if dead letters were looked up before it": [
    together(lease(beta)),
    together({ kind: "fault", storage: 0, method: "findKeys", fault: "hang" }),
    together(produce(beta, 0)),
    together(advance(61)),
    together(advance(0.04)),
    together(lease(dead)),
    together(advance(0.04)),
  ],
  "a lease got less than there was after a waiting item had been deleted": [
    then(produce(alpha, 0, 0)),
    then({ kind: "delete-items", queue: alpha, picks: [{ from: "known", index: 1 }] }),
    together(lease(alpha, 1, 3)),
    then(produce(alpha, 0)),
  ],
  "what was kept of an item went in place of what was kept no more, and not yet swept": [
    then({
      kind: "update",
      queue: alpha,
      settings: { ...keeping, policy: { ...policy, keepMax: 2 } },
    }),
    then(produce(alpha, 0, 0, 0)),
    then(lease(alpha, 0, 3)),
    then({ kind: "complete", queue: alpha, picks: [leased(1), leased(2)] }),
    then({ kind: "restart", secondIsAway: false }),
    then(advance(61)),
    then(lease(alpha)),
    then({ kind: "complete", queue: alpha, picks: [leased(0)] }),
  ],
  "a key was taken beyond its time by what had taken the place of one that waited behind another": [
    then(produce2(alpha, { key: 0, until: "pending", period: 1, onDuplicate: "return" })),
    then(lease(alpha)),
    then(produce2(alpha, { key: 0, until: "pending", period: 1, onDuplicate: "keep_latest" })),
    then(produce2(alpha, { key: 0, until: "period", period: 1, onDuplicate: "extend" })),
    then({ kind: "complete", queue: alpha, picks: [leased(0)] }),
    then(advance(2)),
  ],
  "the mark of a lease stayed if the server started again while it held only what was added with it":
    [
      then(produce(alpha, 0)),
      together(produce(alpha, 0)),
      then(lease(alpha, 1, 2)),
      then({ kind: "complete", queue: alpha, picks: [leased(0)] }),
      then({ kind: "restart", secondIsAway: false }),
    ],
};

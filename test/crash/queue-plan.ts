// The queues of a run: what each is made of, and how its producers and consumers behave. Between
// them they cover what an item can go through: batches and single items, several partitions, leases
// that end across restarts, retries, schedules, deaths with and without a dead queue, and expiry.

/** What a consumer does with items that it has leased. */
export type EndingKind =
  | "complete"
  /** Completes long after it leased, perhaps too late. */
  | "hold"
  /** Extends the lease, or shortens it, and completes about when it ends. */
  | "extend"
  | "retry"
  /** Gives back, to be leasable at a later time. */
  | "later"
  /** Declares dead. */
  | "dead"
  /** Does nothing, as a consumer that has died. */
  | "abandon";

export interface QueuePlan {
  readonly name: string;
  readonly partitions: number;
  readonly leaseMs: number;
  readonly expireMs: number;
  /** 0 for any number. */
  readonly maxAttempts: number;
  /** "" for none. */
  readonly deadQueue: string;
  readonly producers: number;
  readonly consumers: number;
  /** Items in a produce request, in a lease request; from and to. */
  readonly produceBatch: readonly [number, number];
  readonly leaseBatch: readonly [number, number];
  readonly payloadBytes: readonly [number, number];
  /** Share of items that are produced for a later time. */
  readonly scheduled: number;
  /** Items that wait at which producers pause. */
  readonly backlog: number;
  readonly endings: Readonly<Partial<Record<EndingKind, number>>>;
}

const USUAL = {
  partitions: 1,
  leaseMs: 2_000,
  expireMs: 3_600_000,
  maxAttempts: 0,
  deadQueue: "",
  producers: 2,
  consumers: 2,
  produceBatch: [1, 60],
  leaseBatch: [1, 60],
  payloadBytes: [10, 200],
  scheduled: 0,
  backlog: 3_000,
  endings: { complete: 1 },
} as const satisfies Omit<QueuePlan, "name">;

/** The queues of a run; a dead queue stands before those that name it. */
export const QUEUE_PLANS: readonly QueuePlan[] = [
  {
    ...USUAL,
    name: "graveyard",
    producers: 0,
    endings: { complete: 8, retry: 1, abandon: 1 },
  },
  {
    ...USUAL,
    name: "singles",
    producers: 4,
    consumers: 4,
    produceBatch: [1, 1],
    leaseBatch: [1, 1],
    endings: { complete: 18, retry: 1, abandon: 1 },
  },
  { ...USUAL, name: "batches", produceBatch: [50, 300], leaseBatch: [50, 300], backlog: 6_000 },
  {
    ...USUAL,
    name: "spread",
    partitions: 4,
    leaseMs: 1_000,
    endings: { complete: 8, hold: 1, extend: 2, retry: 2, later: 1, abandon: 1 },
  },
  {
    ...USUAL,
    name: "large",
    producers: 1,
    produceBatch: [1, 5],
    leaseBatch: [1, 10],
    payloadBytes: [5_000, 40_000],
    backlog: 100,
  },
  {
    ...USUAL,
    name: "later",
    produceBatch: [1, 20],
    scheduled: 0.5,
    endings: { complete: 4, later: 1, retry: 1 },
  },
  {
    ...USUAL,
    name: "mortal",
    partitions: 2,
    leaseMs: 1_000,
    maxAttempts: 2,
    deadQueue: "graveyard",
    produceBatch: [1, 20],
    backlog: 500,
    endings: { complete: 4, abandon: 2, retry: 2, dead: 1, hold: 1, extend: 1 },
  },
  {
    ...USUAL,
    name: "doomed",
    leaseMs: 1_000,
    maxAttempts: 2,
    produceBatch: [1, 20],
    backlog: 500,
    endings: { complete: 4, abandon: 2, retry: 2, dead: 1 },
  },
  {
    ...USUAL,
    name: "fading",
    leaseMs: 1_000,
    expireMs: 2_500,
    deadQueue: "graveyard",
    producers: 1,
    consumers: 1,
    produceBatch: [1, 20],
    leaseBatch: [1, 5],
    backlog: 500,
    endings: { complete: 4, abandon: 1 },
  },
];

/** The body of the request that makes a queue. */
export function createRequest(plan: QueuePlan): object {
  return {
    queue_name: plan.name,
    lease_timeout: `${plan.leaseMs}ms`,
    expire_timeout: `${plan.expireMs}ms`,
    requested_partitions: plan.partitions,
    max_attempts: plan.maxAttempts,
    dead_queue: plan.deadQueue,
  };
}

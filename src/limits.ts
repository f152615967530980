// What bounds the memory and the work of a server. Each limit has an answer of its own, given
// where it is checked. The names are the keys under `limits` in the configuration file.

export interface Limits {
  /** Items in one produce request. */
  readonly produceBatch: number;
  /** Items in one lease request. */
  readonly leaseBatch: number;
  /** Ids in one complete, items in one retry request. */
  readonly completeBatch: number;
  /** Bytes of the body of a produce request. */
  readonly produceBytes: number;
  /** Hot and cold requests in front of one queue's loop, waiting leases not counted. */
  readonly queuedRequests: number;
  /** Leases that wait for items, over all queues of the server. */
  readonly waitingLeases: number;
  /** Items of one partition that are leased at a time; beyond it leases wait. */
  readonly leasedItems: number;
  /** Bytes of records in one lease reply; at least one item is always given. */
  readonly leaseReplyBytes: number;
  /** Partitions that a queue may ask for. */
  readonly partitions: number;
  /** Leasable items of one partition that are held ready in memory. */
  readonly readyItems: number;
  /** Bytes of leasable items held ready in memory, over all queues of the server. */
  readonly readyBytes: number;
  /** Bytes of requests that are not answered and of large replies that are not taken, over all connections. */
  readonly requestBytes: number;
  /** Open connections; more are closed. */
  readonly connections: number;
}

export const DEFAULT_LIMITS: Limits = {
  produceBatch: 1_000,
  leaseBatch: 1_000,
  completeBatch: 1_000,
  produceBytes: 5_000_000,
  queuedRequests: 10_000,
  waitingLeases: 50_000,
  leasedItems: 1_000_000,
  leaseReplyBytes: 16 * 1024 * 1024,
  partitions: 1_024,
  readyItems: 10_000,
  readyBytes: 256 * 1024 * 1024,
  requestBytes: 256 * 1024 * 1024,
  connections: 65_536,
};

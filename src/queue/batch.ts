// Plans one batch of a queue: which partition each produce and each waiting lease gets, how items
// are dealt among leases, and which partition ends leases (what that does is in endings.ts). Pure and synchronous; the time is a
// parameter. One bad request never fails its neighbours: each carries its own error or result.

import { plainError, QueueError, queueError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import type { QueueRules } from "./context.ts";
import { COUNT } from "./counts.ts";
import type { Duplicates } from "./duplicates.ts";
import { completeItems, extendItems, killsAny, retryItems } from "./endings.ts";
import type { ForgetfulMap } from "./forgetful-map.ts";
import { DROPPED } from "./history.ts";
import { Item } from "./item.ts";
import type { Letter } from "./mailbox.ts";
import type { Partition } from "./partition.ts";
import { PartitionBatch } from "./partition-batch.ts";
import {
  type AnyHotRequest,
  type ByKind,
  type CompleteRequest,
  type ExtendRequest,
  KINDS,
  Kind,
  type LeaseRequest,
  type ProduceRequest,
  type RetryRequest,
} from "./requests.ts";

/** What the plan goes by. */
export interface BatchRules extends QueueRules {
  /** Bytes of records in one lease reply. */
  readonly leaseReplyBytes: number;
}

export class Batch {
  readonly now: number;
  readonly #rules: BatchRules;
  readonly #partitions: readonly Partition[];
  // Those that can be used, in the order in which they are chosen: produce takes the first, lease the last
  // healthy one. Kept from batch to batch, because ties keep the order they had.
  readonly #order: Partition[];
  readonly #parts = new Map<Partition, PartitionBatch>();
  /** Requests that no part serves, with their errors. */
  readonly refused: AnyHotRequest[] = [];
  /** Requests by whose items the dead queue gets some: they go another way, through `DeadLetters`. */
  readonly burials = new Map<Partition, RetryRequest[]>();

  constructor({
    partitions,
    order,
    rules,
    now,
  }: {
    readonly partitions: readonly Partition[];
    readonly order: Partition[];
    readonly rules: BatchRules;
    readonly now: number;
  }) {
    this.#partitions = partitions;
    this.#order = order;
    this.#rules = rules;
    this.now = now;
  }

  /**
   * Plans what was asked, kind by kind, and deals to the leases that wait. `duplicates` is needed where unique
   * keys are asked for.
   */
  plan(
    requests: ByKind,
    waiting: ForgetfulMap<string | number, LeaseRequest>,
    duplicates: Duplicates | undefined,
  ): void {
    for (const kind of KINDS) {
      switch (kind) {
        case Kind.produce:
          this.#produce(requests[kind], duplicates);
          break;
        case Kind.lease:
          if (waiting.size > 0) this.#lease(waiting.values());
          break;
        case Kind.complete:
          for (const request of requests[kind]) this.#complete(request);
          break;
        case Kind.retry:
          for (const request of requests[kind]) this.#retry(request);
          break;
        case Kind.extend:
          for (const request of requests[kind]) this.#extend(request);
          break;
        default:
          kind satisfies never;
      }
    }
  }

  /** The part of the batch that changes a partition. */
  part(partition: Partition): PartitionBatch {
    let part = this.#parts.get(partition);
    if (part === undefined) {
      part = new PartitionBatch(partition, this.now);
      this.#parts.set(partition, part);
    }
    return part;
  }

  /** All parts, changed or not. */
  get parts(): Iterable<PartitionBatch> {
    return this.#parts.values();
  }

  /** Adds copies of items of other queues to a partition. */
  takeIn(partition: Partition, letters: readonly Letter[]): void {
    const part = this.part(partition);
    part.touched = true; // the removal of the originals may hang on this commit
    for (const { attributes, record } of letters) {
      const item = new Item(record, 0);
      item.attributes = attributes;
      item.createdAt = this.now;
      item.expireAt = this.now + this.#rules.expireTimeout;
      part.add(item, COUNT.received);
    }
  }

  /** Gives each request whole to the healthy partition that holds the fewest items. */
  #produce(requests: readonly ProduceRequest[], duplicates: Duplicates | undefined): void {
    if (this.#order.length === 0) {
      for (const request of requests) this.#refuse(request, plainError("storage_unavailable"));
      return;
    }
    const loads = this.#sort((partition) => partition.unleased + partition.counters.scheduled);
    for (const request of requests) {
      if (request.unique !== undefined) {
        const planned = duplicates!.plan(this, request);
        if (planned instanceof QueueError) this.#refuse(request, planned);
        else if (planned === this.#order[0]) this.#settleFirst(loads, request.items.length);
        continue;
      }
      const part = this.part(this.#order[0]!);
      request.result = part.produce(request.items, this.expireAt);
      part.served.push(request);
      this.#settleFirst(loads, request.items.length);
    }
    duplicates?.finish(this);
  }

  /** The partition for what is new: the one that holds the fewest items, of those in a storage if one is given. */
  choose(storage?: Storage): Partition | undefined {
    if (storage === undefined) return this.#order[0];
    return this.#order.find((partition) => partition.storage === storage);
  }

  /** When what is added now expires. */
  get expireAt(): number {
    return this.now + this.#rules.expireTimeout;
  }

  /**
   * Gives each waiting lease, in order of arrival, the partition with the most leasable items,
   * then deals the items of each partition one at a time in turn. Leases that could get nothing
   * are not looked at, however many wait.
   */
  #lease(waiting: Iterable<LeaseRequest>): void {
    if (this.#order.length === 0) return;
    const loads = this.#sort(
      (partition) => partition.unleased + (this.#parts.get(partition)?.adds.length ?? 0),
    );
    const healthy = this.#order.findLastIndex((partition) => partition.failures === 0);
    const last = healthy === -1 ? this.#order.length - 1 : healthy;
    const assigned = new Map<PartitionBatch, LeaseRequest[]>();
    let useful = 0;
    for (let i = 0; i <= last; i++) useful += this.#available(this.#order[i]!);
    for (const request of waiting) {
      if (useful <= 0) break;
      const partition = this.#order[last]!;
      const part = this.part(partition);
      const requests = assigned.get(part);
      const count = requests?.length ?? 0;
      // Once a partition has a lease for each of its items, more leases would get nothing of it.
      if (count >= part.available && loads.get(partition)! <= 0) break;
      if (requests === undefined) assigned.set(part, [request]);
      else requests.push(request);
      if (count < part.available) useful--;
      loads.set(partition, Math.max(loads.get(partition)! - request.batchSize, 0));
      this.#settleLast(loads, last);
    }
    for (const [part, requests] of assigned) this.#deal(part, requests);
  }

  #available(partition: Partition): number {
    return (
      this.#parts.get(partition)?.available ?? Math.min(partition.readyCount, partition.leaseRoom)
    );
  }

  #deal(part: PartitionBatch, requests: readonly LeaseRequest[]): void {
    const deadline = this.now + this.#rules.leaseTimeout;
    let active = [...requests];
    while (active.length > 0 && part.available > 0) {
      const hungry: LeaseRequest[] = [];
      for (const request of active) {
        if (part.available <= 0) break;
        const { record } = part.peek();
        const bytes = request.bytes + record.size;
        if (request.items.length > 0 && bytes > this.#rules.leaseReplyBytes) continue;
        request.bytes = bytes;
        request.items.push(part.take(deadline));
        request.records.push(record);
        if (request.items.length < request.batchSize) hungry.push(request);
      }
      active = hungry;
    }
    for (const request of requests) {
      if (request.items.length === 0) continue;
      const { items, records } = request;
      const { number: partition, ids } = part.of;
      request.result = { partition, ids, deadline, items, records };
      part.served.push(request);
    }
  }

  #complete(request: CompleteRequest): void {
    const partition = this.#partitionOf(request);
    if (partition === undefined) return;
    const part = this.part(partition);
    part.served.push(request);
    completeItems(part, request);
  }

  /** Puts the items of a request back, at once or later; those that die are removed, if there is no dead queue. */
  #retry(request: RetryRequest): void {
    const partition = this.#partitionOf(request);
    if (partition === undefined) return;
    const how = { now: this.now, rules: this.#rules };
    if (this.#rules.deadQueue !== "" && killsAny(partition, request, how)) {
      const requests = this.burials.get(partition);
      if (requests === undefined) this.burials.set(partition, [request]);
      else requests.push(request);
      return;
    }
    const part = this.part(partition);
    part.served.push(request);
    for (const { item, reason } of retryItems(part, request, this.#rules)) {
      part.remove(item, DROPPED[reason]);
    }
  }

  /** Gives leases new deadlines: those that what was asked before it has left. */
  #extend(request: ExtendRequest): void {
    const partition = this.#partitionOf(request);
    if (partition === undefined) return;
    const part = this.part(partition);
    part.served.push(request);
    extendItems(part, request);
  }

  #partitionOf(request: CompleteRequest | RetryRequest | ExtendRequest): Partition | undefined {
    const partition = this.#partitions[request.partition]!;
    if (!partition.stale) return partition;
    this.#refuse(request, partitionFailing(partition));
    return undefined;
  }

  #refuse(request: AnyHotRequest, error: QueueError): void {
    request.error = error;
    this.refused.push(request);
  }

  // Puts the partitions into order for this batch and answers their loads.
  #sort(load: (partition: Partition) => number): Map<Partition, number> {
    const loads = new Map<Partition, number>();
    for (const partition of this.#order) loads.set(partition, load(partition));
    if (this.#order.length > 1) {
      this.#order.sort((a, b) => a.failures - b.failures || loads.get(a)! - loads.get(b)!);
    }
    return loads;
  }

  // The first partition has got more: it moves behind all that now hold less.
  #settleFirst(loads: Map<Partition, number>, items: number): void {
    const order = this.#order;
    const moved = order[0]!;
    const load = loads.get(moved)! + items;
    loads.set(moved, load);
    let index = 0;
    while (
      index + 1 < order.length &&
      order[index + 1]!.failures === moved.failures &&
      loads.get(order[index + 1]!)! < load
    ) {
      order[index] = order[index + 1]!;
      index++;
    }
    order[index] = moved;
  }

  // The last partition has given: it moves before all that now hold more.
  #settleLast(loads: Map<Partition, number>, last: number): void {
    const order = this.#order;
    const moved = order[last]!;
    const load = loads.get(moved)!;
    let index = last;
    while (
      index > 0 &&
      order[index - 1]!.failures === moved.failures &&
      loads.get(order[index - 1]!)! > load
    ) {
      order[index] = order[index - 1]!;
      index--;
    }
    order[index] = moved;
  }
}

/** What is answered for a partition that is to be read anew. */
export function partitionFailing({ number }: Partition): QueueError {
  return queueError("partition_failing", { partition: number });
}

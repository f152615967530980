// Plans one batch of a queue: which partition each produce and each waiting lease gets, how items
// are dealt among leases, and which partition ends leases (what that does is in endings.ts). Pure and synchronous; the time is a
// parameter. One bad request never fails its neighbours: each carries its own error or result.

import { plainError, QueueError, queueError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { attributesOf, withAttributes } from "./attributes.ts";
import type { QueueRules } from "./context.ts";
import { COUNT } from "./counts.ts";
import type { Duplicates } from "./duplicates.ts";
import { completeItems, type EndingRules, extendItems, killsAny, retryItems } from "./endings.ts";
import type { ForgetfulMap } from "./forgetful-map.ts";
import { buries, DROPPED } from "./history.ts";
import { Item } from "./item.ts";
import type { Records } from "./keeper.ts";
import type { Kinds } from "./kinds.ts";
import { isLater } from "./later.ts";
import type { Partition } from "./partition.ts";
import { PartitionBatch } from "./partition-batch.ts";
import { lifetimeOf } from "./policy.ts";
import { produce } from "./produced-items.ts";
import {
  type AnyHotRequest,
  type ByKind,
  type CompleteRequest,
  type ExtendRequest,
  KINDS,
  Kind,
  type Leased,
  type LeaseRequest,
  type ProduceRequest,
  type RetryRequest,
} from "./requests.ts";
import { roomFor } from "./room.ts";
import type { Accepted } from "./transfers.ts";

/** What the plan goes by. */
export interface BatchRules extends QueueRules, EndingRules {
  /** Bytes of records in one lease reply. */
  readonly leaseReplyBytes: number;
}

/** The leases that wait, in order of arrival, and how many of them are for some kinds only. */
interface Waiting {
  readonly waiting: ForgetfulMap<string | number, LeaseRequest>;
  readonly picky: number;
}

export class Batch {
  readonly now: number;
  readonly #begunAt: number;
  readonly #rules: BatchRules;
  readonly #partitions: readonly Partition[];
  // Those that can be used, in the order in which they are chosen: produce takes the first, lease the last
  // healthy one. Kept from batch to batch, because ties keep the order they had.
  readonly #order: Partition[];
  readonly #records: ReadonlyMap<Partition, Records> | undefined;
  readonly #parts = new Map<Partition, PartitionBatch>();
  /** Requests that no part serves, with their errors. */
  readonly refused: AnyHotRequest[] = [];
  /** Requests that take other queues as well, or look for keys: they go another way, through `JointCompletes`. */
  readonly joint: CompleteRequest[] = [];
  /** Whether windows are to be read on, for leases of some kinds that have found none in them. */
  wantsMore = false;
  /** Requests by whose items the dead queue gets some: they go another way, through `DeadLetters`. */
  readonly burials = new Map<Partition, RetryRequest[]>();

  constructor({
    partitions,
    order,
    rules,
    now,
    begunAt = 0,
    records,
  }: {
    readonly partitions: readonly Partition[];
    readonly order: Partition[];
    readonly rules: BatchRules;
    readonly now: number;
    /** When the turn has begun, in steady time. */
    readonly begunAt?: number;
    /** Of what may end, where it is kept how that ends. */
    readonly records: ReadonlyMap<Partition, Records> | undefined;
  }) {
    this.#partitions = partitions;
    this.#order = order;
    this.#rules = rules;
    this.now = now;
    this.#begunAt = begunAt;
    this.#records = records;
  }

  /**
   * Plans what was asked, kind by kind, and deals to the leases that wait. `duplicates` is needed where unique
   * keys are asked for.
   */
  plan(requests: ByKind, leases: Waiting, duplicates: Duplicates | undefined): void {
    for (const kind of KINDS) {
      switch (kind) {
        case Kind.produce:
          this.#produce(requests[kind], duplicates);
          break;
        case Kind.lease:
          if (leases.waiting.size > 0) this.#lease(leases);
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
      part.records = this.#records?.get(partition);
      this.#parts.set(partition, part);
    }
    return part;
  }

  /** All parts, changed or not. */
  get parts(): Iterable<PartitionBatch> {
    return this.#parts.values();
  }

  /** Adds copies of items of other queues to a partition, and what is to be written down of them. */
  takeIn(partition: Partition, { letters, entries }: Accepted): void {
    const part = this.part(partition);
    part.touched = true; // the removal of the originals may hang on this commit
    for (const entry of entries) {
      if (entry.until === 0) part.put(entry);
      else part.keep(entry);
    }
    for (const { attributes, record } of letters) {
      const { bound } = attributesOf(attributes);
      // What was produced for this queue has its time to come.
      const item = new Item(
        record,
        bound !== undefined && isLater(bound.at, this.now) ? bound.at : 0,
      );
      item.attributes =
        bound === undefined ? attributes : withAttributes(attributes, { bound: undefined });
      item.createdAt = this.now;
      item.expireAt = this.now + lifetimeOf(attributes, this.#rules);
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
      const full = roomFor(this.#order[0]!, request.items);
      if (full !== undefined) {
        this.#refuse(request, full);
        continue;
      }
      const part = this.part(this.#order[0]!);
      request.result = produce(part, request.items, this.rules);
      part.requests.push(request);
      this.#settleFirst(loads, request.items.length);
    }
    duplicates?.finish(this);
  }

  /** The partition for what is new: the one that holds the fewest items, of those in a storage if one is given. */
  choose(storage?: Storage): Partition | undefined {
    if (storage === undefined) return this.#order[0];
    return this.#order.find((partition) => partition.storage === storage);
  }

  /** What the plan goes by. */
  get rules(): BatchRules {
    return this.#rules;
  }

  // Leases of some kinds pick theirs before those that came after the first that takes whatever there is, and
  // after all others: so neither keeps the other waiting for ever.
  #lease({ waiting, picky }: Waiting): void {
    if (picky === 0) {
      this.#leaseAny(waiting.values());
      return;
    }
    this.#sort((partition) => partition.unleased);
    const any: LeaseRequest[] = [];
    const late: LeaseRequest[] = [];
    for (const request of waiting.values()) {
      if (request.kinds === undefined) any.push(request);
      else if (any.length > 0) late.push(request);
      else {
        this.#pick(request, request.kinds);
        if (request.items.length === 0) this.#spareFor(request.kinds);
      }
    }
    this.#leaseAny(any);
    for (const request of late) this.#pick(request, request.kinds!);
  }

  // Of the healthy partition that has the most to lease among those in whose windows there is some of it.
  #pick(request: LeaseRequest, kinds: Kinds): void {
    for (const partition of this.#order.toReversed()) {
      if (partition.failures > 0) continue;
      if (partition.readyCount > 0) this.#pickFrom(this.part(partition), request, kinds);
      if (request.items.length > 0) return;
      if (!partition.mayReadOn) continue;
      partition.wantsMore = true;
      this.wantsMore = true;
    }
  }

  // What is only just added is in no window yet: it waits for those that have waited longest for it.
  #spareFor(kinds: Kinds): void {
    for (const part of this.#parts.values()) {
      if (part.adds.some(({ record }) => kinds.has(record.text))) part.spareAdded();
    }
  }

  #pickFrom(part: PartitionBatch, request: LeaseRequest, kinds: Kinds): void {
    const { of: partition } = part;
    const { window } = partition;
    const looked = request.lookedTo?.get(partition);
    const from = looked?.window === window ? partition.readyIndexAfter(looked.seq) : 0;
    const deadline = this.now + (request.leaseTimeout || this.#rules.leaseTimeout);
    for (let i = from; i < partition.readyCount && part.available > 0; i++) {
      const item = partition.readyAt(i);
      const { record } = item;
      if (!kinds.has(record.text)) continue;
      if (part.isTaken(i)) continue;
      if (request.isFullBy(record.size, this.#rules.leaseReplyBytes)) break;
      part.pick(item, deadline);
      request.deal(item, record);
      if (request.items.length === request.batchSize) break;
    }
    if (request.items.length > 0) serve(part, request, { deadline, waitedUntil: this.#begunAt });
    else if (part.available > 0) {
      // What was dealt to others comes back if the commit fails, but in a window that is begun anew.
      request.lookedTo ??= new Map();
      const { seq } = partition.readyAt(partition.readyCount - 1);
      request.lookedTo.set(partition, { window, seq });
    }
  }

  /**
   * Gives each waiting lease, in order of arrival, the partition with the most leasable items,
   * then deals the items of each partition one at a time in turn. Leases that could get nothing
   * are not looked at, however many wait.
   */
  #leaseAny(waiting: Iterable<LeaseRequest>): void {
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
    const { leaseTimeout } = requests[0]!;
    if (requests.every((request) => request.leaseTimeout === leaseTimeout)) {
      this.#dealInTurn(part, requests, leaseTimeout);
      return;
    }
    // What has one deadline lies together: so it is settled before how much each is to get.
    const shares = sharesOf(requests, part.available);
    for (const [timeout, alike] of Map.groupBy(requests, (request) => request.leaseTimeout)) {
      this.#dealInTurn(part, alike, timeout, shares);
    }
  }

  // One item at a time, round-robin, until nothing is left or each has its share.
  #dealInTurn(
    part: PartitionBatch,
    requests: readonly LeaseRequest[],
    leaseTimeout: number,
    shares?: ReadonlyMap<LeaseRequest, number>,
  ): void {
    const deadline = this.now + (leaseTimeout || this.#rules.leaseTimeout);
    let active: readonly LeaseRequest[] = requests;
    if (shares !== undefined) active = requests.filter((request) => shares.get(request)! > 0);
    while (active.length > 0 && part.available > 0) {
      const hungry: LeaseRequest[] = [];
      for (const request of active) {
        if (part.available <= 0) break;
        const { record } = part.peek();
        if (request.isFullBy(record.size, this.#rules.leaseReplyBytes)) continue;
        request.deal(part.take(deadline), record);
        const share = shares?.get(request) ?? request.batchSize;
        if (request.items.length < share) hungry.push(request);
      }
      active = hungry;
    }
    for (const request of requests)
      if (request.items.length > 0) serve(part, request, { deadline, waitedUntil: this.#begunAt });
  }

  #complete(request: CompleteRequest): void {
    const partition = this.#partitionOf(request);
    if (partition === undefined) return;
    if (request.isJoint) {
      this.joint.push(request);
      return;
    }
    const part = this.part(partition);
    part.requests.push(request);
    completeItems(part, request, this.#rules);
  }

  /** Puts the items of a request back, at once or later; those that die are removed, if there is no dead queue. */
  #retry(request: RetryRequest): void {
    const partition = this.#partitionOf(request);
    if (partition === undefined) return;
    const how = { now: this.now, rules: this.#rules };
    if (buries(this.#rules) && killsAny(partition, request, how)) {
      const requests = this.burials.get(partition);
      if (requests === undefined) this.burials.set(partition, [request]);
      else requests.push(request);
      return;
    }
    const part = this.part(partition);
    part.requests.push(request);
    for (const { item, reason, attributes } of retryItems(part, request, this.#rules)) {
      // With the error that its consumer has said just now, for those who wait for it.
      const as = attributes === item.attributes ? item : { ...item, attributes };
      part.remove(item, DROPPED[reason], "", as);
    }
  }

  /** Gives leases new deadlines: those that what was asked before it has left. */
  #extend(request: ExtendRequest): void {
    const partition = this.#partitionOf(request);
    if (partition === undefined) return;
    const part = this.part(partition);
    part.requests.push(request);
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

function serve(
  part: PartitionBatch,
  request: LeaseRequest,
  { deadline, waitedUntil }: Pick<Leased, "deadline" | "waitedUntil">,
): void {
  const { items, records } = request;
  const { number: partition, ids } = part.of;
  request.result = { partition, ids, deadline, items, records, waitedUntil };
  part.requests.push(request);
}

// How many of so many items each request gets, if they are dealt one at a time.
function sharesOf(
  requests: readonly LeaseRequest[],
  available: number,
): ReadonlyMap<LeaseRequest, number> {
  const shares = new Map(requests.map((request): [LeaseRequest, number] => [request, 0]));
  let left = available;
  for (let active = requests; active.length > 0 && left > 0; ) {
    const served = active.slice(0, left);
    for (const request of served) shares.set(request, shares.get(request)! + 1);
    left -= served.length;
    active = active.filter((request) => shares.get(request)! < request.batchSize);
  }
  return shares;
}

/** What is answered for a partition that is to be read anew. */
export function partitionFailing({ number }: Partition): QueueError {
  return queueError("partition_failing", { partition: number });
}

// What has been asked of a queue and is not answered yet. Requests wait here until a turn takes them,
// leases until there are items for them. The mailbox bounds what waits, knows all deadlines, and is the
// only place where a hot request is answered. Except for leases it makes no difference between the kinds
// of requests. Synchronous; changed only by the loop of its queue.

import { plainError, type QueueError, retryLater } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Account } from "../quotas.ts";
import type { ItemRecord } from "../storage/storage.ts";
import type { Intake } from "./context.ts";
import { ForgetfulMap } from "./forgetful-map.ts";
import type { Partition } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import {
  type AnyHotRequest,
  type ByKind,
  type HotRequest,
  KINDS,
  Kind,
  LeaseRequest,
} from "./requests.ts";

/** A copy of an item on its way into another queue. */
export interface Letter {
  /** Of the copy: its source, by which a second delivery is recognised, and the id of its original. */
  readonly attributes: string;
  readonly record: ItemRecord;
}

/** Letters from one partition, and whoever waits to hear what became of them. */
export interface Delivery {
  readonly letters: readonly Letter[];
  /** The batch that removes the originals, if it can be committed together with the copies. */
  readonly companion: PartitionBatch | undefined;
  /** The steady time at which it is refused if no turn has taken it. */
  readonly deadline: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Another queue that waits for this one to stand still. */
export interface Visit {
  readonly by: Intake;
  /** Whether it does nothing else until then. */
  readonly isWaiting: boolean;
  /** The steady time at which it is refused if no turn has let it in. */
  readonly deadline: number;
  /** Lets it in. */
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  /** Resolves once it has gone. */
  readonly left: Promise<void>;
}

/** The other queue has not taken the letters, and never will: nothing has happened. */
export class NotDelivered extends Error {
  constructor() {
    super("dead queue is busy, try again");
  }
}

/** What an operator asks for: done step by step, with other requests in between. */
export interface Operation {
  /** The partitions that must work for it to be done. */
  readonly partitions: readonly Partition[];
  /** One bounded step; true if it was the last. */
  step(): Promise<boolean>;
  fail(error: QueueError): void;
}

/** What a turn takes: everything but leases and operations. */
export interface Taken {
  readonly requests: ByKind;
  readonly deliveries: readonly Delivery[];
  /** How many of the requests have an idempotency key. */
  readonly named: number;
  /** How many of them ask for unique keys. */
  readonly unique: number;
  /** How many requests and deliveries these are. */
  readonly count: number;
}

export class Mailbox {
  /** Leases that wait, in order of arrival: by client id, shared ones by a number. */
  readonly waiting = new ForgetfulMap<string | number, LeaseRequest>();
  readonly operations: Operation[] = [];
  /** Sum of the batch sizes in `waiting`. */
  demand = 0;
  /** How many of them are for items of some kinds only. */
  picky = 0;
  /** No deadline of anything unanswered is earlier; in steady time, as all deadlines here. */
  earliest = Number.POSITIVE_INFINITY;
  // What the next turn takes; leases are in `waiting`.
  #requests = emptyLists();
  #deliveries: Delivery[] = [];
  // In order, what waits for another queue to stand still: more than one turn, mostly.
  #putOff: AnyHotRequest[] = [];
  #visits: Visit[] = [];
  #named = 0;
  #unique = 0;
  // What the turn under way has taken.
  #taken: Taken | undefined;
  // Whether a step of the first operation is under way.
  #stepping = false;
  // The number of the last shared lease.
  #shared = 0;
  #unanswered = 0;
  // Set once the queue is closed: the answer to everything that still comes.
  #closed: QueueError | undefined;
  readonly #limits: Limits;
  // Counts the leases that wait in all queues of the server.
  readonly #allWaiting: { leases: number };
  // Told of each lease that waits no more.
  readonly #onLeft: (lease: LeaseRequest, given: number) => void;
  // Counts the leases that wait in all queues of the namespace.
  readonly #account: Account | undefined;

  constructor(
    limits: Limits,
    allWaiting: { leases: number },
    onLeft: (lease: LeaseRequest, given: number) => void = () => undefined,
    account?: Account,
  ) {
    this.#limits = limits;
    this.#allWaiting = allWaiting;
    this.#onLeft = onLeft;
    this.#account = account;
  }

  /** Takes a request in; one that it refuses is answered at once, and false is returned. */
  add(request: AnyHotRequest): boolean {
    const refused = this.#refusal(request);
    if (refused !== undefined) {
      request.fail(refused);
      return false;
    }
    if (request.kind === Kind.lease) {
      if (request.isShared) request.waitsAs = ++this.#shared;
      this.waiting.add(request.waitsAs, request);
      this.demand += request.batchSize;
      if (request.kinds !== undefined) this.picky++;
      this.#allWaiting.leases++;
    } else {
      this.#push(request);
    }
    this.#unanswered++;
    this.#noteDeadline(request.deadline);
    return true;
  }

  #refusal(request: AnyHotRequest): QueueError | undefined {
    if (this.#closed !== undefined) return this.#closed;
    if (this.#isFull) return plainError("overloaded");
    if (request.kind !== Kind.lease) return undefined;
    if (!request.isShared && this.waiting.has(request.clientId)) {
      return plainError("duplicate_client");
    }
    const full = this.#allWaiting.leases >= this.#limits.waitingLeases;
    return full ? plainError("overloaded") : this.#account?.take("waitingLeases", 1);
  }

  addOperation(operation: Operation): boolean {
    const closed = this.#closed === undefined ? undefined : midway(this.#closed);
    const refused = closed ?? (this.#isFull ? plainError("overloaded") : undefined);
    if (refused === undefined) this.operations.push(operation);
    else operation.fail(refused);
    return refused === undefined;
  }

  /** The operation that is to do a step now; the step is under way until `endStep`. */
  beginStep(): Operation | undefined {
    this.#stepping = this.operations.length > 0;
    return this.operations[0];
  }

  endStep(isDone: boolean): void {
    this.#stepping = false;
    if (isDone) this.operations.shift();
    else if (this.#closed !== undefined) this.operations.shift()?.fail(midway(this.#closed));
  }

  addDelivery(delivery: Delivery): boolean {
    if (this.#closed !== undefined) {
      delivery.reject(new NotDelivered());
      return false;
    }
    this.#deliveries.push(delivery);
    this.#noteDeadline(delivery.deadline);
    return true;
  }

  addVisit(visit: Visit): boolean {
    if (this.#closed !== undefined) {
      visit.reject(new NotDelivered());
      return false;
    }
    this.#visits.push(visit);
    this.#noteDeadline(visit.deadline);
    return true;
  }

  /** How many wait to be let in. */
  get visitors(): number {
    return this.#visits.length;
  }

  /** The one that has waited longest of those that can be let in; it waits no more. */
  nextVisit(canEnter: (visit: Visit) => boolean): Visit | undefined {
    const index = this.#visits.findIndex(canEnter);
    return index === -1 ? undefined : this.#visits.splice(index, 1)[0];
  }

  get #isFull(): boolean {
    // Mostly nothing has to be counted, for no more is queued than is unanswered.
    if (this.#unanswered + this.operations.length < this.#limits.queuedRequests) return false;
    return this.#queued + this.operations.length >= this.#limits.queuedRequests;
  }

  get #queued(): number {
    let count = this.#putOff.length;
    for (const list of this.#requests) count += list.length;
    return count;
  }

  /** Whether somebody waits who would take an item with this text. */
  isWanted(text: string): boolean {
    if (this.waiting.size > this.picky) return true;
    for (const { kinds } of this.waiting.values()) if (kinds?.has(text) !== false) return true;
    return false;
  }

  /** What waits, for statistics; all that ends or extends leases counts as `complete`. */
  get counts(): { produce: number; lease: number; complete: number; inFlight: number } {
    const produce = this.#requests[Kind.produce].length;
    return {
      produce,
      lease: this.waiting.size,
      complete: this.#queued - produce,
      inFlight: this.#unanswered,
    };
  }

  /** Gives a request that a turn has taken to the next turn; if the queue is closed, it is answered. */
  defer(request: AnyHotRequest): void {
    if (this.#closed !== undefined) {
      this.answer(request, this.#closed);
      return;
    }
    this.#push(request);
  }

  /** Has a request that a turn has taken wait for a turn that takes what was put off, unless its time has passed. */
  putOff(request: AnyHotRequest): void {
    if (request.settled) return;
    if (this.#closed === undefined) this.#putOff.push(request);
    else this.answer(request, this.#closed);
  }

  #push(request: AnyHotRequest): void {
    const list: AnyHotRequest[] = this.#requests[request.kind];
    list.push(request);
    if (request.repeat !== undefined) this.#named++;
    if (request.kind === Kind.produce && request.unique !== undefined) this.#unique++;
  }

  /** Hands everything but leases and operations to a turn; what was put off, before all others, if that is asked. */
  take(withPutOff: boolean): Taken {
    if (withPutOff && this.#putOff.length > 0) {
      const later = this.#requests;
      this.#requests = emptyLists();
      for (const request of this.#putOff.splice(0)) {
        if (request.repeat !== undefined) this.#named++;
        const list: AnyHotRequest[] = this.#requests[request.kind];
        list.push(request);
      }
      for (const [kind, list] of later.entries()) {
        const all: AnyHotRequest[] = this.#requests[kind]!;
        for (const request of list) all.push(request);
      }
    }
    // What arrives from now on goes into new lists, so that no request is in two turns.
    this.#taken = {
      requests: this.#requests,
      named: this.#named,
      unique: this.#unique,
      deliveries: this.#deliveries,
      count: this.#queued + this.#deliveries.length,
    };
    this.#named = 0;
    this.#unique = 0;
    this.#requests = emptyLists();
    this.#deliveries = [];
    return this.#taken;
  }

  /** The turn has ended. After an error all that it has left unanswered is answered with it. */
  endTurn(error: QueueError | undefined): void {
    if (error !== undefined) {
      for (const request of this.#inTurn()) this.answer(request, error);
    }
    this.#taken = undefined;
  }

  /** Answers a request, with an error or with what was planned. Only the first answer counts. */
  answer(request: HotRequest<unknown>, error: QueueError | undefined): void {
    if (request.settled) return;
    this.#unanswered--;
    if (request instanceof LeaseRequest) {
      this.waiting.delete(request.waitsAs);
      this.demand -= request.batchSize;
      if (request.kinds !== undefined) this.picky--;
      this.#allWaiting.leases--;
      this.#account?.add("waitingLeases", -1);
      this.#onLeft(request, error === undefined ? request.items.length : 0);
    }
    if (error === undefined) request.settle();
    else request.fail(error);
  }

  /**
   * Answers the requests whose time has passed. Those that a turn has taken may still be executed, and
   * their answer says so.
   */
  sweep(steady: number): void {
    this.earliest = Number.POSITIVE_INFINITY;
    const over = ({ deadline }: { readonly deadline: number }): boolean => {
      if (deadline > steady) this.#noteDeadline(deadline);
      return deadline <= steady;
    };
    for (const request of this.#inTurn()) {
      if (!request.settled && over(request)) {
        this.answer(request, plainError("outcome_unknown"));
      }
    }
    for (const request of this.#waitingRequests()) {
      if (!over(request)) continue;
      this.answer(request, overdue(request));
    }
    for (const request of this.#putOff) if (over(request)) this.answer(request, busyFor(request));
    const waits = ({ settled }: AnyHotRequest): boolean => !settled;
    this.#putOff = this.#putOff.filter(waits);
    this.#requests = this.#requests.map((list) => list.filter(waits)) as ByKind;
    const stays = (each: Delivery | Visit): boolean => {
      if (!over(each)) return true;
      each.reject(new NotDelivered());
      return false;
    };
    this.#deliveries = this.#deliveries.filter(stays);
    this.#visits = this.#visits.filter(stays);
  }

  /** From now on refuses everything, and answers what no turn has taken, or dealt items to. */
  close(error: QueueError): void {
    this.#closed = error;
    for (const request of [...this.#waitingRequests()]) {
      if (!(request instanceof LeaseRequest && request.isDealt)) this.answer(request, error);
    }
    for (const request of this.#putOff.splice(0)) this.answer(request, error);
    // A turn that is still under way must not execute what has just been refused.
    this.#requests = emptyLists();
    for (const delivery of this.#deliveries.splice(0)) delivery.reject(new NotDelivered());
    for (const visit of this.#visits.splice(0)) visit.reject(new NotDelivered());
    for (const operation of this.operations.splice(this.#stepping ? 1 : 0)) {
      operation.fail(midway(error));
    }
  }

  *#waitingRequests(): Iterable<HotRequest<unknown>> {
    for (const list of this.#requests) yield* list;
    yield* this.waiting.values();
  }

  *#inTurn(): Iterable<HotRequest<unknown>> {
    for (const list of this.#taken?.requests ?? []) yield* list;
  }

  #noteDeadline(deadline: number): void {
    this.earliest = Math.min(this.earliest, deadline);
  }
}

function emptyLists(): ByKind {
  return KINDS.map(() => []) as unknown as ByKind;
}

// The error for an operation, of which a part may have been done already: `standby` says that nothing was.
function midway(error: QueueError): QueueError {
  return error.code === "standby" ? plainError("taken_over") : error;
}

// What has waited in vain for another queue: the dead queue, or those that a complete produces for.
function busyFor({ kind }: AnyHotRequest): QueueError {
  if (kind === Kind.retry) return retryLater(new NotDelivered().message);
  return retryLater("the other queue is busy, try again");
}

// A lease to which the turn under way has dealt items may still get them.
function overdue(request: HotRequest<unknown>): QueueError {
  if (!(request instanceof LeaseRequest)) return plainError("timed_out");
  return plainError(request.isDealt ? "outcome_unknown" : "no_items");
}

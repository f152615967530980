// Completes that produce items for other queues in the same transaction, or items with unique keys. The loops of
// those queues are asked to stand still, each at the end of a turn of its own; then all is planned at one moment and
// committed as one, so everything must lie in one storage. If one of them is busy they are put off until it stands
// still for them (errands.ts); what is for several waits for the others then, unless it would wait for itself. What is for a queue that another thread
// serves is written down here, in the same transaction, and goes there from here; see bound-items.ts.

import { invalidField, QueueError, queueError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { Batch, partitionFailing } from "./batch.ts";
import type { Intake, Lent, QueueContext, Still } from "./context.ts";
import { comingOf, type Decided, type Duplicates, firstRefused, keyTaken } from "./duplicates.ts";
import { claimCompleted, removeCompleted, unclaimAll } from "./endings.ts";
import type { Errands } from "./errands.ts";
import type { Item } from "./item.ts";
import { type EndedRecords, recordsOf } from "./keeper.ts";
import { idOf } from "./keys.ts";
import { type Mailbox, NotDelivered } from "./mailbox.ts";
import type { Partition } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import { produce, produceFor } from "./produced-items.ts";
import type { CompleteRequest, Followers, Produced } from "./requests.ts";
import { endingIn, newIn, roomForAll } from "./room.ts";
import { leadsBack } from "./transfers.ts";

/** The queue whose items are completed. */
interface Own extends Still, EndedRecords {
  readonly loop: Intake;
}

/** What is planned for one of the queues. */
interface Side {
  readonly of: Still;
  readonly batch: Batch;
  /** Who has the keys that are asked for; undefined if none is. */
  readonly duplicates: Duplicates | undefined;
}

/** Items of a request for one queue: with what was decided of their keys, if they ask for some. */
interface Follower {
  readonly side: Side;
  readonly home: Partition;
  readonly items: readonly Item[];
  readonly decided: Decided | undefined;
  /** The queue to which they go from there; "" if that is their place. */
  readonly to: string;
}

interface Planned {
  readonly request: CompleteRequest;
  readonly part: PartitionBatch;
  readonly ending: readonly (Item | undefined)[];
  readonly followers: readonly Follower[];
}

/** One that wants a key that is taken, perhaps by what another is planned to produce. */
class Taken {
  readonly #followers: Followers;
  readonly #decided: Decided;

  constructor(followers: Followers, decided: Decided) {
    this.#followers = followers;
    this.#decided = decided;
  }

  /** Once everything is planned: before, what is to be produced has no id. */
  get error(): QueueError {
    const { key, id, index } = firstRefused(this.#decided)!;
    const [, own] = INDEX.exec(id) ?? [];
    const holder = own === undefined ? id : pathOf(this.#followers, Number(own));
    return keyTaken(key, holder, `${pathOf(this.#followers, index)}.unique_key`);
  }
}

// How one of the same request is named that has no id.
const INDEX = /^items\[(\d+)\]$/;

/** Why a queue cannot stand still for a request. */
type Refusal = (request: CompleteRequest) => QueueError;

/** What is put off, until a queue stands still. */
class PutOff {
  readonly to: Intake;

  constructor(to: Intake) {
    this.to = to;
  }
}

export class JointCompletes {
  readonly #context: QueueContext;
  readonly #mailbox: Mailbox;
  readonly #errands: Errands;
  /** The queue that it waits for. */
  waitsFor: Intake | undefined;

  constructor(context: QueueContext, mailbox: Mailbox, errands: Errands) {
    this.#context = context;
    this.#mailbox = mailbox;
    this.#errands = errands;
  }

  /**
   * Does what requests ask, together those for the same queues. A queue that was too busy for some is not waited for
   * again: the others for it are put off as well.
   */
  async completeAll(requests: readonly CompleteRequest[], own: Own): Promise<void> {
    const busy = new Set<Intake>();
    for (const group of Map.groupBy(requests, (request) => togetherOf(request, own)).values()) {
      const open = group.filter(({ settled }) => !settled);
      if (open.length === 0) continue;
      const lent = new Map<string, Lent>();
      const borrowed: Lent[] = [];
      try {
        const refused = await this.#borrow(open[0]!, { own, busy, lent, borrowed });
        if (refused === undefined) {
          await this.#complete(open, own, lent);
        } else if (refused instanceof PutOff) {
          for (const request of open) this.#mailbox.putOff(request);
          this.#errands.ask(refused.to);
        } else {
          for (const request of open) this.#mailbox.answer(request, refused(request));
        }
      } catch (error) {
        // A defect: what was planned of the others is read anew as well.
        for (const { partitions, commits } of lent.values()) {
          for (const partition of partitions) commits.distrust(partition, error);
        }
        throw error;
      } finally {
        for (const each of borrowed) each.giveBack();
      }
    }
  }

  // Has the queues of a request, and of those like it, stand still; else answers why it cannot be.
  async #borrow(
    { followers, partition }: CompleteRequest,
    {
      own,
      busy,
      lent,
      borrowed,
    }: {
      readonly own: Own;
      readonly busy: Set<Intake>;
      readonly lent: Map<string, Lent>;
      readonly borrowed: Lent[];
    },
  ): Promise<Refusal | PutOff | undefined> {
    const { storage } = own.partitions[partition]!;
    const missing = new Map<string, Intake>();
    for (const { queue } of followers!) {
      if (queue === "") continue;
      const to = this.#context.findIntake(queue);
      if (to === undefined) return (request) => notFound(followersFor(queue, request));
      if (isApart(to, storage)) continue;
      if (to.lend === undefined) return (request) => notTogether(followersFor(queue, request));
      const here = this.#errands.here(to);
      if (here === undefined) missing.set(queue, to);
      else lent.set(queue, here);
    }
    // Once the one that was too busy has come, the others are waited for: or they would miss each other for ever.
    const mayWait = lent.size > 0;
    for (const to of missing.values()) {
      if (busy.has(to) || !(mayWait || to.isIdle === true)) return new PutOff(to);
    }
    for (const [queue, to] of missing) {
      if (leadsBack(to, own.loop)) return new PutOff(to);
      this.waitsFor = to;
      try {
        const each = await to.lend!(own.loop, { isWaiting: true });
        borrowed.push(each);
        lent.set(queue, each);
      } catch (error) {
        if (!(error instanceof NotDelivered)) throw error;
        busy.add(to);
        return new PutOff(to);
      } finally {
        this.waitsFor = undefined;
      }
    }
    return undefined;
  }

  // Everything stands still: plans it, commits it and answers.
  async #complete(
    open: readonly CompleteRequest[],
    own: Own,
    lent: ReadonlyMap<string, Lent>,
  ): Promise<void> {
    // Whose time has passed until now asks for nothing; the others are done, also if it does from now on.
    const requests = open.filter(({ settled }) => !settled);
    const lookUp = async (queue: string, of: Still): Promise<[Still, Duplicates | undefined]> => {
      const wanted = requests.flatMap(({ followers }) =>
        followers!
          .filter((each) => each.queue === queue && each.unique !== undefined)
          .map((each) => ({ ...each, settled: false, together: "listed" as const })),
      );
      if (wanted.length === 0) return [of, undefined];
      return [of, await of.keyHolders.lookUp(wanted, of.partitions)];
    };
    const found = new Map<string, [Still, Duplicates | undefined]>();
    for (const [queue, of] of [["", own] as const, ...lent]) {
      found.set(queue, await lookUp(queue, of));
    }
    const records = await recordsOf(own, own.partitions);
    // From here to the commit nothing waits.
    const now = this.#context.clock.now();
    const sides = new Map<string, Side>();
    for (const [queue, [of, duplicates]] of found) {
      const { random, limits } = this.#context;
      const { leaseReplyBytes } = limits;
      const batch = new Batch({
        partitions: of.partitions,
        order: [],
        rules: { ...of.rules, leaseReplyBytes, random },
        now,
        records: queue === "" ? records : undefined,
      });
      sides.set(queue, { of, batch, duplicates });
    }
    const planned: Planned[] = [];
    const refused = new Map<CompleteRequest, Taken>();
    const ending = new Set<string>();
    for (const request of requests) {
      const plan = this.#plan(request, sides, ending);
      if (plan instanceof QueueError) this.#mailbox.answer(request, plan);
      else if (plan instanceof Taken) refused.set(request, plan);
      else if (plan === undefined) this.#mailbox.answer(request, undefined);
      else planned.push(plan);
    }
    write(planned);
    for (const [request, { error }] of refused) {
      request.error = error;
      if (planned.length === 0) this.#mailbox.answer(request, error);
      // The key is taken only if what takes it is committed.
      else planned[0]!.part.requests.push(request);
    }
    await this.#commit([...sides.values()]);
  }

  // Decides of one request, by what was decided before; undefined if its leases are refused. What it ends is claimed.
  #plan(
    request: CompleteRequest,
    sides: ReadonlyMap<string, Side>,
    ending: Set<string>,
  ): Planned | Taken | QueueError | undefined {
    const { of, batch } = sides.get("")!;
    const partition = of.partitions[request.partition]!;
    if (partition.stale) return partitionFailing(partition);
    const part = batch.part(partition);
    const items = claimCompleted(part, request);
    if (items.length === 0) return request.error;
    const ids = items.flatMap((item) => (item === undefined ? [] : idOf(partition.ids, item)));
    for (const id of ids) ending.add(id);
    const refuse = <T>(why: T): T => {
      unclaimAll(part, items);
      for (const id of ids) ending.delete(id);
      return why;
    };
    const followers: Follower[] = [];
    for (const each of request.followers!) {
      const follower = this.#follow(each, { partition, sides, ending });
      if (follower instanceof QueueError || follower instanceof Taken) return refuse(follower);
      followers.push(follower);
    }
    const coming = followers.flatMap(({ home, items: own, decided }) =>
      decided === undefined ? newIn(home, own) : comingOf(decided),
    );
    const full = roomForAll(coming, endingIn(partition, items));
    if (full !== undefined) return refuse(full);
    for (const { side, decided } of followers) {
      if (decided !== undefined) side.duplicates!.take(decided, batch.now);
    }
    return { request, part, ending: items, followers };
  }

  // Where the items for a queue are to go.
  #follow(
    followers: Followers,
    {
      partition,
      sides,
      ending,
    }: {
      readonly partition: Partition;
      readonly sides: ReadonlyMap<string, Side>;
      readonly ending: ReadonlySet<string>;
    },
  ): Follower | Taken | QueueError {
    const side = sides.get(followers.queue);
    if (side === undefined) return sendLater(sides.get("")!, partition, followers);
    const { queue } = followers;
    const home = queue === "" ? partition : homeIn(side.of, partition.storage, followers);
    return home instanceof QueueError ? home : decide(side, home, followers, ending);
  }

  // One transaction for each storage: those of different ones have nothing to do with each other.
  async #commit(sides: readonly Side[]): Promise<void> {
    const storages = new Map<Storage, Map<Side, PartitionBatch[]>>();
    for (const side of sides) {
      for (const part of side.batch.parts) {
        if (!part.touched) continue;
        part.finish();
        const { storage } = part.of;
        const parts = storages.get(storage) ?? new Map<Side, PartitionBatch[]>();
        storages.set(storage, parts);
        parts.set(side, [...(parts.get(side) ?? []), part]);
      }
    }
    const commits = Array.from(storages, async ([storage, parts]) => {
      try {
        await this.#context.turns.committer(storage).commit([...parts.values()].flat());
      } catch (error) {
        for (const [{ of }, some] of parts) of.commits.failed(some, error);
        return;
      }
      for (const [{ of }, some] of parts) await of.commits.succeeded(some);
    });
    await Promise.all(commits);
  }
}

// By what is the same of requests that can be done together: what they change.
function togetherOf({ followers, partition }: CompleteRequest, { partitions }: Own): string {
  const queues = followers!.map(({ queue }) => queue).toSorted();
  return [partitions[partition]!.storage.name, ...queues].join(" ");
}

// Whether a queue lies in the same place as a storage, but not in it: it is served by another thread, or was before
// there were fewer.
function isApart(to: Intake, storage: Storage): boolean {
  if (to.storage === undefined) return true;
  return to.storage !== storage && storage.isDurable && to.storage.location === storage.location;
}

// Whether they have keys can only be told where they go.
function sendLater(side: Side, home: Partition, followers: Followers): Follower | QueueError {
  const { items, unique, queue: to } = followers;
  const index = unique?.findIndex((wish) => wish !== undefined) ?? -1;
  if (index === -1) return { side, home, items, decided: undefined, to };
  const field = `${pathOf(followers, index)}.unique_key`;
  const text = `'${to}' is served by another thread, where a key cannot be taken in the same transaction`;
  return invalidField(field, `${field} is invalid; ${text}`);
}

function decide(
  side: Side,
  home: Partition,
  followers: Followers,
  ending: ReadonlySet<string>,
): Follower | Taken | QueueError {
  const { items, unique, queue } = followers;
  if (unique === undefined) return { side, home, items, decided: undefined, to: "" };
  const wanted = { items, unique, together: "listed" as const, settled: false };
  const joint = { home, ending: queue === "" ? ending : NONE_ENDING };
  const decided = side.duplicates!.decide(side.batch, wanted, joint);
  if (decided instanceof QueueError) return atItem(decided, followers);
  if (firstRefused(decided) !== undefined) return new Taken(followers, decided);
  return { side, home, items, decided, to: "" };
}

const NONE_ENDING: ReadonlySet<string> = new Set();

// Plans all that was decided. What waits behind what ends gets its turn with that: so it must be there before. What is
// to have the key of what ends must come after.
function write(planned: readonly Planned[]): void {
  for (const { followers } of planned) {
    for (const { side, decided } of followers) {
      if (decided !== undefined) side.duplicates!.placeBehind(side.batch, decided);
    }
  }
  for (const { request, part, ending } of planned) removeCompleted(part, request, ending);
  for (const { request, part, followers } of planned) {
    const produced = followers.map(({ side, home, items, decided, to }): Produced => {
      if (decided !== undefined) return side.duplicates!.settle(side.batch, decided);
      const there = side.batch.part(home);
      if (to !== "") return produceFor(to, there, items, side.batch.rules);
      return produce(there, items, side.batch.rules);
    });
    request.result = { ...request.result, produced };
    part.requests.push(request);
  }
}

// The partition of another queue that takes what follows: of those in the storage the one with the fewest items.
function homeIn(
  { partitions }: Still,
  storage: Storage,
  followers: Followers,
): Partition | QueueError {
  const near = partitions.filter((partition) => partition.storage === storage);
  if (near.length === 0) return notTogether(followers);
  const load = ({ unleased, counters }: Partition): number => unleased + counters.scheduled;
  let home: Partition | undefined;
  for (const partition of near) {
    if (partition.stale) continue;
    if (home === undefined || load(partition) < load(home)) home = partition;
  }
  return home ?? partitionFailing(near[0]!);
}

// Where an item stands in the call.
function pathOf({ entries }: Followers, index: number): string {
  let left = index;
  for (const { index: entry, count } of entries) {
    if (left < count) return `produce[${entry}].items[${left}]`;
    left -= count;
  }
  throw new Error(`there is no item ${index}`);
}

// An error that names one of the items, as the call knows it.
function atItem(error: QueueError, followers: Followers): QueueError {
  const [own, index] = /^items\[(\d+)\]/.exec(error.field ?? "") ?? [];
  if (own === undefined) return error;
  const path = pathOf(followers, Number(index));
  return invalidField(error.field!.replace(own, path), error.message.replace(own, path));
}

function followersFor(queue: string, { followers }: CompleteRequest): Followers {
  return followers!.find((each) => each.queue === queue)!;
}

function queueField({ entries }: Followers): string {
  return `produce[${entries[0]!.index}].queue_name`;
}

function notFound(followers: Followers): QueueError {
  const { kind, message, code, details } = queueError("queue_not_found", {
    queue_name: followers.queue,
  });
  return new QueueError(kind, message, { code, details, field: queueField(followers) });
}

function notTogether(followers: Followers): QueueError {
  const field = queueField(followers);
  const text = `'${followers.queue}' lies in another storage, so that it cannot be one transaction`;
  return invalidField(field, `${field} is invalid; ${text}`);
}

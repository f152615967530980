// Idempotency: requests with an Idempotency-Key, which may be sent again without being done again. The answer is
// kept under the key in the commit that does what was asked, so that whoever sends the same once more, after
// a crash as well, gets the same answer. A request without a key pays nothing for any of this.

import { MINUTE } from "../clock.ts";
import { type QueueError, queueError } from "../errors.ts";
import type { KeyEntry } from "../storage/storage.ts";
import { partitionFailing } from "./batch.ts";
import type { Commits } from "./commits.ts";
import type { QueueContext } from "./context.ts";
import { entryOfRepeat, type Repeat, resultOfRepeat } from "./idempotency.ts";
import { KEY } from "./keys.ts";
import type { Mailbox } from "./mailbox.ts";
import type { Partition } from "./partition.ts";
import { PartitionBatch } from "./partition-batch.ts";
import { type AnyHotRequest, type ByKind, KINDS, Kind } from "./requests.ts";

// So many keys that have ended are removed at a time, and that often they are looked for.
const STEP = 1_000;
const SWEEP_INTERVAL = MINUTE;

// A request with an idempotency key.
type Named = AnyHotRequest & { readonly repeat: Repeat };

export class IdempotentRequests {
  readonly #context: QueueContext;
  readonly #mailbox: Mailbox;
  readonly #commits: Commits;
  // The keys of what is done in several steps.
  readonly #underWay = new Set<string>();

  constructor(context: QueueContext, mailbox: Mailbox, commits: Commits) {
    this.#context = context;
    this.#mailbox = mailbox;
    this.#commits = commits;
  }

  /**
   * Takes requests that have been done before out of a turn, and answers them; also those of which nobody can
   * tell whether they have. Of several with the same new key the first stays, and the others wait for the next
   * turn. Answers whether any do.
   */
  async answer(requests: ByKind, partitions: readonly Partition[]): Promise<boolean> {
    const named: Named[] = [];
    for (const kind of KINDS) {
      for (const request of requests[kind]) {
        if (isNamed(request) && !request.settled) named.push(request);
      }
    }
    const keys = [...new Set(named.map(({ repeat }) => repeat.key))];
    const found = new Map<Partition, ReadonlyMap<string, KeyEntry> | undefined>();
    // They may all have been answered since they came.
    if (keys.length > 0) {
      const finding = partitions.map((partition) => this.#find(partition, keys));
      for (const [i, entries] of (await Promise.all(finding)).entries()) {
        found.set(partitions[i]!, entries);
      }
    }
    const now = this.#context.clock.now();
    const staying = new Set<string>();
    const later = new Set<AnyHotRequest>();
    for (const request of named) {
      const { key } = request.repeat;
      if (this.#underWay.has(key)) {
        this.#mailbox.answer(request, queueError("request_in_progress", { key }));
        continue;
      }
      this.#answer(request, found, now);
      if (request.settled) continue;
      if (staying.has(key)) later.add(request);
      else staying.add(key);
    }
    for (const request of later) this.#mailbox.defer(request);
    const isLeft = (request: AnyHotRequest): boolean => !request.settled && !later.has(request);
    for (const kind of KINDS) {
      const list: AnyHotRequest[] = requests[kind];
      list.splice(0, list.length, ...list.filter(isLeft));
    }
    return later.size > 0;
  }

  async #find(
    partition: Partition,
    keys: readonly string[],
  ): Promise<ReadonlyMap<string, KeyEntry> | undefined> {
    if (partition.stale) return undefined;
    try {
      return await partition.storage.findKeys(partition.key, KEY.idempotency, keys);
    } catch (error) {
      this.#commits.distrust(partition, error);
      return undefined;
    }
  }

  #answer(
    request: Named,
    found: ReadonlyMap<Partition, ReadonlyMap<string, KeyEntry> | undefined>,
    now: number,
  ): void {
    for (const [partition, entries] of found) {
      const mayBeDone = mayBeDoneIn(request, partition);
      if (entries === undefined) {
        // It cannot have been done there; at worst it goes unnoticed that the key was used for something else.
        if (!mayBeDone) continue;
        this.#mailbox.answer(request, partitionFailing(partition));
        return;
      }
      try {
        const result = resultOfRepeat(request.repeat, entries.get(request.repeat.key), now);
        // Leases of other partitions may be ended by the same call.
        if (result === undefined || !mayBeDone) continue;
        request.result = result as never;
        this.#mailbox.answer(request, undefined);
      } catch (error) {
        this.#mailbox.answer(request, error as QueueError);
      }
      return;
    }
  }

  /**
   * Begins what an operator asks for under a key, which may have been used in any partition. Answers what it
   * was answered before; if it is new, it is under way until `forget`.
   */
  async recall(partitions: readonly Partition[], repeat: Repeat): Promise<string | undefined> {
    const { key } = repeat;
    if (this.#underWay.has(key)) throw queueError("request_in_progress", { key });
    for (const partition of partitions) {
      if (partition.stale) continue;
      const entries = await partition.storage.findKeys(partition.key, KEY.idempotency, [key]);
      const answer = resultOfRepeat(repeat, entries.get(key), this.#context.clock.now());
      if (answer !== undefined) return answer as string;
    }
    this.#underWay.add(key);
    return undefined;
  }

  /** Keeps what an operator was answered; it is under way until `forget`. */
  async remember(partition: Partition, repeat: Repeat, answer: string): Promise<void> {
    const now = this.#context.clock.now();
    const part = new PartitionBatch(partition, now);
    part.keep(entryOfRepeat(repeat, answer, now));
    await this.#commits.commitAlone(part);
  }

  /** How many are under way that are done in several steps. */
  get underWay(): number {
    return this.#underWay.size;
  }

  /** It is under way no more. */
  forget({ key }: Repeat): void {
    this.#underWay.delete(key);
  }

  /** Removes keys that have ended; false if there were none. */
  async sweep(partition: Partition, now: number): Promise<boolean> {
    let due: readonly KeyEntry[];
    try {
      due = await partition.storage.readKeysDue(partition.key, STEP);
    } catch (error) {
      this.#commits.distrust(partition, error);
      return false;
    }
    const ended = due.filter(({ until }) => until <= now);
    const next = due[ended.length]?.until;
    if (next !== undefined) partition.keysEndAt = Math.max(next, now + SWEEP_INTERVAL);
    else partition.keysEndAt = ended.length === STEP ? now : Number.POSITIVE_INFINITY;
    if (ended.length === 0) return false;
    const part = new PartitionBatch(partition, now);
    part.forget(ended);
    await this.#commits.commit([part]);
    return true;
  }
}

function isNamed(request: AnyHotRequest): request is Named {
  return request.repeat !== undefined;
}

// A produce or a lease may have been done in any partition; all else says in which.
function mayBeDoneIn(request: Named, partition: Partition): boolean {
  if (request.kind === Kind.produce || request.kind === Kind.lease) return true;
  return request.partition === partition.number;
}

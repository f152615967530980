// What clients do to the items that they hold: which of the leases that a request names it may end or
// extend, why not the others, and what becomes of the items. Pure and synchronous, as the batch is that calls it.
// One lease is ended once, and only by its own id: what comes back later does so under another number.

import { QueueError, queueError } from "../errors.ts";
import type { DropReason } from "../storage/storage.ts";
import { type ItemError, withAttributes } from "./attributes.ts";
import type { QueueRules } from "./context.ts";
import { COUNT } from "./counts.ts";
import { HEARD } from "./heard.ts";
import { CANCELLED, COMPLETED } from "./history.ts";
import { idError } from "./ids.ts";
import type { Item } from "./item.ts";
import { idOf } from "./keys.ts";
import { isLater } from "./later.ts";
import { diesOf } from "./lifecycle.ts";
import type { Partition } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import { maxAttemptsOf, type Random, type RetryRules, retryDelayOf } from "./policy.ts";
import { produce } from "./produced-items.ts";
import {
  BY_POLICY,
  type CompleteRequest,
  EXTENSION_MAX,
  EXTENSION_MIN,
  type ExtendRequest,
  NO_OUTCOMES,
  type Refused,
  type RetryItem,
  type RetryRequest,
} from "./requests.ts";
import { endingIn, newIn, roomForAll } from "./room.ts";

/** What the queue says of retries, and what is left to chance. */
export interface EndingRules extends RetryRules {
  readonly random: Random;
}

type EndingRequest = CompleteRequest | RetryRequest;

/** A claimed item that does not come back, why, and its attributes with what its consumer has said of it. */
export interface Died {
  readonly item: Item;
  readonly reason: DropReason;
  readonly attributes: string;
}

/** Removes the items of a request, and adds what follows them in the same partition. */
export function completeItems(
  part: PartitionBatch,
  request: CompleteRequest,
  rules: Pick<QueueRules, "expireTimeout">,
): void {
  const items = claimCompleted(part, request);
  const { followers } = request;
  if (followers !== undefined && !hasRoom(part, request, items)) return;
  removeCompleted(part, request, items);
  if (followers === undefined || items.length === 0) return;
  const produced = followers.map((each) => produce(part, each.items, rules));
  request.result = { ...request.result, produced };
}

// Whether there is room for what follows; else nothing is done, and the request says why.
function hasRoom(
  part: PartitionBatch,
  request: CompleteRequest,
  ending: readonly (Item | undefined)[],
): boolean {
  if (ending.length === 0) return true;
  const coming = request.followers!.map(({ items }) => newIn(part.of, items));
  request.error = roomForAll(coming, endingIn(part.of, ending));
  if (request.error === undefined) return true;
  unclaimAll(part, ending);
  return false;
}

/** Nothing becomes of claimed items after all. */
export function unclaimAll(part: PartitionBatch, items: readonly (Item | undefined)[]): void {
  for (const each of items) if (each !== undefined) part.unclaim(each);
}

/**
 * The items of a request, claimed for `removeCompleted`, or for `PartitionBatch.unclaim`; none if nothing is done, and
 * then the request says why.
 */
export function claimCompleted(
  part: PartitionBatch,
  request: CompleteRequest,
): readonly (Item | undefined)[] {
  return claim(part, request, request.ids, "completed");
}

export function removeCompleted(
  part: PartitionBatch,
  { results }: CompleteRequest,
  items: readonly (Item | undefined)[],
): void {
  for (let i = 0; i < items.length; i++) {
    const item = items[i];
    if (item === undefined) continue;
    if (isCancelled(item)) part.remove(item, CANCELLED);
    else {
      part.ran.push(item);
      part.remove(item, COMPLETED, results?.[i]);
    }
  }
}

/**
 * Does to the items of a request what it asks. Answers those that die, because it says so or because
 * their lease has been the last: they are claimed, and still to be ended.
 */
export function retryItems(
  part: PartitionBatch,
  request: RetryRequest,
  rules: EndingRules,
): readonly Died[] {
  const ids = request.items.map((item) => item.id);
  const items = claim(part, request, ids, request.verb);
  const died: Died[] = [];
  const dead: number[] = [];
  for (const [i, item] of items.entries()) {
    if (item === undefined) continue;
    if (isCancelled(item)) {
      part.remove(item, CANCELLED);
      continue;
    }
    const each = request.items[i]!;
    const reason = diesOfRetry(item, each, request, { now: part.now, rules });
    if (request.verb !== "released" || reason !== undefined) part.ran.push(item);
    // As before a lease that does not count.
    const attempts = request.verb === "released" ? Math.max(item.attempts - 1, 0) : item.attempts;
    const attributes = withError(item, each.error);
    if (reason !== undefined) {
      died.push({ item, reason, attributes });
      dead.push(i);
      continue;
    }
    part.tally(request.verb === "released" ? COUNT.released : COUNT.retried);
    const retryAt =
      each.retryAt === BY_POLICY
        ? part.now + retryDelayOf(item, rules, rules.random)
        : each.retryAt;
    if (isLater(retryAt, part.now)) part.schedule(item, retryAt, { attempts, attributes });
    else part.requeue(item, { attempts, attributes });
    part.heard?.note(request.verb === "released" ? HEARD.released : HEARD.retried, {
      seq: item.seq,
      attempts,
      attributes,
    });
  }
  if (dead.length > 0) request.result = { dead, refused: request.result.refused };
  return died;
}

/** Gives the leases of a request new deadlines, from now on. */
export function extendItems(part: PartitionBatch, request: ExtendRequest): void {
  const { items, together } = request;
  const found = items.map(({ id }) => part.extendable(part.of.ids.seq(id)));
  const refused: Refused[] = [];
  for (const [index, { id }] of items.entries()) {
    const item = found[index];
    if (item !== undefined && !isCancelled(item)) continue;
    const error = item === undefined ? refusalOf(part.of, id, "extended") : cancelled(part, item);
    refused.push({ index, error });
    found[index] = undefined;
  }
  if (together === "listed" && refused.length > 0) {
    request.result = { deadlines: [], refused };
    return;
  }
  const deadlines = found.map((item, i) => {
    if (item === undefined) return 0;
    const { for: time, progress = "" } = items[i]!;
    if (progress !== "") part.noteProgress(item, progress);
    // Progress alone leaves the end as it is.
    if (time === 0) return part.deadlineOf(item);
    const deadline = part.now + Math.min(Math.max(time, EXTENSION_MIN), EXTENSION_MAX);
    part.extend(item, deadline);
    return deadline;
  });
  request.result = { deadlines, refused };
}

/** Whether some item of a request dies of it. */
export function killsAny(
  partition: Partition,
  request: RetryRequest,
  how: { readonly now: number; readonly rules: RetryRules },
): boolean {
  return request.items.some((each) => {
    const item = partition.leased.get(partition.ids.seq(each.id));
    if (item !== undefined && isCancelled(item)) return false;
    if (each.dead) return true;
    return item !== undefined && diesOfRetry(item, each, request, how) !== undefined;
  });
}

function withError({ attributes }: Item, error: ItemError | undefined): string {
  return error === undefined ? attributes : withAttributes(attributes, { error });
}

// A time that is accepted is kept, also by an item that has expired in the meantime; one that the policy has
// found was asked for by nobody. What does not count as an attempt cannot have been the last one.
function diesOfRetry(
  item: Item,
  { retryAt, dead }: RetryItem,
  { verb }: RetryRequest,
  { now, rules }: { readonly now: number; readonly rules: RetryRules },
): DropReason | undefined {
  if (dead) return "rejected";
  const reason = diesOf(item, verb === "released" ? 0 : maxAttemptsOf(item, rules), now);
  return reason === "expired" && isLater(retryAt, now) ? undefined : reason;
}

type Verb = "completed" | RetryRequest["verb"];

const NOTHING: readonly undefined[] = [];

// Whether it is to end with this lease, whatever its holder asks.
function isCancelled({ note }: Item): boolean {
  return note?.cancelled === true;
}

function cancelled(part: PartitionBatch, item: Item): QueueError {
  return queueError("item_cancelled", { id: idOf(part.of.ids, item) });
}

// Claims the items that the ids name. Where something is done, it answers an item for each id, or none
// for one that is refused. One that was cancelled ends here, and its holder is told, unless nothing is to be
// done; one of `all` is answered as if nothing were, as /v1 has no word for it.
function claim(
  part: PartitionBatch,
  request: EndingRequest,
  ids: readonly string[],
  verb: Verb,
): readonly (Item | undefined)[] {
  const items: (Item | undefined)[] = [];
  let refused: Refused[] | undefined;
  for (let index = 0; index < ids.length; index++) {
    const id = ids[index]!;
    const item = part.leased(part.of.ids.seq(id));
    if (item !== undefined && request.together !== "all" && isCancelled(item)) {
      if (request.together === "each") {
        part.claim(item);
        part.remove(item, CANCELLED);
      }
      items.push(undefined);
      refused ??= [];
      refused.push({ index, error: cancelled(part, item) });
      continue;
    }
    items.push(item);
    if (item !== undefined) {
      part.claim(item);
    } else if (request.together === "all") {
      refuse(part.of, request, id, verb);
      unclaim(part, items);
      return NOTHING;
    } else {
      refused ??= [];
      refused.push({ index, error: refusalOf(part.of, id, verb) });
    }
  }
  if (refused === undefined) return items;
  request.result = { ...NO_OUTCOMES, refused };
  if (request.together === "each") return items;
  unclaim(part, items);
  return NOTHING;
}

function unclaim(part: PartitionBatch, items: readonly (Item | undefined)[]): void {
  for (const claimed of items) if (claimed !== undefined) part.unclaim(claimed);
}

/** Why a lease id of no partition of the queue is refused. */
export function unknownLease(id: string): QueueError {
  const { kind, message, code, details } = idError(id) ?? queueError("item_not_found", { id });
  const detail = `lease does not exist; '${id}' is no lease_id of this queue, as queue.lease answers it`;
  return new QueueError(kind, message, { code, details, detail });
}

// Why one lease is refused, by what its number says: what has one before what waits has been leased.
function refusalOf(partition: Partition, id: string, verb: Verb | "extended"): QueueError {
  const seq = partition.ids.seq(id);
  if (seq <= 0 || seq >= partition.counters.tail) return unknownLease(id);
  // One that is imported as leased is so wherever it lies, and one that was leased by its kind.
  const isOver = partition.leased.has(seq) || partition.isKnownGone(seq);
  if (isOver) return queueError("lease_ended", { lease_id: id });
  return queueError("not_leased", { verb, id });
}

// The same where the first makes the error of the whole request, as /v1 has it: an item that is not leased
// may wait, or be none at all. Beyond the ready window only storage knows, so the request carries the doubt
// along, to be resolved before it is answered.
function refuse(partition: Partition, request: EndingRequest, id: string, verb: Verb): void {
  const malformed = idError(id);
  const seq = partition.ids.seq(id);
  const notLeased = queueError("not_leased", { verb, id });
  if (malformed !== undefined) {
    request.error = malformed;
  } else if (partition.findReady(seq) !== undefined) {
    request.error = notLeased;
  } else {
    request.error = queueError("item_not_found", { id });
    const mayWait = seq >= partition.counters.head && seq < partition.counters.tail;
    // One that is leased was claimed before, by this request or another of the batch: it is gone.
    if (mayWait && !partition.leased.has(seq)) {
      request.doubt = { partition, seq, ifWaiting: notLeased };
    }
  }
}

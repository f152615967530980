// What the server must do, exactly, while nothing goes wrong: a plain reading of wire.md on lists,
// with no thought of speed. From what was seen before and what was asked for at one moment it works
// out every reply and everything that must be seen afterwards. Only the choice of a partition among
// equals is taken from what the server did. Written from wire.md, not from the code.

import assert from "node:assert/strict";
import type { Hold } from "./auditor.ts";
import type { Window } from "./checks.ts";
import { secondsOf } from "./effects.ts";
import { waitOf } from "./life.ts";
import {
  compare,
  die,
  diesOf,
  type Item,
  type Partition,
  type Queue,
  type Reason,
  toQueue,
} from "./model-queue.ts";
import { numberLeased, parseTime, type SeenItem, type SeenPartition } from "./observe.ts";
import { NOTHING_OWN, type Own } from "./produced.ts";
import { type Call, isLease } from "./world.ts";

const BACK = ["queue.retry", "v2/queue.release", "v2/queue.retry", "v2/queue.reject"];
const PRODUCE = ["queue.produce", "v2/queue.produce"];
const COMPLETE = ["queue.complete", "v2/queue.complete"];
const LEASE = ["queue.lease", "v2/queue.lease"];
const HOT = [...PRODUCE, ...LEASE, ...COMPLETE, ...BACK, "v2/queue.extend"];
const ID_MAX = "aWgEPTl1tmebfsQzFP4bxwgy80V";

/**
 * Checks a window in which nothing went wrong: either calls at one moment, or time that has passed.
 * Answers false if it holds something that the model does not know exactly.
 */
export function checkCalm(
  window: Window,
  hasAdvanced: boolean,
  holdsBefore: ReadonlyMap<string, Hold>,
  ownOf: (queue: string, n: number) => Own | undefined,
): boolean {
  const { before, after, calls, fresh } = window;
  if (hasAdvanced ? fresh.length > 0 : before.at !== after.at) return false;
  if (!isExact(window)) return false;
  for (const { name, partitions } of before.queues.values()) {
    const isKnown = ({ n }: SeenItem): boolean => ownOf(name, n) !== undefined;
    if (!partitions.flatMap(itemsOf).every(isKnown)) return false;
  }
  const queues = new Map(
    [...before.queues].map(([name, seen]) => [
      name,
      toQueue(seen, (n) => ownOf(name, n) ?? NOTHING_OWN),
    ]),
  );
  for (const call of calls) {
    if (!isLease(call) || fresh.includes(call)) continue;
    queues.get(String(call.request.queue_name))?.leases.push(call);
  }
  if (hasAdvanced) {
    for (const call of calls) checkTimeout(call, after.at);
    for (const queue of queues.values()) {
      queue.leases = queue.leases.filter((call) => call.state === "pending");
      // Which lease gets which of the things that come back at one moment is not fixed.
      const isServed = (call: Call): boolean => call.status === 200 && !isEmpty(call);
      if (queue.leases.length > 0 || calls.some(isServed)) return false;
    }
    const holds = new Map<string, boolean>();
    for (const { id, deadline, isLeased } of allItems(before)) {
      if (!isLeased || deadline >= after.at) continue;
      const { least, most } = holdsBefore.get(id)!;
      if (least < after.steady && most >= after.steady) return false;
      holds.set(id, least >= after.steady);
    }
    for (const queue of queues.values()) passTime(queue, queues, after, holds);
  } else {
    if (isOrderFree(window, queues)) return false;
    for (const queue of queues.values()) {
      const mine = fresh.filter((call) => call.request.queue_name === queue.name);
      applyCalls(queue, mine, queues, window);
    }
    for (const call of fresh) {
      if (!queues.has(String(call.request.queue_name))) expectNoQueue(call);
    }
  }
  for (const queue of queues.values()) compare(queue, after.queues.get(queue.name)!);
  return true;
}

// Whether all of it is known exactly: what is asked by the id of an item comes alone, for it is done between two
// turns; and of unique keys, and what waits behind others, only the auditor knows.
function isExact({ before, calls, fresh }: Window): boolean {
  const isSpecial = ({ isBehind, boundTo }: SeenItem): boolean => isBehind || boundTo !== "";
  if (allItems(before).some(isSpecial) || before.queues.get("dead")?.isRedriven === true)
    return false;
  if (fresh.length === 1 && fresh[0]!.path === "v2/item.cancel") return true;
  // One for some kinds looks at what was there before; two of them may share it in more than one way.
  const [picky, ...others] = calls.filter(({ request }) => request.kinds !== undefined);
  const comes = ({ path, request }: Call): boolean =>
    !LEASE.includes(path) && request.queue_name === picky?.request.queue_name;
  if (others.length > 0 || (picky !== undefined && fresh.some(comes))) return false;
  return fresh.every(({ path, request }) => {
    const { items = [] } = request as { items?: { unique_key?: string }[] };
    const isPlain = items.every(({ unique_key }) => unique_key === undefined);
    return HOT.includes(path) && isPlain && request.produce === undefined;
  });
}

function allItems({ queues }: Window["before"]): readonly SeenItem[] {
  return [...queues.values()].flatMap(({ partitions }) => partitions.flatMap(itemsOf));
}

function itemsOf({ items, scheduled }: SeenPartition): readonly SeenItem[] {
  return [...items, ...scheduled];
}

// Whether a retry sends something to a dead queue.
function buries(call: Call, queue: Queue | undefined, now: number): boolean {
  if (!BACK.includes(call.path) || queue === undefined) return false;
  // Of what dies is seen to what becomes of it: where it goes, or what is kept.
  const { deadQueue, keep } = queue.settings;
  if (deadQueue === "" && keep === 0) return false;
  const { leased } = queue.partitions[partitionOf(call, queue)]!;
  return backOf(call).some((each) => {
    const item = leased.get(each.id);
    if (item?.isCancelled === true) return false;
    return each.dead || (item !== undefined && diesOfBack(item, each, queue, now) !== undefined);
  });
}

// In which partition the leases of a call lie; under /v2 their ids tell.
function partitionOf({ request }: Call, queue: Queue): number {
  const { partition = 0, leases = [] } = request as {
    partition?: number;
    leases?: { lease_id: string }[];
  };
  const index = queue.partitions.findIndex(({ leased }) =>
    leases.some(({ lease_id }) => leased.has(lease_id)),
  );
  return index === -1 ? partition : index;
}

/** One item of a retry or a release. */
interface Back {
  readonly id: string;
  readonly time: string | undefined;
  readonly byPolicy: boolean;
  readonly dead: boolean;
  readonly counts: boolean;
}

function backOf({ path, request }: Call): readonly Back[] {
  if (path === "queue.retry") {
    const { items } = request as { items: { id: string; retry_at?: string; dead?: boolean }[] };
    return items.map(({ id, retry_at, dead = false }) => {
      return { id, time: retry_at, byPolicy: false, dead, counts: true };
    });
  }
  const { leases } = request as { leases: { lease_id: string; at?: string; delay?: string }[] };
  return leases.map(({ lease_id: id, at, delay }) => {
    const byPolicy = path === "v2/queue.retry" && at === undefined && delay === undefined;
    const counts = path !== "v2/queue.release";
    return { id, time: at, byPolicy, dead: path === "v2/queue.reject", counts };
  });
}

// What does not count was not the last; a later time that was accepted is kept.
function diesOfBack(item: Item, back: Back, queue: Queue, now: number): Reason | undefined {
  if (back.dead) return "rejected";
  const reason = diesOf(item, queue, now);
  if (reason === "attempts" && !back.counts) {
    return item.expireAt < now && dueAtOf(back.time, now) === 0 ? "expired" : undefined;
  }
  return reason === "expired" && dueAtOf(back.time, now) !== 0 ? undefined : reason;
}

// What comes back with a burial, and what arrives in the dead queue, has no fixed place among the
// rest; with leases that wait for either it is not known who gets what.
function isOrderFree({ calls, fresh, after }: Window, queues: ReadonlyMap<string, Queue>): boolean {
  const leased = new Set(calls.filter(isLease).map((call) => call.request.queue_name));
  return fresh.some((call) => {
    const queue = queues.get(String(call.request.queue_name));
    return (
      buries(call, queue, after.at) &&
      (leased.has(queue!.name) || leased.has(queue!.settings.deadQueue))
    );
  });
}

// --- replies ---

function expect(call: Call, status: number, message?: string): void {
  const seen = [call.state, call.status, ...(status === 200 ? [] : [call.body])];
  const wanted = ["answered", status, ...(status === 200 ? [] : [message])];
  assert.deepEqual(seen, wanted, `call ${call.number} ${call.path}`);
}

function expectNoQueue(call: Call): void {
  if (call.path === "v2/item.cancel") return;
  const message = `queue does not exist; no such queue named '${call.request.queue_name}'`;
  expect(call, 400, message);
}

function checkTimeout(call: Call, now: number): void {
  if (!isLease(call)) return;
  const timeout = Number(/^(\d+)s$/.exec(String(call.request.request_timeout))![1]) * 1e6;
  if (call.startedAt + timeout > now) return;
  assert.equal(call.state, "answered", `call ${call.number} is over`);
  if (call.path === "v2/queue.lease") expect(call, 200);
  else if (call.status !== 200)
    expect(call, 454, "request timeout; no items are in the queue, try again");
}

// --- calls ---

// One pass: produce, lease, complete, retry, extend, each in order of arrival; and more passes for leases as
// long as something has come back that they can get.
function applyCalls(
  queue: Queue,
  calls: readonly Call[],
  queues: ReadonlyMap<string, Queue>,
  { after }: Window,
): void {
  const of = (...paths: readonly string[]): readonly Call[] =>
    calls.filter((call) => paths.includes(call.path));
  // Those that send something to a dead queue come last, after what needs this queue only.
  const retries = calls.filter((call) => BACK.includes(call.path));
  const burying = retries.filter((call) => buries(call, queue, after.at));
  for (const call of of(...PRODUCE)) produce(queue, call, after);
  for (const call of of("v2/item.cancel")) cancel(call, queues);
  const clients = new Set(queue.leases.map((call) => call.request.client_id));
  for (const call of of(...LEASE)) {
    if (call.path === "queue.lease" && clients.has(call.request.client_id)) {
      expect(
        call,
        400,
        "duplicate client id; a client cannot make multiple leased requests to the same queue",
      );
      continue;
    }
    if (call.path === "queue.lease") clients.add(call.request.client_id);
    queue.leases.push(call);
  }
  // What this very pass leases is not known to anybody yet, and counts as waiting.
  const isNew = new Set(queue.partitions.flatMap(({ waiting }) => waiting.map(({ id }) => id)));
  lease(queue, after.at);
  const claimed = new Set<string>();
  for (const call of of(...COMPLETE)) complete(queue, call, { claimed, isNew });
  for (const call of retries.filter((each) => !burying.includes(each))) {
    retry(queue, call, { isBurial: false, claimed, isNew, queues, now: after.at });
  }
  for (const call of of("v2/queue.extend")) extend(queue, call, { claimed, isNew }, after.at);
  for (const call of burying) {
    retry(queue, call, { isBurial: true, claimed, isNew: new Set(), queues, now: after.at });
  }
  for (let leases = -1; leases !== queue.leases.length; ) {
    leases = queue.leases.length;
    lease(queue, after.at);
  }
  for (const call of queue.leases) assert.equal(call.state, "pending", `call ${call.number}`);
}

function dueAtOf(text: string | undefined, now: number): number {
  const due = parseTime(text);
  return due >= now + 100_000 ? due : 0;
}

function produce(queue: Queue, call: Call, after: Window["after"]): void {
  expect(call, 200);
  const { items } = call.request as {
    items: { utf8: string; kind: string; enqueue_at?: string }[];
  };
  const now = after.at;
  const { expireTimeout } = queue.settings;
  const numbers = items.map(({ utf8 }) => Number(utf8));
  const index = whereIs(numbers[0]!, queue, after);
  const partition = queue.partitions[index]!;
  queue.counts.produced += items.length;
  const least = Math.min(...queue.partitions.map((each) => each.load));
  assert.equal(partition.load, least, `call ${call.number} went to a partition that is fuller`);
  for (const [i, { enqueue_at, kind }] of items.entries()) {
    const own = queue.ownOf(numbers[i]!);
    const item: Item = {
      n: numbers[i]!,
      kind,
      id: "",
      itemId: "",
      attempts: 0,
      deadline: 0,
      createdAt: now,
      expireAt: now + (own.expireIn ?? expireTimeout),
      sourceId: "",
      isCancelled: false,
      own,
    };
    if (dueAtOf(enqueue_at, now) !== 0) partition.scheduled.set(item.n, item);
    else partition.waiting.push(item);
  }
}

// In which partition an item has ended up: it is there, or was leased from there just now.
function whereIs(n: number, queue: Queue, after: Window["after"]): number {
  const { partitions } = after.queues.get(queue.name)!;
  const index = partitions.findIndex(({ items, scheduled }) =>
    [...items, ...scheduled].some((item) => item.n === n),
  );
  assert.notEqual(index, -1, `${queue.name}: item ${n} is lost`);
  return index;
}

// Deals what waits over the leases that were given something of a partition.
function lease(queue: Queue, now: number): void {
  for (const [index, partition] of queue.partitions.entries()) {
    const available = new Set(partition.waiting.map((item) => item.n));
    const mine = queue.leases.filter((call) => {
      if (call.state !== "answered" || call.status !== 200) return false;
      const first = call.body.items?.[0];
      if (first === undefined) return false;
      const isHere = call.path === "v2/queue.lease" || (call.body.partition ?? 0) === index;
      return isHere && available.has(numberLeased(first));
    });
    const dealt = new Map<Call, Item[]>(mine.map((call) => [call, []]));
    pick(queue, partition, dealt);
    const shares = sharesOf(
      mine.filter((call) => kindsOf(call) === undefined),
      partition.waiting.length,
    );
    for (const [call, share] of shares) {
      dealt.get(call)!.push(...share.map((place) => partition.waiting[place]!));
    }
    partition.waiting.splice(0, [...shares.values()].flat().length);
    pick(queue, partition, dealt);
    for (const [call, items] of dealt) give(queue, { call, items, partition, now });
  }
  // With one partition every lease is served in turn: none is passed over.
  if (queue.partitions.length > 1) return;
  const waits = queue.leases.findIndex(
    (call) => call.state === "pending" && kindsOf(call) === undefined,
  );
  if (waits === -1) return;
  const later = queue.leases.slice(waits).find((call) => call.state === "answered");
  const isThere = queue.partitions[0]!.waiting.length > 0;
  assert.ok(later === undefined || isThere, `call ${later?.number} was served out of turn`);
}

// The places in the line of what each gets. How much that is comes of one item at a time, in turn, and which of
// them as well; but what is leased for the same time lies together (decision 52).
function sharesOf(calls: readonly Call[], count: number): ReadonlyMap<Call, readonly number[]> {
  const inTurn: Call[] = [];
  for (let round = 0; inTurn.length < count; round++) {
    const hungry = calls.filter(({ request }) => Number(request.batch_size) > round);
    if (hungry.length === 0) break;
    inTurn.push(...hungry.slice(0, count - inTurn.length));
  }
  const timeouts = calls.map(({ request }) => request.lease_timeout);
  const timeoutOf = ({ request }: Call): number => timeouts.indexOf(request.lease_timeout);
  inTurn.sort((a, b) => timeoutOf(a) - timeoutOf(b));
  const shares = new Map(calls.map((call): [Call, number[]] => [call, []]));
  for (const [place, call] of inTurn.entries()) shares.get(call)!.push(place);
  return shares;
}

function kindsOf({ request }: Call): readonly string[] | undefined {
  return (request as { kinds?: readonly string[] }).kinds;
}

function isEmpty({ body }: Call): boolean {
  return body.items?.length === 0;
}

// A lease of some kinds takes the first of them that there are: before all others, if it came before the first
// that takes whatever there is, else after them.
function pick(queue: Queue, partition: Partition, dealt: ReadonlyMap<Call, Item[]>): void {
  const first = queue.leases.find((call) => kindsOf(call) === undefined);
  for (const [call, items] of dealt) {
    const kinds = kindsOf(call);
    const others = [...dealt.keys()].filter((each) => kindsOf(each) === undefined);
    if (kinds === undefined || items.length > 0) continue;
    const isFirst = first === undefined || first.number > call.number;
    const areServed = others.every((each) => dealt.get(each)!.length > 0);
    if (!isFirst && !areServed) continue;
    const fitting = partition.waiting.filter(({ kind }) => kinds.includes(kind));
    const wanted = fitting.slice(0, Number(call.request.batch_size));
    // Behind what has come back there may be more than a call finds: PROTOCOL.md says so.
    const missing = partition.waiting.indexOf(wanted[call.body.items.length]!);
    const mayMiss = partition.waiting.slice(0, missing + 1).some(({ id, itemId }) => id !== itemId);
    items.push(...(mayMiss ? wanted.slice(0, call.body.items.length) : wanted));
    partition.waiting = partition.waiting.filter((item) => !items.includes(item));
  }
}

function give(
  queue: Queue,
  grant: { call: Call; items: readonly Item[]; partition: Partition; now: number },
): void {
  const { call, items, partition, now } = grant;
  // biome-ignore lint/suspicious/noExplicitAny: replies have every shape
  const got: any[] = call.body.items;
  assert.deepEqual(
    got.map((item) => numberLeased(item)),
    items.map((item) => item.n),
    `call ${call.number} was given other items`,
  );
  queue.leases = queue.leases.filter((each) => each !== call);
  queue.counts.leased += items.length;
  for (const [i, item] of items.entries()) {
    const { attempts, lease_deadline, id: itemId, lease_id: id = itemId } = got[i];
    if (item.id !== "") assert.equal(id, item.id, `call ${call.number}: id of item ${item.n}`);
    item.id = id;
    item.attempts++;
    const { lease_timeout: own } = call.request as { lease_timeout?: string };
    item.deadline = now + (own === undefined ? queue.settings.leaseTimeout : secondsOf(own));
    assert.equal(attempts, item.attempts, `call ${call.number}: attempts of item ${item.n}`);
    assert.equal(parseTime(lease_deadline), item.deadline, `call ${call.number}: lease_deadline`);
    partition.leased.set(id, item);
  }
}

/** The leased items that this pass has ended, and the ids of those that it has only just leased. */
interface Claims {
  readonly claimed: Set<string>;
  readonly isNew: ReadonlySet<string>;
}

// Claims all ids of a request or none; answers the items.
function claim(
  queue: Queue,
  call: Call,
  ids: readonly string[],
  options: Claims & { verb: string },
): readonly Item[] | undefined {
  const { claimed, isNew, verb } = options;
  const { partition: index = 0 } = call.request as { partition?: number };
  const partition = queue.partitions[index]!;
  const items: Item[] = [];
  const mine = new Set<string>();
  for (const id of ids) {
    const item = partition.leased.get(id);
    if (item !== undefined && !isNew.has(id) && !claimed.has(id) && !mine.has(id)) {
      mine.add(id);
      items.push(item);
      continue;
    }
    const text =
      id.length !== 27
        ? `invalid storage id; '${id}': Valid encoded KSUIDs are 27 characters`
        : (item !== undefined && isNew.has(id)) || partition.waiting.some((each) => each.id === id)
          ? `item(s) cannot be ${verb}; '${id}' is not marked as leased`
          : `invalid storage id; '${id}' does not exist`;
    assert.ok(id <= ID_MAX || id.length !== 27);
    expect(call, 400, text);
    return undefined;
  }
  for (const id of mine) claimed.add(id);
  expect(call, 200);
  return items;
}

function complete(queue: Queue, call: Call, claims: Claims): void {
  if (call.path === "v2/queue.complete") {
    const { leases } = call.request as { leases: { lease_id: string }[] };
    const ids = leases.map(({ lease_id }) => lease_id);
    for (const item of claimEach(queue, call, ids, claims)) {
      for (const { leased } of queue.partitions) leased.delete(item.id);
      queue.counts.completed++;
    }
    return;
  }
  const { ids, partition = 0 } = call.request as { ids: string[]; partition?: number };
  const items = claim(queue, call, ids, { ...claims, verb: "completed" }) ?? [];
  for (const { id, isCancelled } of items) {
    queue.partitions[partition]!.leased.delete(id);
    queue.counts[isCancelled ? "cancelled" : "completed"]++;
  }
}

function retry(
  queue: Queue,
  call: Call,
  world: Claims & { isBurial: boolean; queues: ReadonlyMap<string, Queue>; now: number },
): void {
  const partition = queue.partitions[partitionOf(call, queue)]!;
  const all = backOf(call);
  const ids = all.map(({ id }) => id);
  const isRetry = call.path === "queue.retry";
  const backs = isRetry ? all : all.filter((_, i) => resultOf(call, i).ok === true);
  const items = isRetry
    ? (claim(queue, call, ids, { ...world, verb: "retried" }) ?? [])
    : claimEach(queue, call, ids, world);
  let came = 0;
  for (const [i, item] of items.entries()) {
    const back = backs[i]!;
    const reason = diesOfBack(item, back, queue, world.now);
    partition.leased.delete(item.id);
    if (item.isCancelled) {
      queue.counts.cancelled++;
      continue;
    }
    item.deadline = 0;
    if (!back.counts) item.attempts = Math.max(item.attempts - 1, 0);
    if (reason !== undefined) {
      die(item, queue, { ...world, reason });
      continue;
    }
    queue.counts[back.counts ? "retried" : "released"]++;
    const wait = back.byPolicy ? waitOf(queue.settings, item.own, item.attempts) : 0;
    if (wait > 0 || dueAtOf(back.time, world.now) !== 0) {
      partition.scheduled.set(item.n, item);
    } else {
      item.id = "";
      // What is asked for with dead items in one batch goes another way: its place is not fixed.
      partition.arrivals.push(item);
      came++;
    }
  }
  if (!world.isBurial && came > 0) {
    partition.waiting.push(...partition.arrivals.splice(-came));
  }
}

// Each lease by itself.
function extend(queue: Queue, call: Call, { claimed, isNew }: Claims, now: number): void {
  expect(call, 200);
  const { leases } = call.request as { leases: { lease_id: string; for: string }[] };
  checkResults(call, leases.length);
  for (const [i, { lease_id: id, for: duration }] of leases.entries()) {
    const item = named(queue, call, i, { id, claimed, isNew });
    if (item === undefined || item.isCancelled) continue;
    queue.counts.extended++;
    item.deadline = now + Number(/^(\d+)s$/.exec(duration)![1]) * 1e6;
    const { lease_deadline } = resultOf(call, i);
    assert.equal(parseTime(lease_deadline), item.deadline, `call ${call.number}: ${id}`);
  }
}

// Claims every id that can be claimed, by itself; answers the items.
function claimEach(
  queue: Queue,
  call: Call,
  ids: readonly string[],
  { claimed, isNew }: Claims,
): readonly Item[] {
  expect(call, 200);
  checkResults(call, ids.length);
  const items: Item[] = [];
  for (const [i, id] of ids.entries()) {
    const item = named(queue, call, i, { id, claimed, isNew });
    if (item === undefined) continue;
    claimed.add(id);
    if (item.isCancelled) {
      // It ends here, and its holder is told.
      for (const { leased } of queue.partitions) leased.delete(id);
      queue.counts.cancelled++;
    } else items.push(item);
  }
  return items;
}

/** What became of one lease of a call. */
interface Result {
  readonly ok?: boolean;
  readonly code?: string;
  readonly lease_deadline?: string;
}

function resultOf(call: Call, i: number): Result {
  return (call.body as { results: Result[] }).results[i]!;
}

function checkResults(call: Call, count: number): void {
  const { results, failed = 0 } = call.body as { results: Result[]; failed?: number };
  assert.equal(results.length, count, `call ${call.number}`);
  assert.equal(failed, results.filter(({ ok }) => ok !== true).length, `call ${call.number}`);
}

// The item that a lease of a call holds, which must have been told; undefined if it must have been refused.
function named(
  queue: Queue,
  call: Call,
  i: number,
  { id, claimed, isNew }: Claims & { readonly id: string },
): Item | undefined {
  const { ok = false, code = "" } = resultOf(call, i);
  const partition = queue.partitions.find(({ leased }) => leased.has(id));
  const item = isNew.has(id) || claimed.has(id) ? undefined : partition?.leased.get(id);
  const where = `call ${call.number}: ${id} ${code}`;
  assert.equal(ok, item !== undefined && !item.isCancelled, where);
  if (item?.isCancelled === true) assert.equal(code, "item_cancelled", where);
  else assert.ok(ok || refusalsOf(queue, id, isNew).includes(code), where);
  return item;
}

// Of what neither waits nor is leased only the server knows whether it ever was.
function refusalsOf(queue: Queue, id: string, isNew: ReadonlySet<string>): readonly string[] {
  if (id.length !== 27) return ["invalid_field"];
  const waits = queue.partitions.some(({ waiting }) => waiting.some((each) => each.id === id));
  return waits || isNew.has(id) ? ["not_leased"] : ["lease_ended", "not_leased", "item_not_found"];
}

// Alone, by the id that the item keeps, and where it is: in the dead queue of the one that is named, perhaps.
function cancel(call: Call, queues: ReadonlyMap<string, Queue>): void {
  const queue = call.status === 200 ? queues.get(String(call.body.queue_name)) : undefined;
  if (queue === undefined) return;
  const { id, state } = call.body as { id: string; state: string };
  const seen = queue.itemIds.get(id);
  if (seen === undefined) return;
  for (const partition of queue.partitions) {
    const leased = partition.leased.get(seen.id);
    if (leased !== undefined) {
      assert.equal(state, "leased", `call ${call.number}`);
      leased.isCancelled = true;
      continue;
    }
    const count = partition.waiting.length + partition.scheduled.size;
    partition.waiting = partition.waiting.filter(({ n }) => n !== seen.n);
    partition.scheduled.delete(seen.n);
    queue.counts.cancelled += count - partition.waiting.length - partition.scheduled.size;
  }
}

// --- time ---

function passTime(
  queue: Queue,
  queues: ReadonlyMap<string, Queue>,
  { at: now, queues: seen }: Window["after"],
  holds: ReadonlyMap<string, boolean>,
): void {
  const { expireTimeout, onLeaseEnd } = queue.settings;
  for (const [index, partition] of queue.partitions.entries()) {
    // What is scheduled by the end of a lease is not due at the same moment.
    const scheduledBefore = [...partition.scheduled.values()];
    for (const item of [...partition.leased.values()]) {
      if (item.deadline >= now || holds.get(item.id) === true) continue;
      partition.leased.delete(item.id);
      queue.counts.lease_ends++;
      if (item.isCancelled) {
        queue.counts.cancelled++;
        continue;
      }
      const reason = diesOf(item, queue, now) ?? (onLeaseEnd === "reject" ? "rejected" : undefined);
      const wait =
        onLeaseEnd === "retry_delayed" ? waitOf(queue.settings, item.own, item.attempts) : 0;
      if (reason !== undefined) die(item, queue, { queues, now, reason });
      else if (wait === 0) partition.arrivals.push({ ...item, id: "", deadline: 0 });
      else partition.scheduled.set(item.n, { ...item, deadline: 0 });
    }
    for (const item of partition.waiting) {
      if (item.expireAt < now) die(item, queue, { queues, now, reason: "expired" });
    }
    partition.waiting = partition.waiting.filter((item) => item.expireAt >= now);
    // When they are due the auditor knows; here it is enough to see which have gone.
    const { scheduled } = seen.get(queue.name)!.partitions[index]!;
    for (const item of scheduledBefore) {
      if (scheduled.some((each) => each.n === item.n)) continue;
      partition.scheduled.delete(item.n);
      // The time of one that could not be leased before it expired begins now.
      if (item.expireAt < now) item.expireAt = now + (item.own.expireIn ?? expireTimeout);
      partition.arrivals.push({ ...item, id: "" });
    }
  }
}

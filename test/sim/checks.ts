// What must hold of a queue between two views, beside the life of each item: its record, its counts, batches,
// leases, sources and order. See auditor.ts.

import assert from "node:assert/strict";
import { certaintyOf, type Effects, producedBy, secondsOf, wasThere } from "./effects.ts";
import type { Place } from "./life.ts";
import type { SeenItem, SeenQueue, Settings, View } from "./observe.ts";
import type { AllProduced } from "./produced.ts";
import type { Call } from "./world.ts";

/** What lies between two views. */
export interface Window {
  readonly before: View;
  readonly after: View;
  /** All calls that were under way in between, those that still wait included. */
  readonly calls: readonly Call[];
  /** Those of them that were begun in between. */
  readonly fresh: readonly Call[];
  /** Whether storage failed or the server ended in between. */
  readonly hasTrouble: boolean;
  /** The settings of each queue that were asked for in between. */
  readonly settings: ReadonlyMap<string, readonly Settings[]>;
}

export interface Spot {
  readonly item: SeenItem;
  readonly partition: number;
  readonly isScheduled: boolean;
}

/** All items of a queue by their number; each is there once. */
export function spots(queue: SeenQueue | undefined): ReadonlyMap<number, Spot> {
  const found = new Map<number, Spot>();
  for (const [partition, { items, scheduled }] of (queue?.partitions ?? []).entries()) {
    for (const [list, isScheduled] of [
      [items, false],
      [scheduled, true],
    ] as const) {
      let last = "";
      for (const item of list) {
        assert.ok(item.id > last, `${queue!.name}/${partition}: ids do not ascend`);
        last = item.id;
        assert.ok(!found.has(item.n), `${queue!.name}: item ${item.n} is there twice`);
        found.set(item.n, { item, partition, isScheduled });
      }
    }
  }
  return found;
}

/** What is on its way out of the dead queue. */
export function boundIn({ queues }: View): readonly SeenItem[] {
  const { partitions = [] } = queues.get("dead") ?? {};
  return partitions.flatMap(({ scheduled }) => scheduled).filter(({ boundTo }) => boundTo !== "");
}

/** Whether something may move out of the dead queue. */
export function mayRedrive(window: Pick<Window, "before" | "calls">): boolean {
  return (
    window.before.queues.get("dead")?.isRedriven === true ||
    boundIn(window.before).length > 0 ||
    mayHave("v2/queue.redrive", "dead", window)
  );
}

/** Whether somebody has asked for this, or may have. */
export function mayHave(path: string, name: string, { calls }: Pick<Window, "calls">): boolean {
  return calls.some(
    (call) => isTo(call, path) && call.request.queue_name === name && certaintyOf(call) !== "none",
  );
}

// Under either version.
function isTo(call: Call, path: string): boolean {
  return call.path === path || call.path === `v2/${path}`;
}

// Whether a queue is there before and after, and was not made anew in between.
export function isSame(name: string, window: Window): boolean {
  const before = window.before.queues.get(name)?.createdAt;
  const after = window.after.queues.get(name)?.createdAt;
  const isAnew = mayHave("queues.delete", name, window) && mayHave("queues.create", name, window);
  return before !== undefined && before === after && !isAnew;
}

// A record changes only because somebody asked for it.
export function checkRecord(name: string, window: Window): void {
  const may = (path: string): boolean => mayHave(path, name, window);
  const done = (path: string): boolean =>
    window.calls.some(
      (call) =>
        isTo(call, path) && call.request.queue_name === name && certaintyOf(call) === "done",
    );
  const [old, now] = [window.before.queues.get(name), window.after.queues.get(name)];
  if (now !== undefined && !isSame(name, window)) {
    assert.ok(may("queues.create"), `${name} was made by nobody`);
  }
  if (old !== undefined && !isSame(name, window)) {
    assert.ok(may("queues.delete"), `${name} was deleted by nobody`);
  }
  if (now === undefined && done("queues.create")) {
    assert.ok(may("queues.delete"), `${name} was created and is not there`);
  }
  if (now !== undefined && done("queues.delete")) {
    assert.ok(may("queues.create"), `${name} was deleted and is still there`);
  }
  if (isSame(name, window) && JSON.stringify(old?.settings) !== JSON.stringify(now?.settings)) {
    assert.ok(may("queues.update"), `${name} was updated by nobody`);
  }
}

// Whether somebody may have given an item back for later, or its policy has, with the end of a lease too.
export function wasPutOff(
  n: number,
  old: Spot | undefined,
  { leases, byId }: Effects,
  settings: readonly Settings[],
): boolean {
  const wasLeased = old?.item.isLeased === true || leases.has(n);
  if (wasLeased && settings.some((each) => each.onLeaseEnd === "retry_delayed")) return true;
  const ids = (leases.get(n) ?? []).map(({ what }) => (what.kind === "lease" ? what.id : ""));
  return [...ids, old?.item.id ?? ""].some((id) =>
    byId.get(id)?.some(({ what }) => what.kind === "retry" && what.dueAt !== 0),
  );
}

// What dies without a dead queue to go to is counted; nothing else is.
export function checkDrops(
  name: string,
  window: Window,
  settings: readonly Settings[],
  ends: ReadonlyMap<number, readonly Place[]>,
): void {
  if (!isSame(name, window)) return;
  // What a redrive moves may die here, and come, and die again.
  if (mayRedrive(window)) return;
  const sum = ({ queues }: View): number => {
    const { attempts, expired, rejected } = queues.get(name)!.drops;
    return attempts + expired + rejected;
  };
  const counted = sum(window.after) - sum(window.before);
  const died = ({ diedAs }: Place): boolean => diedAs !== undefined;
  const all = [...ends.values()];
  const hasNone = settings.every(({ deadQueue }) => deadQueue === "");
  const hasOne = settings.every(({ deadQueue }) => deadQueue !== "" && isSame(deadQueue, window));
  const least = hasNone ? all.filter((each) => each.every(died)).length : 0;
  const most = hasOne ? 0 : all.filter((each) => each.some(died)).length;
  assert.ok(
    counted >= least && counted <= most,
    `${name}: ${counted} items were counted as dropped, of ${least} to ${most}`,
  );
}

// What was counted once is counted for ever, whatever becomes of the server.
export function checkCounts(before: SeenQueue, now: SeenQueue): void {
  const { dead: diedBefore, ...countsBefore } = before.counts;
  const { dead: died, ...counts } = now.counts;
  for (const [old, current] of [
    [countsBefore, counts],
    [diedBefore, died],
  ] as Record<string, number>[][]) {
    for (const [what, count] of Object.entries(current!)) {
      const least = old![what]!;
      assert.ok(count >= least, `${now.name}: ${what} was ${least}, and is ${count}`);
    }
  }
}

// All or nothing: of a produce whose outcome is not known, items must not have fared differently.
export function checkBatches(
  name: string,
  { births }: Effects,
  ends: ReadonlyMap<number, readonly Place[]>,
): void {
  const calls = new Map<Call, Set<boolean>>();
  for (const [n, { call }] of births) {
    // One that is produced with a key, or imported, may be there already.
    const { items = [] } = call.request as { items?: { unique_key?: string }[] };
    const isPlain = items.every(({ unique_key }) => unique_key === undefined);
    if (call.path === "storage/items.import" || !isPlain) continue;
    const born = new Set(ends.get(n)!.map((end) => end.at !== "unborn"));
    if (born.size === 1) calls.set(call, new Set([...(calls.get(call) ?? []), ...born]));
  }
  for (const [call, born] of calls) {
    assert.ok(born.size === 1, `${name}: call ${call.number} was done in part`);
  }
}

// A lease reply holds at most what was asked for, and its deadline is that of the queue.
export function checkLeases(
  name: string,
  { leases }: Effects,
  settings: readonly Settings[],
): void {
  const counts = new Map<Call, number>();
  for (const { call, what } of [...leases.values()].flat()) {
    counts.set(call, (counts.get(call) ?? 0) + 1);
    if (what.kind !== "lease") continue;
    const { lease_timeout: own } = call.request as { lease_timeout?: string };
    const begun = settings.map(
      ({ leaseTimeout }) => what.deadline - (own === undefined ? leaseTimeout : secondsOf(own)),
    );
    assert.ok(
      begun.some((at) => at >= call.startedAt && at <= call.endedAt),
      `${name}: call ${call.number} has a wrong lease_deadline`,
    );
  }
  for (const [call, count] of counts) {
    const { batch_size: size } = call.request as { batch_size: number };
    assert.ok(count <= size, `${name}: call ${call.number} was given more than it asked for`);
  }
}

// A source id is used by one item of a partition at a time, and free again when that is gone: what
// an import passed over must have been there.
export function checkSources(name: string, { before, after, calls }: Window): void {
  const used = new Set<string>();
  for (const { queues } of [before, after]) {
    for (const { items, scheduled } of queues.get(name)?.partitions.slice(0, 1) ?? []) {
      const sources = [...items, ...scheduled]
        .map((item) => item.sourceId)
        .filter((id) => id !== "");
      assert.equal(new Set(sources).size, sources.length, `${name}: a source_id is there twice`);
      for (const id of sources) used.add(id);
    }
  }
  const asked = new Map<string, number>();
  const imports = calls.filter(
    (call) => call.path === "storage/items.import" && call.request.queue_name === name,
  );
  for (const { request } of imports) {
    for (const { source_id: id = "" } of request.items as { source_id?: string }[]) {
      asked.set(id, (asked.get(id) ?? 0) + 1);
    }
  }
  for (const call of imports.filter((each) => certaintyOf(each) === "done")) {
    const sent = call.request.items as { source_id?: string }[];
    for (const [i, { source_id: source = "" }] of sent.entries()) {
      const { id, source_id } = call.body.items[i];
      assert.ok(id && (source_id ?? "") === source, `call ${call.number} answers another source`);
      const mayBeThere = used.has(source) || asked.get(source)! > 1;
      assert.ok(!wasThere(call, i) || mayBeThere, `call ${call.number} passed over ${source}`);
    }
  }
}

// Leases take from the head: nothing that still waits, untouched, stands before what was leased; but for what
// is of another kind than the lease has asked for.
export function checkOrder(
  before: SeenQueue,
  now: SeenQueue,
  effects: Effects,
  produced: AllProduced,
): void {
  const kindOf = (n: number): string => produced.get(n)?.kind ?? "";
  // Of a lease whose reply nobody has it is not known what it took.
  const isUnseen = effects.toAll.some(
    ({ call, what }) => what.kind === "lease-unseen" && call.request.kinds !== undefined,
  );
  for (const [partition, { items }] of before.partitions.entries()) {
    const still = new Map(now.partitions[partition]?.items.map((item) => [item.id, item]));
    const skipped: SeenItem[] = [];
    for (const item of items) {
      if (item.isLeased) continue;
      const later = still.get(item.id);
      const lease = (effects.leases.get(item.n) ?? []).find(
        ({ what }) => what.kind === "lease" && what.id === item.id,
      );
      const wasLeased = later?.isLeased === true || lease !== undefined;
      if (!wasLeased && later !== undefined) skipped.push(item);
      if (!wasLeased || (lease === undefined && isUnseen)) continue;
      const { kinds } = (lease?.call.request ?? {}) as { kinds?: readonly string[] };
      const passedOver = skipped.find(({ n }) => kinds === undefined || kinds.includes(kindOf(n)));
      assert.ok(
        passedOver === undefined,
        `${before.name}/${partition}: item ${item.n} was leased before item ${passedOver?.n}`,
      );
    }
  }
}

// What is produced with a complete is there if that was done, and only then.
export function checkFollowers(
  window: Window,
  endsOfAll: ReadonlyMap<string, ReadonlyMap<number, readonly Place[]>>,
  numbersOf: (id: string) => number | undefined,
): void {
  for (const call of window.calls) {
    const {
      produce,
      leases = [],
      queue_name,
    } = call.request as {
      queue_name: string;
      produce?: readonly { queue_name: string }[];
      leases?: readonly { lease_id: string }[];
    };
    if (produce === undefined || certaintyOf(call) !== "maybe") continue;
    const target = produce[0]!.queue_name;
    const isBorn = new Set<boolean>();
    for (const { n } of producedBy(call, target)) {
      const born = new Set((endsOfAll.get(target)?.get(n) ?? []).map(({ at }) => at !== "unborn"));
      if (born.size === 1) isBorn.add([...born][0]!);
    }
    for (const { lease_id: id } of leases) {
      const ends = endsOfAll.get(queue_name)?.get(numbersOf(id) ?? -1) ?? [];
      // Only this call can have ended it so; and what is still leased by this lease has not ended.
      if (ends.length > 0 && ends.every(({ result }) => result === id)) isBorn.add(true);
      if (ends.length > 0 && ends.every(({ at, id: now }) => at === "leased" && now === id)) {
        isBorn.add(false);
      }
    }
    assert.ok(isBorn.size <= 1, `call ${call.number} was done in part`);
  }
}

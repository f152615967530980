// Checks what is seen of the server against what clients asked of it, whatever went wrong in
// between: between two views every item must have come to where it is in a way that wire.md allows,
// every acknowledged request must have happened exactly once, and nothing may have happened that
// nobody asked for. Knows nothing of the code that it checks.

import assert from "node:assert/strict";
import { certaintyOf, type Effects, effectsOn, type ItemEvent, wasThere } from "./effects.ts";
import { endsOf, type LifeOptions, matches, NOT_HELD, type Place, placeOf } from "./life.ts";
import type { SeenItem, SeenQueue, Settings, View } from "./observe.ts";
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

/** A copy that the dead queue must have, or may have. */
interface Arrival {
  isCertain: boolean;
  readonly sourceIds: Set<string>;
}

/**
 * In steady time, until when a lease holds, whatever the wall clock says: at least, and at most. They differ
 * where the server may have started meanwhile, which knows the deadline only.
 */
export interface Hold {
  readonly least: number;
  readonly most: number;
  /** The deadline with which it was given, or extended. */
  readonly deadline: number;
}

/** What the check of one item works with. */
interface ItemContext {
  readonly name: string;
  readonly n: number;
  readonly effects: Effects;
  readonly settings: readonly Settings[];
  readonly window: Window;
  readonly arrival: Arrival | undefined;
}

interface Spot {
  readonly item: SeenItem;
  readonly partition: number;
  readonly isScheduled: boolean;
}

export class Auditor {
  /** Which item every id that was ever seen belongs to. */
  readonly #ids = new Map<string, number>();
  readonly #idsOf = new Map<number, readonly string[]>();
  /** When scheduled items become leasable. */
  readonly #dueAt = new Map<number, number>();
  /** By id: until when a lease holds. */
  #holds: ReadonlyMap<string, Hold> = new Map();

  /** Checks one window, queue by queue; dead queues come last. */
  check(window: Window): void {
    const arrivals = new Map<string, Map<number, Arrival>>();
    const names = [...new Set([...window.before.queues.keys(), ...window.after.queues.keys()])];
    const isDead = (name: string): boolean => name === "dead";
    names.sort((a, b) => Number(isDead(a)) - Number(isDead(b)));
    for (const name of names) this.#checkQueue(name, window, arrivals);
    this.#noteHolds(window);
    for (const queue of window.after.queues.values()) this.#checkOverdue(queue, window.after);
    this.#note(window.after);
  }

  /** By id: until when the leases of the last view hold. */
  get holds(): ReadonlyMap<string, Hold> {
    return this.#holds;
  }

  // A lease that began, or was extended, in this window holds for its whole time; the wall clock has not
  // been set since.
  #noteHolds({ before, after, hasTrouble }: Window): void {
    const holds = new Map<string, Hold>();
    for (const queue of after.queues.values()) {
      for (const { item } of spots(queue).values()) {
        if (!item.isLeased) continue;
        const { deadline } = item;
        const whole = deadline - (after.at - after.steady);
        const known = this.#holds.get(item.id);
        const old = known?.deadline === deadline ? known : undefined;
        // A client whose commit took its time holds on for as long from then on.
        const most = Math.max(old?.most ?? whole + after.steady - before.steady, whole);
        const fresh = old ?? { least: whole, most: whole, deadline };
        holds.set(item.id, hasTrouble ? { least: NOT_HELD, most, deadline } : fresh);
      }
    }
    this.#holds = holds;
  }

  #note(view: View): void {
    for (const queue of view.queues.values()) {
      for (const { item } of spots(queue).values()) {
        assert.equal(this.#ids.get(item.id) ?? item.n, item.n, `id ${item.id} is used twice`);
        if (this.#ids.has(item.id)) continue;
        this.#ids.set(item.id, item.n);
        this.#idsOf.set(item.n, [...(this.#idsOf.get(item.n) ?? []), item.id]);
      }
    }
  }

  #checkQueue(name: string, window: Window, arrivals: Map<string, Map<number, Arrival>>): void {
    const before = window.before.queues.get(name);
    const now = window.after.queues.get(name);
    const effects = effectsOn(name, window.calls);
    checkRecord(name, window);
    const [old, current] = [spots(before), spots(now)];
    const settings = [before?.settings, now?.settings, ...(window.settings.get(name) ?? [])].filter(
      (each) => each !== undefined,
    );
    const mine = arrivals.get(name) ?? new Map<number, Arrival>();
    const numbers = new Set([
      ...old.keys(),
      ...current.keys(),
      ...effects.births.keys(),
      ...effects.leases.keys(),
      ...mine.keys(),
    ]);
    const ends = new Map<number, readonly Place[]>();
    for (const n of numbers) {
      const context = { name, n, effects, settings, window, arrival: mine.get(n) };
      ends.set(n, this.#checkItem(old.get(n), current.get(n), context));
      this.#noteDeath(ends.get(n)!, context, arrivals);
    }
    checkDrops(name, window, settings, ends);
    if (isSame(name, window)) checkCounts(before!, now!);
    checkBatches(name, effects, ends);
    checkLeases(name, effects, settings);
    checkSources(name, window);
    if (isSame(name, window)) checkOrder(before!, now!, effects);
  }

  #checkItem(old: Spot | undefined, now: Spot | undefined, context: ItemContext): readonly Place[] {
    const { name, n, settings, window } = context;
    const isNew = (id: string): boolean => !this.#ids.has(id);
    const start = placeOf(old?.item, old?.isScheduled ?? false, {
      dueAt: this.#dueAt.get(n) ?? 0,
      // What starts again does not know it.
      heldUntil: (!window.hasTrouble && this.#holds.get(old?.item.id ?? "")?.least) || NOT_HELD,
    });
    const options: LifeOptions = {
      events: this.#eventsOf(n, old, context),
      since: Math.min(window.before.at, window.after.at),
      until: window.after.at,
      steady: window.after.steady,
      settings,
      isNew,
    };
    const ends = endsOf(start, options);
    const found = ends.filter((end) => matches(end, now?.item, now?.isScheduled ?? false, isNew));
    if (found.length === 0) {
      throw new Error(
        [
          `${name}: item ${n} cannot have come from where it was to where it is`,
          `before: ${JSON.stringify(old)}`,
          `after: ${JSON.stringify(now)}`,
          ...options.events.map(({ call, isCertain, what }) =>
            JSON.stringify({ call: call.number, isCertain, what }),
          ),
          `possible: ${JSON.stringify(ends)}`,
        ].join("\n  "),
      );
    }
    if (now !== undefined) {
      this.#checkFields(old, now, context);
      const due = found.map((end) => end.dueAt).find((dueAt) => dueAt !== 0);
      if (now.isScheduled && due !== undefined) this.#dueAt.set(n, due);
    }
    return found;
  }

  #eventsOf(
    n: number,
    old: Spot | undefined,
    { effects, arrival, window: { hasTrouble } }: ItemContext,
  ): readonly ItemEvent[] {
    const leases = effects.leases.get(n) ?? [];
    const ids = new Set(leases.map(({ what }) => (what.kind === "lease" ? what.id : "")));
    if (old !== undefined) ids.add(old.item.id);
    const birth = effects.births.get(n);
    const events = [...(birth === undefined ? [] : [birth]), ...leases];
    for (const id of ids) events.push(...(effects.byId.get(id) ?? []));
    events.push(...effects.toAll);
    if (arrival !== undefined) {
      // A copy that is there already, because the removal of its original had failed, stays as it is.
      const isCertain = arrival.isCertain && old === undefined;
      events.push({ call: ARRIVES, isCertain, what: { kind: "arrive" } });
      if (hasTrouble) events.push({ call: ARRIVES, isCertain: false, what: { kind: "arrive" } });
    }
    return events;
  }

  // What never changes, and what may only be what the settings say.
  #checkFields(
    old: Spot | undefined,
    now: Spot,
    { name, n, effects, settings, window, arrival }: ItemContext,
  ): void {
    const where = `${name}: item ${n}`;
    const { item } = now;
    if (old !== undefined) {
      assert.equal(item.createdAt, old.item.createdAt, `${where}: created_at`);
      assert.equal(now.partition, old.partition, `${where}: partition`);
      // Its expiry may begin when it becomes leasable.
      if (old.isScheduled || wasPutOff(n, old, effects)) return;
      assert.equal(item.expireAt, old.item.expireAt, `${where}: expire_deadline`);
      return;
    }
    const { before, after } = window;
    const [from, to] = [before.at, after.at].sort((a, b) => a - b);
    const within = item.createdAt >= from! && item.createdAt <= to!;
    assert.ok(within, `${where}: created_at`);
    const life = item.expireAt - item.createdAt;
    const birth = effects.births.get(n)?.what;
    // The time of one that was scheduled beyond its expiry begins when it becomes leasable.
    const isDelayed = birth?.kind === "produce" && birth.dueAt !== 0;
    const begins = isDelayed || wasPutOff(n, old, effects);
    const fits = settings.some(({ expireTimeout }) =>
      begins ? expireTimeout <= life : expireTimeout === life,
    );
    assert.ok(fits, `${where}: expire_deadline`);
    if (arrival !== undefined && birth === undefined) {
      const { sourceIds } = arrival;
      const { sourceId } = item;
      const known = sourceIds.has(sourceId) || (sourceIds.has("") && !this.#ids.has(sourceId));
      assert.ok(known, `${where}: source_id ${sourceId}`);
      assert.equal(now.partition, 0, `${where}: partition of a dead letter`);
    }
  }

  // An item that has died must be in the dead queue, or have been.
  #noteDeath(
    ends: readonly Place[],
    { name, n, settings, window }: ItemContext,
    arrivals: Map<string, Map<number, Arrival>>,
  ): void {
    const deaths = ends.filter((end) => end.diedAs !== undefined);
    if (deaths.length === 0 && !window.hasTrouble) return;
    for (const deadQueue of new Set(settings.map((each) => each.deadQueue))) {
      if (deadQueue === "" || deadQueue === name) continue;
      const isSettled =
        settings.every((each) => each.deadQueue === deadQueue) && isSame(deadQueue, window);
      const mine = arrivals.get(deadQueue) ?? new Map<number, Arrival>();
      arrivals.set(deadQueue, mine);
      const arrival = mine.get(n) ?? { isCertain: false, sourceIds: new Set<string>() };
      arrival.isCertain ||= deaths.length === ends.length && isSettled;
      for (const { diedAs } of deaths) arrival.sourceIds.add(diedAs!);
      for (const id of this.#idsOf.get(n) ?? []) arrival.sourceIds.add(id);
      mine.set(n, arrival);
    }
  }

  // Time does what it is to do, as soon as the server can.
  #checkOverdue(queue: SeenQueue, { at, steady }: View): void {
    for (const { item, isScheduled } of spots(queue).values()) {
      const where = `${queue.name}: item ${item.n}`;
      if (isScheduled) {
        assert.ok((this.#dueAt.get(item.n) ?? at) >= at, `${where} is scheduled for the past`);
      } else if (item.isLeased) {
        const holds = this.#holds.get(item.id)!.most >= steady;
        assert.ok(item.deadline >= at || holds, `${where}: its lease has ended`);
      } else {
        assert.ok(item.expireAt >= at, `${where} has expired`);
      }
    }
  }
}

const ARRIVES = {
  number: -1,
  path: "a dead letter arrives",
  state: "answered",
  startedAt: 0,
} as unknown as Call;

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

/** Whether somebody has asked for this, or may have. */
function mayHave(path: string, name: string, { calls }: Window): boolean {
  return calls.some(
    (call) =>
      call.path === path && call.request.queue_name === name && certaintyOf(call) !== "none",
  );
}

// Whether a queue is there before and after, and was not made anew in between.
function isSame(name: string, window: Window): boolean {
  const before = window.before.queues.get(name)?.createdAt;
  const after = window.after.queues.get(name)?.createdAt;
  const isAnew = mayHave("queues.delete", name, window) && mayHave("queues.create", name, window);
  return before !== undefined && before === after && !isAnew;
}

// A record changes only because somebody asked for it.
function checkRecord(name: string, window: Window): void {
  const may = (path: string): boolean => mayHave(path, name, window);
  const done = (path: string): boolean =>
    window.calls.some(
      (call) =>
        call.path === path && call.request.queue_name === name && certaintyOf(call) === "done",
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

// Whether somebody may have given an item back for later.
function wasPutOff(n: number, old: Spot | undefined, { leases, byId }: Effects): boolean {
  const ids = (leases.get(n) ?? []).map(({ what }) => (what.kind === "lease" ? what.id : ""));
  return [...ids, old?.item.id ?? ""].some((id) =>
    byId.get(id)?.some(({ what }) => what.kind === "retry" && what.dueAt !== 0),
  );
}

// What dies without a dead queue to go to is counted; nothing else is.
function checkDrops(
  name: string,
  window: Window,
  settings: readonly Settings[],
  ends: ReadonlyMap<number, readonly Place[]>,
): void {
  if (!isSame(name, window)) return;
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
function checkCounts(before: SeenQueue, now: SeenQueue): void {
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
function checkBatches(
  name: string,
  { births }: Effects,
  ends: ReadonlyMap<number, readonly Place[]>,
): void {
  const calls = new Map<Call, Set<boolean>>();
  for (const [n, { call }] of births) {
    if (call.path !== "queue.produce") continue;
    const born = new Set(ends.get(n)!.map((end) => end.at !== "unborn"));
    if (born.size === 1) calls.set(call, new Set([...(calls.get(call) ?? []), ...born]));
  }
  for (const [call, born] of calls) {
    assert.ok(born.size === 1, `${name}: call ${call.number} was done in part`);
  }
}

// A lease reply holds at most what was asked for, and its deadline is that of the queue.
function checkLeases(name: string, { leases }: Effects, settings: readonly Settings[]): void {
  const counts = new Map<Call, number>();
  for (const { call, what } of [...leases.values()].flat()) {
    counts.set(call, (counts.get(call) ?? 0) + 1);
    if (what.kind !== "lease") continue;
    const begun = settings.map(({ leaseTimeout }) => what.deadline - leaseTimeout);
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
function checkSources(name: string, { before, after, calls }: Window): void {
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

// Leases take from the head: nothing that still waits, untouched, stands before what was leased.
function checkOrder(before: SeenQueue, now: SeenQueue, effects: Effects): void {
  for (const [partition, { items }] of before.partitions.entries()) {
    const still = new Map(now.partitions[partition]?.items.map((item) => [item.id, item]));
    let skipped: SeenItem | undefined;
    for (const item of items) {
      if (item.isLeased) continue;
      const later = still.get(item.id);
      const events = effects.leases.get(item.n) ?? [];
      const wasLeased =
        later?.isLeased === true ||
        events.some(({ what }) => what.kind === "lease" && what.id === item.id);
      if (!wasLeased && later !== undefined) skipped ??= item;
      assert.ok(
        !wasLeased || skipped === undefined,
        `${before.name}/${partition}: item ${item.n} was leased before item ${skipped?.n}`,
      );
    }
  }
}

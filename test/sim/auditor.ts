// Checks what is seen of the server against what clients asked of it, whatever went wrong in
// between: between two views every item must have come to where it is in a way that wire.md allows,
// every acknowledged request must have happened exactly once, and nothing may have happened that
// nobody asked for. Knows nothing of the code that it checks.

import assert from "node:assert/strict";
import {
  boundIn,
  checkBatches,
  checkCounts,
  checkDrops,
  checkFollowers,
  checkLeases,
  checkOrder,
  checkRecord,
  checkSources,
  isSame,
  mayRedrive,
  type Spot,
  spots,
  type Window,
  wasPutOff,
} from "./checks.ts";
import { certaintyOf, type Effects, effectsOn, type ItemEvent } from "./effects.ts";
import { HistoryAuditor } from "./history.ts";
import { endsOf, type LifeOptions, matches, NOT_HELD, ownOf, type Place, placeOf } from "./life.ts";
import {
  numberLeased,
  type SeenItem,
  type SeenQueue,
  type Settings,
  type View,
} from "./observe.ts";
import { type AllProduced, NOTHING_OWN, type Own } from "./produced.ts";
import { KeyAuditor } from "./unique.ts";
import type { Call } from "./world.ts";

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
  /** Whether a redrive may bring it. */
  readonly mayReturn: boolean;
  /** Which numbers an id may stand for. */
  readonly candidates: ReadonlyMap<string, number>;
}

/** By queue, and by the number of the item. */
export type Ends = ReadonlyMap<string, ReadonlyMap<number, readonly Place[]>>;

export class Auditor {
  /** Which item every id that was ever seen belongs to. */
  readonly #ids = new Map<string, number>();
  readonly #idsOf = new Map<number, readonly string[]>();
  /** The ids that items keep; what takes the place of another has the same. */
  readonly #itemIds = new Map<number, string>();
  /** Of items that are there: whether they have never been leased, if that is known. */
  readonly #fresh = new Map<number, boolean | undefined>();
  /** What was ever in the dead queue of its own, or may have been. */
  readonly #wasDead = new Set<number>();
  /** Of items that are in the dead queue: whether they have died, if that is known. */
  readonly #isDead = new Map<number, boolean | undefined>();
  /** By id: until when a lease holds. */
  #holds: ReadonlyMap<string, Hold> = new Map();
  readonly #produced: AllProduced;
  readonly #keys: KeyAuditor;
  readonly #history = new HistoryAuditor();

  constructor(produced: AllProduced) {
    this.#produced = produced;
    this.#keys = new KeyAuditor(produced);
  }

  /** Checks one window, queue by queue; dead queues come last. */
  check(window: Window): void {
    const arrivals = new Map<string, Map<number, Arrival>>();
    const names = [...new Set([...window.before.queues.keys(), ...window.after.queues.keys()])];
    const isDead = (name: string): boolean => name === "dead";
    names.sort((a, b) => Number(isDead(a)) - Number(isDead(b)));
    this.#noteItemIds(window);
    const ends = new Map<string, ReadonlyMap<number, readonly Place[]>>();
    for (const name of names) ends.set(name, this.#checkQueue(name, window, arrivals));
    checkMoves(window, ends);
    checkFollowers(window, ends, (id) => this.#ids.get(id));
    this.#noteHolds(window);
    for (const queue of window.after.queues.values()) this.#checkOverdue(queue, window.after);
    checkBound(window);
    this.#note(window.after, ends);
    this.#keys.check(window, {
      isFresh: (n) => this.#fresh.get(n),
      wasDead: (n) => this.#wasDead.has(n),
    });
    this.#history.check(window, ends, (n) => this.#itemIds.get(n));
  }

  /** By id: until when the leases of the last view hold. */
  get holds(): ReadonlyMap<string, Hold> {
    return this.#holds;
  }

  /** What an item says that is in a queue in the last view; undefined if that is not known. */
  ownOf(queue: string, n: number): Own | undefined {
    const own = this.#ownOf(n);
    if (queue !== "dead" || own === NOTHING_OWN) return own;
    // What was never seen there is produced there now.
    const isDead = this.#isDead.has(n) ? this.#isDead.get(n) : false;
    return isDead === true ? NOTHING_OWN : isDead === false ? own : undefined;
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

  #noteItemIds({ after, calls }: Window): void {
    for (const { n, itemId, traceparent } of itemsIn(after)) {
      this.#itemIds.set(n, itemId);
      // Whatever has become of it since.
      assert.equal(traceparent, this.#produced.get(n)?.traceparent ?? "", `trace of item ${n}`);
    }
    // Of what is there no more, or not by this view, the answer tells.
    for (const call of calls) {
      if (certaintyOf(call) !== "done") continue;
      if (call.path === "v2/queue.produce") {
        const { items } = call.request as { items: { utf8: string }[] };
        for (const [i, { utf8 }] of items.entries()) {
          const { id, status } = call.body.results[i];
          if (id && status !== "duplicate") this.#itemIds.set(Number(utf8), id);
        }
      }
      if (call.path === "v2/queue.lease") {
        for (const { id, lease_id, ...item } of call.body.items) {
          const n = numberLeased(item);
          this.#itemIds.set(n, id);
          this.#ids.set(lease_id, n);
        }
      }
    }
  }

  #note(view: View, ends: Ends): void {
    for (const { n, id } of itemsIn(view)) {
      assert.equal(this.#ids.get(id) ?? n, n, `id ${id} is used twice`);
      const known = this.#idsOf.get(n) ?? [];
      this.#ids.set(id, n);
      if (!known.includes(id)) this.#idsOf.set(n, [...known, id]);
    }
    for (const [name, mine] of ends) {
      for (const [n, places] of mine) {
        const isThere = view.queues.has(name) && places.some(({ at }) => !NOWHERE.includes(at));
        if (isThere) this.#fresh.set(n, only(places.map(({ isFresh }) => isFresh)));
        if (isThere && name === "dead") {
          this.#isDead.set(n, only(places.map(({ isDead }) => isDead)));
        }
        // What has come from another queue was dead before, or is.
        if (isThere && places.some(({ hasCome }) => hasCome)) this.#wasDead.add(n);
      }
    }
  }

  #checkQueue(
    name: string,
    window: Window,
    arrivals: Map<string, Map<number, Arrival>>,
  ): ReadonlyMap<number, readonly Place[]> {
    const before = window.before.queues.get(name);
    const now = window.after.queues.get(name);
    const effects = effectsOn(name, window.calls);
    checkRecord(name, window);
    const [old, current] = [spots(before), spots(now)];
    const settings = [before?.settings, now?.settings, ...(window.settings.get(name) ?? [])].filter(
      (each) => each !== undefined,
    );
    const mine = arrivals.get(name) ?? new Map<number, Arrival>();
    const isRedriving = mayRedrive(window);
    // Anything may have died and come back, or have come from elsewhere.
    const coming = isRedriving ? numbersIn(window) : [];
    const numbers = new Set([
      ...old.keys(),
      ...current.keys(),
      ...effects.births.keys(),
      ...effects.leases.keys(),
      ...mine.keys(),
      ...coming,
    ]);
    const candidates = new Map<string, number>();
    for (const n of numbers) {
      const id = this.#itemIds.get(n) ?? "";
      candidates.set(id, (candidates.get(id) ?? 0) + 1);
    }
    const mayReturn = isRedriving && name !== "dead";
    const ends = new Map<number, readonly Place[]>();
    for (const n of numbers) {
      const arrival = mine.get(n);
      const context = { name, n, effects, settings, window, arrival, mayReturn, candidates };
      ends.set(n, this.#checkItem(old.get(n), current.get(n), context));
      this.#noteDeath(ends.get(n)!, context, arrivals);
    }
    checkDrops(name, window, settings, ends);
    if (isSame(name, window)) checkCounts(before!, now!);
    checkBatches(name, effects, ends);
    checkLeases(name, effects, settings);
    checkSources(name, window);
    if (isSame(name, window)) checkOrder(before!, now!, effects, this.#produced);
    return ends;
  }

  #checkItem(old: Spot | undefined, now: Spot | undefined, context: ItemContext): readonly Place[] {
    const { name, n, settings, window } = context;
    const isNew = (id: string): boolean =>
      this.#ids.get(id) === undefined || !this.#idsOf.get(n)?.includes(id);
    const known = {
      isFresh: this.#fresh.get(n),
      // What starts again does not know it.
      heldUntil: (!window.hasTrouble && this.#holds.get(old?.item.id ?? "")?.least) || NOT_HELD,
    };
    const options: LifeOptions = {
      events: this.#eventsOf(n, old, context),
      since: Math.min(window.before.at, window.after.at),
      until: window.after.at,
      steady: window.after.steady,
      settings,
      own: this.#ownOf(n),
      isNew,
    };
    const isDead = old !== undefined && name === "dead" ? this.#isDead.get(n) : false;
    const starts = isDead === undefined ? [false, true] : [isDead];
    const ends = starts.flatMap((each) => {
      const start = placeOf(old?.item, old?.isScheduled ?? false, { ...known, isDead: each });
      return endsOf(start, options);
    });
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
    // Where it may have gone away and come back, either is right.
    const hasCome = only(found.map((end) => end.hasCome));
    if (now !== undefined && hasCome !== undefined) {
      this.#checkFields(hasCome ? undefined : old, now, context, found);
    }
    return found;
  }

  // What an item says unless it is dead.
  #ownOf(n: number): Own {
    return this.#produced.get(n)?.own ?? NOTHING_OWN;
  }

  #eventsOf(
    n: number,
    old: Spot | undefined,
    { name, effects, arrival, window, mayReturn, candidates }: ItemContext,
  ): readonly ItemEvent[] {
    const { hasTrouble } = window;
    const leases = effects.leases.get(n) ?? [];
    const ids = new Set(leases.map(({ what }) => (what.kind === "lease" ? what.id : "")));
    if (old !== undefined) ids.add(old.item.id);
    const birth = effects.births.get(n);
    const events = [...(birth === undefined ? [] : [birth]), ...leases];
    for (const id of ids) events.push(...(effects.byId.get(id) ?? []));
    const itemId = this.#itemIds.get(n) ?? "";
    for (const event of effects.byItem.get(itemId) ?? []) {
      // What has taken its place, or had it before, may be meant.
      const isCertain = event.isCertain && candidates.get(itemId) === 1;
      events.push({ ...event, isCertain });
    }
    const { wish, queue } = this.#produced.get(n) ?? {};
    const [replaced] = (queue === name && effects.byKey.get(wish?.key ?? "")) || [];
    if (replaced !== undefined) events.push(replaced);
    // What may wait behind another may get its turn.
    const mayWait = wish !== undefined && MAY_WAIT.includes(wish.onDuplicate);
    if (mayWait) events.push(byItself({ kind: "turn" }, window));
    events.push(...effects.toAll);
    if (mayReturn) events.push(byItself({ kind: "arrive", byRedrive: true }, window));
    if (name === "dead" && mayRedrive(window)) {
      events.push(byItself({ kind: "redrive" }, window), byItself({ kind: "redrive" }, window));
    }
    if (arrival !== undefined) {
      // A copy that is there already, because the removal of its original had failed, stays as it is.
      const isCertain = arrival.isCertain && old === undefined;
      const what = { kind: "arrive", byRedrive: false } as const;
      events.push({ ...byItself(what, window), isCertain });
      if (hasTrouble || (mayRedrive(window) && isCertain)) events.push(byItself(what, window));
    }
    return events;
  }

  // What never changes, and what may only be what the settings say.
  #checkFields(
    old: Spot | undefined,
    now: Spot,
    context: ItemContext,
    ends: readonly Place[],
  ): void {
    const { name, n, effects, settings, window, arrival } = context;
    const where = `${name}: item ${n}`;
    const { item } = now;
    if (old !== undefined) {
      assert.equal(item.createdAt, old.item.createdAt, `${where}: created_at`);
      assert.equal(now.partition, old.partition, `${where}: partition`);
      // Its expiry may begin when it becomes leasable.
      if (old.isScheduled || wasPutOff(n, old, effects, settings)) return;
      // A change may give it another time.
      if (effects.byItem.has(now.item.itemId)) return;
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
    const isDelayed = birth?.kind === "produce" && (birth.dueAt !== 0 || birth.isReplacing);
    const isChanged = effects.byItem.has(item.itemId);
    const begins = isDelayed || wasPutOff(n, old, effects, settings);
    const owns = ends.map((end) => ownOf(end, this.#ownOf(n)));
    const fits = settings.some((each) =>
      owns.some(({ expireIn = each.expireTimeout }) => {
        return isChanged || (begins ? expireIn <= life : expireIn === life);
      }),
    );
    assert.ok(fits, `${where}: expire_deadline`);
    if (ends.every(({ isRedriven }) => isRedriven))
      assert.equal(now.partition, 0, `${where}: partition of what was redriven`);
    else if (arrival !== undefined && birth === undefined) {
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
        const hasNoTime = item.isBehind || item.boundTo !== "";
        assert.ok(hasNoTime || item.dueAt >= at, `${where} is scheduled for the past`);
      } else if (item.isLeased) {
        const holds = this.#holds.get(item.id)!.most >= steady;
        assert.ok(item.deadline >= at || holds, `${where}: its lease has ended`);
      } else {
        assert.ok(item.expireAt >= at, `${where} has expired`);
      }
    }
  }
}

const MAY_WAIT: readonly string[] = ["keep_latest", "replace", "extend"];

const NOWHERE: readonly Place["at"][] = ["unborn", "gone"];

// What all of them are; undefined if they differ.
function only<T>(all: readonly T[]): T | undefined {
  const [first, ...others] = new Set(all);
  return others.length === 0 ? first : undefined;
}

// What may happen though no call that is known asks for it now.
function byItself(what: ItemEvent["what"], { before }: Window): ItemEvent {
  const call = { number: -1, path: what.kind, state: "answered", startedAt: before.at };
  return { call: call as unknown as Call, isCertain: false, what };
}

// What has left the dead queue alive is, or was, where it went; and nothing is in two queues.
function checkMoves(window: Window, ends: Ends): void {
  const { before, after } = window;
  const queues = new Map<number, string>();
  for (const queue of after.queues.values()) {
    for (const n of spots(queue).keys()) {
      const other = queues.get(n);
      assert.ok(other === undefined, `item ${n} is in ${other} and in ${queue.name}`);
      queues.set(n, queue.name);
    }
  }
  const targets = [...ends.keys()].filter((name) => name !== "dead");
  if (targets.some((name) => !isSame(name, window)) || !before.queues.has("dead")) return;
  for (const [n, places] of ends.get("dead") ?? []) {
    if (places.length === 0 || !places.every(({ way }) => way === "redriven")) continue;
    const isArrived = targets.some((name) =>
      ends
        .get(name)!
        .get(n)
        ?.some((end) => end.isRedriven),
    );
    assert.ok(isArrived, `item ${n} has left the dead queue, and has come nowhere`);
  }
}

// What is on its way gets to where it goes at once, if that is there; to a queue that has come since, in a minute.
function checkBound(window: Window): void {
  const { before, after } = window;
  const known = new Map(boundIn(before).map(({ n, boundTo }) => [n, boundTo]));
  const isLong = after.steady - before.steady > BOUND_RETRY;
  for (const { n, boundTo } of boundIn(after)) {
    if (!isSame(boundTo, window) || (known.get(n) === boundTo && !isLong)) continue;
    assert.fail(`item ${n} is on its way to ${boundTo}, and does not get there`);
  }
}

// A little more than a minute.
const BOUND_RETRY = 62_000_000;

function numbersIn({ before, calls }: Window): readonly number[] {
  const born = [...before.queues.keys()].flatMap((name) => [
    ...effectsOn(name, calls).births.keys(),
  ]);
  return [...itemsIn(before).map(({ n }) => n), ...born];
}

function itemsIn({ queues }: View): readonly SeenItem[] {
  return [...queues.values()].flatMap(({ partitions }) =>
    partitions.flatMap(({ items, scheduled }) => [...items, ...scheduled]),
  );
}

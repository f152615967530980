// The life of one item as wire.md tells it: from what was seen of it before, through what clients
// asked for and what time does, to what is seen of it afterwards. A search over these few steps says
// whether there is a way, and whether the item has died on all of them.

import type { ItemEvent, Told } from "./effects.ts";
import type { SeenItem, Settings } from "./observe.ts";
import { NOTHING_OWN, type Own } from "./produced.ts";

/** How an item has left a queue; "" if it has not. `redriven`: alive, into another queue. */
export type Way =
  | ""
  | "completed"
  | "cancelled"
  | "deleted"
  | "replaced"
  | "redriven"
  | "attempts"
  | "expired"
  | "rejected";

/** Where an item can be. `id` is "" while it has a new one that nobody has seen. */
export interface Place {
  /** `bound`: on its way out of the dead queue, where nobody can do anything to it. */
  readonly at: "unborn" | "waiting" | "leased" | "scheduled" | "bound" | "gone";
  readonly id: string;
  readonly attempts: number;
  /** Of the lease; 0 if it is not known. */
  readonly deadline: number;
  /** In steady time, of a lease that began before: it does not end sooner. */
  readonly heldUntil: number;
  /** Of one that is scheduled: when it becomes leasable, at the earliest and at the latest. */
  readonly dueAt: number;
  readonly dueMost: number;
  /** Of one that waits behind another: when it becomes leasable if its turn has come by then; 0 for with that. */
  readonly turnAt: number;
  readonly expireAt: number;
  /** Whether it died on the way: then it has gone to the dead queue, if there is one. */
  readonly diedAs: string | undefined;
  readonly way: Way;
  /** Whether it ends with its lease, whatever is asked. */
  readonly cancelled: boolean;
  /** Whether it has never been leased; undefined if that is not known. */
  readonly isFresh: boolean | undefined;
  /** Whether it came from another queue on the way, and whether out of a dead queue. */
  readonly hasCome: boolean;
  readonly isRedriven: boolean;
  /** Whether it lies in a dead queue because it has died: there it says nothing of its own. */
  readonly isDead: boolean;
  /** The results that it may have been completed with. */
  readonly result: string;
}

export interface LifeOptions {
  readonly events: readonly ItemEvent[];
  /** The earliest time that it has been, and the time at the end, in steady time as well. */
  readonly since: number;
  readonly until: number;
  readonly steady: number;
  /** The settings that were in force at one time or another. */
  readonly settings: readonly Settings[];
  /** What it says unless it is dead. */
  readonly own: Own;
  /** Whether an id was never seen before. */
  readonly isNew: (id: string) => boolean;
}

/** Before any steady time. */
export const NOT_HELD = -1;

const UNBORN: Place = {
  at: "unborn",
  id: "",
  attempts: 0,
  deadline: 0,
  heldUntil: NOT_HELD,
  dueAt: 0,
  dueMost: 0,
  turnAt: 0,
  expireAt: 0,
  diedAs: undefined,
  way: "",
  cancelled: false,
  isFresh: true,
  hasCome: false,
  isRedriven: false,
  isDead: false,
  result: "",
};

/** When a time is not known. */
export const SOME_TIME = Number.MAX_SAFE_INTEGER;

/** Where an item is that a view shows, or does not show. */
export function placeOf(
  seen: SeenItem | undefined,
  isScheduled: boolean,
  { heldUntil, isFresh, isDead }: Pick<Place, "heldUntil" | "isFresh" | "isDead">,
): Place {
  if (seen === undefined) return UNBORN;
  const { id, attempts, deadline, expireAt, isCancelled: cancelled } = seen;
  // What waits behind another has no time before its turn.
  const dueAt = seen.isBehind ? SOME_TIME : seen.dueAt;
  const turnAt = seen.isBehind ? seen.dueAt : 0;
  const at = whereIs(seen, isScheduled);
  return {
    ...UNBORN,
    ...{
      at,
      id,
      attempts,
      deadline,
      heldUntil,
      dueAt,
      dueMost: dueAt,
      turnAt,
      expireAt,
      cancelled,
      isFresh,
      isDead,
    },
  };
}

function whereIs({ boundTo, isLeased }: SeenItem, isScheduled: boolean): Place["at"] {
  if (boundTo !== "") return "bound";
  return isScheduled ? "scheduled" : isLeased ? "leased" : "waiting";
}

/** All places in which the item can be at the end, after everything that is certain has happened. */
export function endsOf(start: Place, options: LifeOptions): readonly Place[] {
  const ends = new Map<string, Place>();
  const seen = new Set<string>();
  const visit = (place: Place, used: number): void => {
    const key = `${JSON.stringify(place)} ${used}`;
    if (seen.has(key)) return;
    seen.add(key);
    const { events } = options;
    if (events.every((event, i) => !event.isCertain || mayPass(event) || (used & (1 << i)) !== 0)) {
      ends.set(JSON.stringify(place), place);
    }
    for (const next of throughTime(place, options)) visit(next, used);
    for (const [i, event] of events.entries()) {
      if ((used & (1 << i)) !== 0) continue;
      for (const next of after(place, event, options)) visit(next, used | (1 << i));
    }
  };
  visit(start, 0);
  return [...ends.values()];
}

// What is asked for all items need not meet this one.
function mayPass({ what }: ItemEvent): boolean {
  return what.kind === "clear" || what.kind === "delete-queue" || what.kind === "delete-item";
}

const DEATHS: readonly Way[] = ["attempts", "expired", "rejected"];

function gone(place: Place, way: Way, result = ""): Place {
  const { hasCome, isRedriven, isFresh } = place;
  // What has died, and come back, and ended here, has died.
  const diedAs = DEATHS.includes(way) ? place.id : place.diedAs;
  return { ...UNBORN, at: "gone", way, diedAs, hasCome, isRedriven, isFresh, result };
}

function throughTime(place: Place, options: LifeOptions): readonly Place[] {
  const { until, steady } = options;
  switch (place.at) {
    case "waiting":
      return isOld(place, options) ? [gone(place, "expired")] : [];
    case "scheduled":
      return place.dueAt < until ? fired(place, options) : [];
    case "leased": {
      if (place.deadline !== 0 && place.deadline >= until) return [];
      if (place.heldUntil >= steady) return [];
      return endOfLeaseByTime(place, options);
    }
    case "bound":
      // It gets another number if it waits for long.
      return [gone(place, "redriven"), { ...place, id: "" }];
    default:
      return [];
  }
}

const FREE = { deadline: 0, heldUntil: NOT_HELD, isFresh: false } as const;

// By what the queue says; what was cancelled comes back by none of it.
function endOfLeaseByTime(place: Place, options: LifeOptions): readonly Place[] {
  if (place.cancelled) return [gone(place, "cancelled")];
  const back: Place = { ...place, ...FREE, at: "waiting", id: "" };
  const ways = options.settings.map(({ onLeaseEnd }) => onLeaseEnd);
  const ends: Place[] = [];
  if (ways.includes("retry_now")) ends.push(...endOfLease(place, back, options));
  if (ways.includes("retry_delayed")) {
    for (const on of byPolicy(place, back, options)) {
      // It would have had its place: a time that nobody has asked for does not keep it.
      ends.push(...endOfLease(place, on, options, { isAsked: false }));
    }
  }
  if (ways.includes("reject")) {
    const dead = endOfLease(place, back, options).filter(({ at }) => at === "gone");
    ends.push(gone(place, "rejected"), ...dead);
  }
  return ends;
}

// After the wait of the policy: from a moment in between, which is not known, on.
function byPolicy(place: Place, back: Place, options: LifeOptions): readonly Place[] {
  const { settings, own, until, since } = options;
  return settings.map((each) => {
    const wait = waitOf(each, ownOf(place, own), place.attempts);
    if (wait === 0) return back;
    const from = Math.max(since, place.deadline < until ? place.deadline : 0);
    const later = { dueAt: from + wait, dueMost: until + wait };
    return { ...back, at: "scheduled", id: place.id, ...later };
  });
}

/** How long an item waits for its next attempt, by its policy, where half of what is left to chance is taken. */
export function waitOf(settings: Settings, own: Own, attempts: number): number {
  const delay = own.retryDelay ?? settings.retryDelay;
  if (delay === 0) return 0;
  const longest = Math.max(settings.retryMaxDelay, own.retryDelay ?? 0);
  const wait = Math.min(delay * settings.retryFactor ** Math.max(attempts - 1, 0), longest);
  return Math.round(wait * (1 - settings.retryJitter * 0.5));
}

// The time of one that was accepted for later than its expiry begins when it becomes leasable.
function fired(place: Place, options: LifeOptions): readonly Place[] {
  const { until } = options;
  const kept: Place = { ...place, at: "waiting", id: "", dueAt: 0, dueMost: 0 };
  if (place.expireAt === 0 || place.expireAt >= until) return [kept];
  const begun = { ...kept, expireAt: place.dueAt + lifeOf(place, options) };
  return place.expireAt <= place.dueAt ? [begun] : [begun, kept];
}

function lifeOf(place: Place, { own, settings }: LifeOptions): number {
  return ownOf(place, own).expireIn ?? Math.min(...settings.map((each) => each.expireTimeout));
}

/** What an item says in place of its queue, where it is. */
export function ownOf({ isDead }: Place, own: Own): Own {
  return isDead ? NOTHING_OWN : own;
}

function isOld({ expireAt }: Place, { until }: LifeOptions): boolean {
  return expireAt !== 0 && expireAt < until;
}

// Without completion it goes on, or dies if this lease was its last, or it is too old.
// One that does not count is no last one, and a later time that was asked for is kept.
function endOfLease(
  place: Place,
  on: Place,
  options: LifeOptions,
  { isRelease = false, isAsked = true } = {},
): readonly Place[] {
  const { own, settings } = options;
  const isLast = settings.map((s) => {
    const max = ownOf(place, own).maxAttempts ?? s.maxAttempts;
    return !isRelease && max !== 0 && place.attempts >= max;
  });
  if (isLast.every((each) => each)) return [gone(place, "attempts")];
  const mayBeOld = (on.at !== "scheduled" || !isAsked) && isOld(place, options);
  return [
    on,
    ...(isLast.some((each) => each) ? [gone(place, "attempts")] : []),
    ...(mayBeOld ? [gone(place, "expired")] : []),
  ];
}

// Whether a client was told what is so. Under /v1 there is no word for an item that was cancelled.
function fits({ cancelled }: Place, told: Told): boolean {
  return told === undefined || cancelled === (told === "item_cancelled");
}

function after(place: Place, event: ItemEvent, options: LifeOptions): readonly Place[] {
  const { what, call, isCertain } = event;
  // Of a new item: the earliest that it can be.
  const begun = Math.max(call.startedAt, options.since);
  const expireAt = begun + lifeOf(place, options);
  switch (what.kind) {
    case "produce": {
      if (place.at !== "unborn") return [];
      const now: Place = { ...place, at: "waiting", expireAt };
      const ends = laterOrNow({ ...place, expireAt }, now, what.dueAt, options);
      // In the place of another it may have the time of that.
      if (!what.isReplacing) return ends;
      const then: Place = { ...now, at: "scheduled", dueAt: 0, dueMost: SOME_TIME };
      return [...ends, now, then];
    }
    case "import":
      if (place.at !== "unborn") return [];
      return [
        {
          ...place,
          ...{ at: what.isLeased ? "leased" : "waiting", attempts: what.attempts, expireAt },
        },
      ];
    case "arrive": {
      // A second time if the removal of the original had failed, and the copy has gone meanwhile.
      const isIn = place.at === "gone" && (!isCertain || place.way === "redriven");
      if (place.at !== "unborn" && !isIn) return [];
      const { byRedrive: isRedriven } = what;
      const { diedAs } = place; // what comes back from the dead has been there
      const come: Place = { ...UNBORN, hasCome: true, isRedriven, isDead: !isRedriven, diedAs };
      return [{ ...come, at: "waiting", expireAt: begun + lifeOf(come, options) }];
    }
    case "lease": {
      const isIt = place.id === what.id || (place.id === "" && options.isNew(what.id));
      if (place.at !== "waiting" || !isIt || place.attempts + 1 !== what.attempts) return [];
      const { id, attempts, deadline } = what;
      return [{ ...place, at: "leased", id, attempts, deadline, isFresh: false }];
    }
    case "lease-unseen":
      if (place.at !== "waiting") return [];
      // Where leases count it is given back, as its client has gone.
      return [
        { ...place, at: "leased", attempts: place.attempts + 1, deadline: 0, isFresh: false },
        ...endOfLease(place, { ...place, ...FREE, id: "" }, options, { isRelease: true }),
      ];
    case "complete": {
      if (place.at !== "leased" || place.id !== what.id || !fits(place, what.told)) return [];
      const way = place.cancelled ? "cancelled" : "completed";
      return [gone(place, way, place.cancelled ? "" : what.result)];
    }
    case "retry": {
      if (place.at !== "leased" || place.id !== what.id || !fits(place, what.told)) return [];
      if (place.cancelled) return [gone(place, "cancelled")];
      if (what.dead) return [gone(place, "rejected")];
      const { isRelease } = what;
      const attempts = isRelease ? Math.max(place.attempts - 1, 0) : place.attempts;
      const back: Place = { ...place, ...FREE, at: "waiting", id: "", attempts };
      if (what.dueAt === -1) {
        const from = { ...options, since: begun };
        return byPolicy({ ...place, deadline: 0 }, back, from).flatMap((on) =>
          endOfLease(place, on, options, { isAsked: false }),
        );
      }
      return laterOrNow({ ...place, attempts }, back, what.dueAt, options).flatMap((on) =>
        endOfLease(place, on, options, { isRelease }),
      );
    }
    case "extend": {
      if (place.at !== "leased" || place.id !== what.id || !fits(place, "ok")) return [];
      // From now on, by both clocks, which have gone on together since.
      return [{ ...place, deadline: what.deadline, heldUntil: NOT_HELD }];
    }
    case "cancel":
      if (place.at === "leased") return [{ ...place, cancelled: true }];
      if (place.at === "waiting" || place.at === "scheduled") return [gone(place, "cancelled")];
      // Once more changes nothing.
      return place.way === "cancelled" ? [place] : [];
    case "change":
      return changed(place, event, { ...options, since: begun });
    case "replaced":
      return place.at === "waiting" || place.at === "scheduled" ? [gone(place, "replaced")] : [];
    case "redrive": {
      if (place.at !== "waiting" && place.at !== "scheduled") return [];
      // Into another storage in two steps; what was scheduled gets another number with the first.
      const id = place.at === "scheduled" ? "" : place.id;
      const bound: Place = { ...place, at: "bound", id, dueAt: 0, dueMost: 0, turnAt: 0 };
      return [gone(place, "redriven"), bound];
    }
    case "turn":
      if (place.at !== "scheduled" || place.dueMost !== SOME_TIME) return [];
      return inTurn(place, begun, options);
    case "clear": {
      const hit =
        (what.items && place.at === "waiting") ||
        (what.items && what.destructive && place.at === "leased") ||
        (what.scheduled && place.at === "scheduled");
      return hit ? [gone(place, "deleted")] : [];
    }
    case "delete-item": {
      const isThere = ["waiting", "leased", "scheduled"].includes(place.at);
      return isThere && (place.id === what.id || place.id === "") ? [gone(place, "deleted")] : [];
    }
    case "delete-queue":
      return place.at === "unborn" || call.state === "pending" ? [] : [gone(place, "deleted")];
  }
}

// Its life begins with its turn. If its own time comes later it goes on waiting, under another number.
function inTurn(place: Place, begun: number, options: LifeOptions): readonly Place[] {
  const { turnAt } = place;
  const now = fired({ ...place, turnAt: 0, dueAt: begun }, options);
  const expireAt = begun + lifeOf(place, options);
  const then: Place = { ...place, id: "", dueAt: turnAt, dueMost: turnAt, turnAt: 0, expireAt };
  return [...(turnAt > begun ? [then] : []), ...(turnAt < options.until + 100_000 ? now : [])];
}

// It goes to the end of the line under another number; what is scheduled stays so unless it is given a time.
function changed(place: Place, { what }: ItemEvent, options: LifeOptions): readonly Place[] {
  if (what.kind !== "change" || (place.at !== "waiting" && place.at !== "scheduled")) return [];
  const { since, until } = options;
  if (what.dueAt === -1 && what.expireIn === 0) return [place];
  const expireAt = what.expireIn === 0 ? place.expireAt : since + what.expireIn;
  const next: Place = { ...place, id: "", expireAt };
  const now: Place = { ...next, at: "waiting", dueAt: 0, dueMost: 0 };
  if (what.dueAt > 0) {
    const then: Place = { ...next, at: "scheduled", dueAt: what.dueAt, dueMost: what.dueAt };
    return what.dueAt < until + 100_000 ? [then, now] : [then];
  }
  if (what.dueAt === 0 || place.at === "waiting") return fired({ ...now, dueAt: since }, options);
  // What is due in a moment is leasable at once.
  return place.dueAt < until + 100_000 ? [next, ...fired(next, options)] : [next];
}

// What is due later is scheduled, under the id that it has; unless the request was held up for so
// long that it is due at once.
function laterOrNow(
  place: Place,
  now: Place,
  dueAt: number,
  { until }: LifeOptions,
): readonly Place[] {
  if (dueAt === 0) return [now];
  const { isFresh } = now;
  const later: Place = {
    ...place,
    ...FREE,
    ...{ at: "scheduled", dueAt, dueMost: dueAt, isFresh },
  };
  return dueAt < until + 100_000 ? [later, now] : [later];
}

/** Whether an end is what the view shows. */
export function matches(
  end: Place,
  seen: SeenItem | undefined,
  isScheduled: boolean,
  isNew: (id: string) => boolean,
): boolean {
  if (seen === undefined) return end.at === "gone" || end.at === "unborn";
  const at = whereIs(seen, isScheduled);
  const sameId = end.id === "" ? isNew(seen.id) : end.id === seen.id;
  const sameDeadline = end.deadline === 0 || end.deadline === seen.deadline;
  const isDue = at !== "scheduled" || fitsDue(end, seen);
  const same = end.attempts === seen.attempts && end.cancelled === seen.isCancelled;
  return end.at === at && sameId && sameDeadline && same && isDue;
}

// What waits behind another shows its own time; that of one that takes another's place is not known.
function fitsDue({ dueAt, dueMost, turnAt }: Place, { dueAt: seen, isBehind }: SeenItem): boolean {
  if (!isBehind) return dueAt <= seen && seen <= dueMost;
  return dueMost === SOME_TIME && (dueAt !== SOME_TIME || turnAt === seen);
}

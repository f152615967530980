// The life of one item as wire.md tells it: from what was seen of it before, through what clients
// asked for and what time does, to what is seen of it afterwards. A search over these few steps says
// whether there is a way, and whether the item has died on all of them.

import type { ItemEvent } from "./effects.ts";
import type { SeenItem, Settings } from "./observe.ts";

/** Where an item can be. `id` is "" while it has a new one that nobody has seen. */
export interface Place {
  readonly at: "unborn" | "waiting" | "leased" | "scheduled" | "gone";
  readonly id: string;
  readonly attempts: number;
  /** Of the lease; 0 if it is not known. */
  readonly deadline: number;
  /** In steady time, of a lease that began before: it does not end sooner. */
  readonly heldUntil: number;
  readonly dueAt: number;
  readonly expireAt: number;
  /** Whether it died on the way: then it has gone to the dead queue, if there is one. */
  readonly diedAs: string | undefined;
}

export interface LifeOptions {
  readonly events: readonly ItemEvent[];
  /** The earliest time that it has been, and the time at the end, in steady time as well. */
  readonly since: number;
  readonly until: number;
  readonly steady: number;
  /** The settings that were in force at one time or another. */
  readonly settings: readonly Settings[];
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
  expireAt: 0,
  diedAs: undefined,
};

/** Where an item is that a view shows, or does not show. */
export function placeOf(
  seen: SeenItem | undefined,
  isScheduled: boolean,
  { dueAt, heldUntil }: Pick<Place, "dueAt" | "heldUntil">,
): Place {
  if (seen === undefined) return UNBORN;
  const { id, attempts, deadline, expireAt, isLeased } = seen;
  const at = isScheduled ? "scheduled" : isLeased ? "leased" : "waiting";
  return { at, id, attempts, deadline, heldUntil, dueAt, expireAt, diedAs: undefined };
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

const gone = (place: Place, died: boolean): Place => ({
  ...UNBORN,
  at: "gone",
  diedAs: died ? place.id : undefined,
});

function throughTime(place: Place, options: LifeOptions): readonly Place[] {
  const { until, steady } = options;
  switch (place.at) {
    case "waiting":
      return isOld(place, options) ? [gone(place, true)] : [];
    case "scheduled":
      return place.dueAt < until ? fired(place, options) : [];
    case "leased": {
      if (place.deadline !== 0 && place.deadline >= until) return [];
      if (place.heldUntil >= steady) return [];
      return endOfLease(place, { ...place, ...FREE, at: "waiting", id: "" }, options);
    }
    default:
      return [];
  }
}

const FREE = { deadline: 0, heldUntil: NOT_HELD } as const;

// The time of one that was accepted for later than its expiry begins when it becomes leasable.
function fired(place: Place, { until, settings }: LifeOptions): readonly Place[] {
  const kept: Place = { ...place, at: "waiting", id: "", dueAt: 0 };
  if (place.expireAt === 0 || place.expireAt >= until) return [kept];
  const life = Math.min(...settings.map((each) => each.expireTimeout));
  const begun = { ...kept, expireAt: place.dueAt + life };
  return place.expireAt <= place.dueAt ? [begun] : [begun, kept];
}

function isOld({ expireAt }: Place, { until }: LifeOptions): boolean {
  return expireAt !== 0 && expireAt < until;
}

// Without completion it goes on, or dies if this lease was its last, or it is too old.
// One that does not count is no last one, and a later time that was accepted is kept.
function endOfLease(
  place: Place,
  on: Place,
  options: LifeOptions,
  isRelease = false,
): readonly Place[] {
  const isLast = options.settings.map(
    (s) => !isRelease && s.maxAttempts !== 0 && place.attempts >= s.maxAttempts,
  );
  if (isLast.every((each) => each)) return [gone(place, true)];
  const mayBeOld = on.at !== "scheduled" && isOld(place, options);
  return isLast.some((each) => each) || mayBeOld ? [on, gone(place, true)] : [on];
}

function after(
  place: Place,
  { what, call, isCertain }: ItemEvent,
  options: LifeOptions,
): readonly Place[] {
  // Of a new item: the earliest that it can be.
  const begun = Math.max(call.startedAt, options.since);
  const expireAt = begun + Math.min(...options.settings.map((each) => each.expireTimeout));
  switch (what.kind) {
    case "produce":
      if (place.at !== "unborn") return [];
      return laterOrNow(
        { ...place, expireAt },
        { ...place, at: "waiting", expireAt },
        what.dueAt,
        options,
      );
    case "import":
      if (place.at !== "unborn") return [];
      return [
        { ...place, at: what.isLeased ? "leased" : "waiting", attempts: what.attempts, expireAt },
      ];
    case "arrive":
      // A second time if the removal of the original had failed, and the copy has gone meanwhile.
      return place.at === "unborn" || (place.at === "gone" && !isCertain)
        ? [{ ...UNBORN, at: "waiting", expireAt }]
        : [];
    case "lease": {
      const fits = place.id === what.id || (place.id === "" && options.isNew(what.id));
      if (place.at !== "waiting" || !fits || place.attempts + 1 !== what.attempts) return [];
      const { id, attempts, deadline } = what;
      return [{ ...place, at: "leased", id, attempts, deadline }];
    }
    case "lease-unseen":
      if (place.at !== "waiting") return [];
      // Where leases count it is given back, as its client has gone.
      return [
        { ...place, at: "leased", attempts: place.attempts + 1, deadline: 0 },
        ...endOfLease(place, { ...place, id: "" }, options, true),
      ];
    case "complete":
      return place.at === "leased" && place.id === what.id ? [gone(place, false)] : [];
    case "retry": {
      if (place.at !== "leased" || place.id !== what.id) return [];
      if (what.dead) return [gone(place, true)];
      const attempts = what.isRelease ? Math.max(place.attempts - 1, 0) : place.attempts;
      const back: Place = { ...place, ...FREE, at: "waiting", id: "", attempts };
      return laterOrNow({ ...place, attempts }, back, what.dueAt, options).flatMap((on) =>
        endOfLease(place, on, options, what.isRelease),
      );
    }
    case "extend": {
      if (place.at !== "leased" || place.id !== what.id) return [];
      // From now on, by both clocks, which have gone on together since.
      return [{ ...place, deadline: what.deadline, heldUntil: NOT_HELD }];
    }
    case "clear": {
      const hit =
        (what.items && place.at === "waiting") ||
        (what.items && what.destructive && place.at === "leased") ||
        (what.scheduled && place.at === "scheduled");
      return hit ? [gone(place, false)] : [];
    }
    case "delete-item": {
      const isThere = place.at !== "unborn" && place.at !== "gone";
      return isThere && (place.id === what.id || place.id === "") ? [gone(place, false)] : [];
    }
    case "delete-queue":
      return place.at === "unborn" || call.state === "pending" ? [] : [gone(place, false)];
  }
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
  const later: Place = { ...place, ...FREE, at: "scheduled", dueAt };
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
  const at = isScheduled ? "scheduled" : seen.isLeased ? "leased" : "waiting";
  const sameId = end.id === "" ? isNew(seen.id) : end.id === seen.id;
  const sameDeadline = end.deadline === 0 || end.deadline === seen.deadline;
  return end.at === at && sameId && end.attempts === seen.attempts && sameDeadline;
}

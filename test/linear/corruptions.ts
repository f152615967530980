// Ways to make a right history wrong, one for each promise of the queue. Each looks for a place where
// the change cannot be explained by any order of things, and answers nothing if there is none. They
// are meant for histories of reference.ts in which every client waited for its reply.

import type { Random } from "../support/random.ts";
import {
  type Complete,
  type History,
  type Lease,
  type LeasedItem,
  type List,
  type Operation,
  type Produce,
  REPLIES,
} from "./history.ts";

export type Corruption = (history: History, random: Random) => History | undefined;

const produces = ({ operations }: History): Produce[] =>
  operations.filter((each) => each.kind === "produce");
const leases = ({ operations }: History): Lease[] =>
  operations.filter((each) => each.kind === "lease").filter((each) => each.items.length > 0);
const completes = ({ operations }: History): Complete[] =>
  operations.filter((each) => each.kind === "complete");
const lists = ({ operations }: History): List[] =>
  operations.filter((each) => each.kind === "list");

const replace = (history: History, old: Operation, ...by: readonly Operation[]): History => ({
  ...history,
  operations: history.operations.flatMap((each) => (each === old ? by : each)),
});

/** Changes every leased or listed item. */
function mapItems(history: History, map: <T extends { id: string }>(item: T) => T): History {
  const operations = history.operations.map((each): Operation => {
    if (each.kind === "lease") return { ...each, items: each.items.map(map) };
    if (each.kind === "list") return { ...each, items: each.items.map(map) };
    return each;
  });
  return { ...history, operations };
}

/** The lease that shows the next stay of a leased item. */
function findNext(history: History, { payload, attempts }: LeasedItem): Lease | undefined {
  return leases(history).find((lease) =>
    lease.items.some((item) => item.payload === payload && item.attempts === attempts + 1),
  );
}

const madeBefore = (history: History, payload: string, time: number): boolean =>
  produces(history).some((each) => each.payloads.includes(payload) && each.end < time);

/** An item that was produced and never comes out. */
const lost: Corruption = (history, random) => {
  // What has a key may be cancelled.
  const plain = produces(history).filter(({ key }) => key === "");
  const payload = random.pickIfAny(plain)?.payloads[0];
  if (payload === undefined) return undefined;
  const kept = (items: readonly LeasedItem[]) => items.filter((item) => item.payload !== payload);
  const operations = history.operations.flatMap((each): Operation | [] => {
    if (each.kind === "list") {
      return { ...each, items: each.items.filter((item) => item.payload !== payload) };
    }
    if (each.kind !== "lease" || kept(each.items).length === each.items.length) return each;
    return kept(each.items).length === 0 ? [] : { ...each, items: kept(each.items) };
  });
  return { ...history, operations };
};

/** An item in two leases at a time. */
const leasedTwice: Corruption = (history, random) => {
  const first = random.pickIfAny(leases(history));
  const second = random.pickIfAny(
    leases(history).filter((each) => first && each.start > first.end),
  );
  if (first === undefined || second === undefined) return undefined;
  const { deadline, deadlineText } = second.items[0]!;
  const item = { ...first.items[0]!, deadline, deadlineText };
  return replace(history, second, {
    ...second,
    batch: second.batch + 1,
    items: [item, ...second.items],
  });
};

/** Two items that come out in the wrong order. */
const disorder: Corruption = (history, random) => {
  const first = random.pickIfAny(leases(history));
  const second = random.pickIfAny(
    leases(history).filter((each) => first && each.start > first.end),
  );
  if (first === undefined || second === undefined) return undefined;
  const [a, b] = [first.items[0]!, second.items[0]!];
  const swapped = (lease: Lease, from: LeasedItem, by: LeasedItem): Lease => ({
    ...lease,
    items: lease.items
      .map((item) => {
        const { deadline, deadlineText } = item;
        return item === from ? { ...by, deadline, deadlineText } : item;
      })
      .sort((x, y) => (x.id < y.id ? -1 : 1)),
  });
  return replace(replace(history, first, swapped(first, a, b)), second, swapped(second, b, a));
};

/** A complete that succeeds although the item has gone back to the tail. */
const staleComplete: Corruption = (history, random) => {
  const stale = completes(history).filter(
    ({ ids, reply, start }) =>
      reply === REPLIES.absent(ids[0]!) &&
      leases(history).some((lease) =>
        lease.items.some(
          (item) => item.id === ids[0] && (findNext(history, item)?.end ?? Infinity) < start,
        ),
      ),
  );
  const complete = random.pickIfAny(stale);
  return complete && replace(history, complete, { ...complete, reply: REPLIES.ok });
};

/** A complete that succeeds twice. */
const completedTwice: Corruption = (history, random) => {
  const complete = random.pickIfAny(completes(history).filter(({ reply }) => reply === REPLIES.ok));
  if (complete === undefined) return undefined;
  const again = { ...complete, start: complete.end + 1, end: complete.end + 2 };
  return replace(history, complete, complete, again);
};

/** An item that nobody produced. */
const invented: Corruption = (history, random) => {
  const id = random.pickIfAny(leases(history))?.items[0]?.id;
  if (id === undefined) return undefined;
  return mapItems(history, (item) => (item.id === id ? { ...item, payload: "invented" } : item));
};

/** An item that comes back at its old place in place of the tail. */
const keptPlace: Corruption = (history, random) => {
  const places = leases(history).flatMap((lease) =>
    lease.items.flatMap((item) => {
      const next = findNext(history, item)?.items.find((each) => each.payload === item.payload);
      const overtakes = leases(history).some((other) =>
        other.items.some(
          ({ id, payload, attempts }) =>
            attempts === 1 &&
            item.id < id &&
            id < (next?.id ?? "") &&
            madeBefore(history, payload, lease.start),
        ),
      );
      return next !== undefined && overtakes ? { from: next.id, to: `${item.id}+` } : [];
    }),
  );
  const place = random.pickIfAny(places);
  return place && mapItems(history, (i) => (i.id === place.from ? { ...i, id: place.to } : i));
};

/** A lease that ends before its deadline. */
const earlyEnd: Corruption = (history, random) => {
  const ends = leases(history).flatMap((lease) =>
    lease.items.flatMap((item) => {
      const next = findNext(history, item);
      // Of what was extended the deadline is another.
      const isOther = history.operations.some(
        (each) =>
          (each.kind === "retry" || each.kind === "extend") &&
          each.items.some(({ id }) => id === item.id),
      );
      return next === undefined || isOther ? [] : next.end - item.deadline;
    }),
  );
  const late = random.pickIfAny(ends);
  if (late === undefined) return undefined;
  const more = late + 10_000;
  const moved = mapItems(history, (item) =>
    "deadline" in item ? { ...item, deadline: Number(item.deadline) + more } : item,
  );
  return { ...moved, leaseTimeout: history.leaseTimeout + more };
};

/** The extensions of leases, one by one. */
const extensions = ({ operations }: History) =>
  operations
    .filter((each) => each.kind === "extend")
    .flatMap((extend) => extend.items.map((item, i) => ({ extend, item, i })));

/** An extended lease that ends before its new deadline. */
const extendedInVain: Corruption = (history, random) => {
  const ends = extensions(history).flatMap(({ extend, item, i }) => {
    if (item.outcome !== "ok") return [];
    const isOnce = extensions(history).filter((other) => other.item.id === item.id).length === 1;
    const wasGivenBack = history.operations.some(
      (each) => each.kind === "retry" && each.items.some(({ id }) => id === item.id),
    );
    const leased = leases(history)
      .flatMap((lease) => lease.items)
      .find(({ id }) => id === item.id);
    const next = leased && findNext(history, leased);
    return isOnce && !wasGivenBack && next !== undefined ? [{ extend, item, i, next }] : [];
  });
  const place = random.pickIfAny(ends);
  if (place === undefined) return undefined;
  const { extend, item, i, next } = place;
  const more = next.end - item.deadline + 10_000;
  const longer = { ...item, duration: item.duration + more, deadline: item.deadline + more };
  return replace(history, extend, { ...extend, items: extend.items.with(i, longer) });
};

/** An extension that succeeds although the item has gone back to the tail. */
const staleExtension: Corruption = (history, random) => {
  const stale = extensions(history).filter(
    ({ extend, item }) =>
      item.outcome === "lease_ended" &&
      leases(history).some((lease) =>
        lease.items.some(
          (each) =>
            each.id === item.id && (findNext(history, each)?.end ?? Infinity) < extend.start,
        ),
      ),
  );
  const place = random.pickIfAny(stale);
  if (place === undefined) return undefined;
  const { extend, item, i } = place;
  const done = { ...item, outcome: "ok" as const, deadline: extend.end + item.duration };
  return replace(history, extend, { ...extend, items: extend.items.with(i, done) });
};

/** An item whose leases are miscounted. */
const miscounted: Corruption = (history, random) => {
  const lease = random.pickIfAny(leases(history));
  if (lease === undefined) return undefined;
  const [first, ...rest] = lease.items;
  const by = random.chance(0.5) ? 1 : -1;
  const items = [{ ...first!, attempts: first!.attempts + by }, ...rest];
  return replace(history, lease, { ...lease, items });
};

/** A complete that is refused but has removed one of its items. */
const partial: Corruption = (history, random) => {
  const whole = completes(history).filter(
    ({ ids, reply }) => reply === REPLIES.ok && ids.length > 1,
  );
  const complete = random.pickIfAny(whole);
  if (complete === undefined) return undefined;
  return replace(history, complete, { ...complete, reply: REPLIES.absent(complete.ids[1]!) });
};

/** Ids that do not ascend in the order of production. */
const idsSwapped: Corruption = (history, random) => {
  const made = random.pickIfAny(produces(history).filter(({ payloads }) => payloads.length > 1));
  const idOf = (payload: string | undefined): string | undefined =>
    leases(history)
      .flatMap((lease) => lease.items)
      .find((item) => item.payload === payload && item.attempts === 1)?.id;
  const [a, b] = [idOf(made?.payloads[0]), idOf(made?.payloads[1])];
  if (a === undefined || b === undefined) return undefined;
  return mapItems(history, (item) =>
    item.id === a ? { ...item, id: b } : item.id === b ? { ...item, id: a } : item,
  );
};

/** A list that does not show what is there. */
const hidden: Corruption = (history, random) => {
  const places = lists(history).flatMap((list) =>
    list.items
      .filter(({ payload, attempts }) => {
        const later = ({ start, items }: Lease): boolean =>
          start > list.end &&
          items.some((item) => item.payload === payload && item.attempts > attempts);
        return madeBefore(history, payload, list.start) && leases(history).some(later);
      })
      .map((item) => ({ list, item })),
  );
  const place = random.pickIfAny(places);
  if (place === undefined) return undefined;
  const items = place.list.items.filter((item) => item !== place.item);
  return replace(history, place.list, { ...place.list, items });
};

/** A lease that gets nothing although there is an item all the time. */
const starved: Corruption = (history, random) => {
  const spans = leases(history).flatMap((lease) =>
    lease.items.flatMap(({ payload, attempts }) => {
      const made = produces(history).find((each) => each.payloads.includes(payload))!;
      return attempts === 1 && lease.start - made.end > 4 ? { made, lease } : [];
    }),
  );
  const span = random.pickIfAny(spans);
  if (span === undefined) return undefined;
  const starved: Lease = {
    ...span.lease,
    start: span.made.end + 1,
    end: span.lease.start - 1,
    items: [],
    reply: REPLIES.nothing,
  };
  return replace(history, span.made, span.made, starved);
};

// --- unique keys, and items by their ids ---

/** What has a key, with the lease that shows it in each of its stays. */
const named = (history: History) =>
  produces(history)
    .filter(({ id }) => id !== "")
    .flatMap((made) =>
      leases(history).flatMap((lease) => {
        const item = lease.items.find(({ payload }) => payload === made.payloads[0]);
        return item === undefined ? [] : { made, lease, item };
      }),
    );

// A moment after an operation: there may be something else at that time, but nothing of whoever waits for it.
const after = ({ end }: Operation): Pick<Operation, "client" | "start" | "end" | "reply"> => {
  return { client: "new", start: end + 1, end: end + 2, reply: REPLIES.ok };
};

/** Two items of one key at a time. */
const keyTwice: Corruption = (history, random) => {
  const single = produces(history).filter(
    ({ payloads, key }) => payloads.length === 1 && key === "",
  );
  const pairs = single.flatMap((a) =>
    single.flatMap((b) => {
      const isThere = leases(history).some(
        ({ start, items }) =>
          start > b.end && items.some(({ payload }) => payload === a.payloads[0]),
      );
      return a.end < b.start && isThere ? { a, b } : [];
    }),
  );
  const pair = random.pickIfAny(pairs);
  if (pair === undefined) return undefined;
  const { a, b } = pair;
  return replace(replace(history, a, { ...a, key: "one" }), b, { ...b, key: "one" });
};

/** A key that is said to be that of an item which has ended. */
const keyKept: Corruption = (history, random) => {
  const ends = named(history).flatMap(({ made, item }) =>
    completes(history)
      .filter(({ ids, reply }) => reply === REPLIES.ok && ids.includes(item.id))
      .map((complete) => ({ made, complete })),
  );
  const place = random.pickIfAny(ends);
  if (place === undefined) return undefined;
  const { made, complete } = place;
  const taken = { kind: "taken", ...after(complete), key: made.key, id: made.id } as const;
  return replace(history, complete, complete, taken);
};

/** A key that is said to be that of an item with another one. */
const otherKey: Corruption = (history, random) => {
  const place = random.pickIfAny(named(history));
  if (place === undefined) return undefined;
  const { made } = place;
  const taken = { kind: "taken", ...after(made), key: "other", id: made.id } as const;
  return replace(history, made, made, taken);
};

/** An item that is cancelled while it waits, and leased afterwards. */
const cancelledInVain: Corruption = (history, random) => {
  const later = named(history).filter(({ made, lease }) => lease.start > made.end + 2);
  const place = random.pickIfAny(later);
  if (place === undefined) return undefined;
  const { made } = place;
  const cancel = { kind: "cancel", ...after(made), id: made.id, outcome: "cancelled" } as const;
  return replace(history, made, made, cancel);
};

/** An item that is cancelled while it is leased, and comes back. */
const markedInVain: Corruption = (history, random) => {
  const back = named(history).filter(({ lease, item }) => {
    const next = findNext(history, item);
    return next !== undefined && next.start > lease.end + 2;
  });
  const place = random.pickIfAny(back);
  if (place === undefined) return undefined;
  const { made, lease } = place;
  const cancel = { kind: "cancel", ...after(lease), id: made.id, outcome: "marked" } as const;
  return replace(history, lease, lease, cancel);
};

/** An item that is leased, and shown as if it waited. */
const shownWaiting: Corruption = (history, random) => {
  const held = named(history).filter(({ lease, item }) =>
    completes(history).some(
      ({ ids, reply, start }) =>
        reply === REPLIES.ok && ids.includes(item.id) && start > lease.end + 2,
    ),
  );
  const place = random.pickIfAny(held);
  if (place === undefined) return undefined;
  const { made, lease } = place;
  const get = { kind: "get", ...after(lease), id: made.id, state: "waiting" } as const;
  return replace(history, lease, lease, get);
};

/** An item that is there, and is not found. */
const notFound: Corruption = (history, random) => {
  const later = named(history).filter(({ made, lease }) => lease.start > made.end + 2);
  const place = random.pickIfAny(later);
  if (place === undefined) return undefined;
  const { made } = place;
  const missing = random.chance(0.5)
    ? ({ kind: "cancel", ...after(made), id: made.id, outcome: "absent" } as const)
    : ({ kind: "get", ...after(made), id: made.id, state: "absent" } as const);
  return replace(history, made, made, missing);
};

/** All kinds, by name. */
export const CORRUPTIONS: Readonly<Record<string, Corruption>> = {
  "an item is lost": lost,
  "an item is leased to two clients at a time": leasedTwice,
  "two items come out in the wrong order": disorder,
  "a stale complete succeeds": staleComplete,
  "a complete succeeds twice": completedTwice,
  "an item comes out that was never produced": invented,
  "an item that comes back keeps its place": keptPlace,
  "a lease ends before its deadline": earlyEnd,
  "an extended lease ends before its new deadline": extendedInVain,
  "a stale extension succeeds": staleExtension,
  "attempts are miscounted": miscounted,
  "a complete that is refused is done in part": partial,
  "ids do not ascend in the order of production": idsSwapped,
  "a list does not show an item": hidden,
  "a lease gets nothing although there is an item": starved,
  "two items of one unique key are there at a time": keyTwice,
  "a unique key is kept beyond the end of its item": keyKept,
  "a unique key is that of an item with another": otherKey,
  "what was cancelled is leased": cancelledInVain,
  "what was cancelled while it was leased comes back": markedInVain,
  "what is leased is shown as waiting": shownWaiting,
  "what is there is not found": notFound,
};

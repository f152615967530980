// Why an item is not running: what the loop knows of it and of the line that it stands in, in words. Costs
// what it reads: the line is counted in steps, and only so far.

import { SECOND } from "../clock.ts";
import { formatDuration } from "../duration.ts";
import { attributesOf } from "./attributes.ts";
import { keyBehind } from "./behind.ts";
import { boundFor } from "./condemned.ts";
import { kindOf } from "./fingerprint.ts";
import { foundIn, type ItemState, type Located, locate, stateOf } from "./lookup.ts";
import type { Loop } from "./loop.ts";
import { run } from "./operations.ts";
import { PACE_SPAN } from "./pace.ts";

export interface Reason {
  readonly code: "scheduled" | "behind" | "in_line" | "no_consumer" | "leased" | "dead" | "ended";
  readonly detail: string;
  /** Until when, in microseconds; 0 if that is not known. */
  readonly until: number;
  /** Since when; not given if that is not known. */
  readonly since?: number;
}

export interface Explanation {
  readonly state: ItemState;
  /** What is most to the point first. */
  readonly reasons: readonly Reason[];
  /** How many are leased before it; undefined if it does not wait. */
  readonly position: number | undefined;
  /** When it is likely to be leased; 0 if nothing can be said. */
  readonly expectedAt: number;
}

/** Items that one explanation counts at most, and in one step. */
const COUNTED_MAX = 100_000;
const STEP = 10_000;

// Without anybody who waits for it, and for so long without anybody who did, an item has no consumer.
const CONSUMER_GONE = 10 * SECOND;

/** Why the item of an id is not running; undefined if there is none. */
export async function explain(loop: Loop, id: string): Promise<Explanation | undefined> {
  let counting: Counting | undefined;
  const { explanation } = await run(loop, [], async () => {
    const there = await locate(loop, id);
    if (there === undefined) return { explanation: undefined };
    if ("ended" in there) return { explanation: ofEnded(there.ended) };
    const state = stateOf(foundIn(there));
    const waits = there.table === "items" && there.leased === undefined;
    if (!waits) return { explanation: ofHeld(loop, there, state) };
    // It may have moved between two steps.
    if (counting?.seq !== there.item.seq) counting = new Counting(there);
    if (!(await counting.step())) return undefined;
    return { explanation: ofWaiting(loop, there, { state, counting }) };
  });
  return explanation;
}

/** Counts what is leased before a waiting item, within its partition. */
class Counting {
  readonly seq: number;
  readonly #there: Located;
  #from: number;
  count = 0;
  /** Whether there are more than were counted. */
  isCut = false;

  constructor(there: Located) {
    this.seq = there.item.seq;
    this.#there = there;
    this.#from = there.partition.counters.head;
  }

  /** True once it is done. */
  async step(): Promise<boolean> {
    const { partition } = this.#there;
    const { storage, key, counters, leased } = partition;
    // Where no number is missing, the numbers tell it.
    if (partition.unleased === counters.tail - counters.head) {
      this.count = this.seq - counters.head;
      return true;
    }
    // What was leased since is no more before it.
    const from = Math.max(this.#from, counters.head);
    const items = await storage.readItems(key, "items", {
      from,
      before: this.seq,
      limit: STEP,
      bytesMax: Number.MAX_SAFE_INTEGER,
      records: false,
    });
    for (const { seq } of items) if (!leased.has(seq)) this.count++;
    this.isCut = this.count >= COUNTED_MAX;
    this.#from = (items.at(-1)?.seq ?? this.seq) + 1;
    return this.isCut || items.length < STEP;
  }
}

type Ended = Parameters<typeof stateOf>[0];

function ofEnded(item: Ended): Explanation {
  const state = stateOf(item);
  const detail = `it has ended, and is ${state}`;
  return only(state, { code: "ended", detail, until: 0 });
}

function only(state: ItemState, reason: Reason): Explanation {
  return { state, reasons: [reason], position: undefined, expectedAt: 0 };
}

// Of what is leased, scheduled, or on its way into the dead queue.
function ofHeld(loop: Loop, { leased, item }: Located, state: ItemState): Explanation {
  if (leased !== undefined) {
    const cancelled =
      leased.note?.cancelled === true ? "; it is cancelled, which its holder is yet to learn" : "";
    const detail = `a consumer holds it, for the ${ordinal(leased.attempts)} time${cancelled}`;
    return only(state, { code: "leased", detail, until: leased.grant?.deadline ?? 0 });
  }
  if (state === "dead") return only(state, deadReason(item.attributes));
  if (keyBehind(item.attributes) !== "") {
    const detail = "it waits for the end of the item that has its key";
    return only(state, { code: "behind", detail, until: 0 });
  }
  const bound = boundFor(item);
  if (bound !== undefined) {
    const why =
      attributesOf(item.attributes).redrive === ""
        ? "for which it was produced"
        : "to which a redrive sends it";
    const detail = `it is on its way to the queue '${bound.to}', ${why}`;
    return only(state, { code: "scheduled", detail, until: 0 });
  }
  const reason: Reason = { code: "scheduled", detail: "its time has not come", until: item.dueAt };
  const consumer = noConsumer(loop, item.record.text, loop.context.clock.now());
  if (consumer === undefined) return { ...only(state, reason), expectedAt: item.dueAt };
  // Then it is due, and nobody is there who would take it.
  return { state, reasons: [reason, consumer], position: undefined, expectedAt: 0 };
}

function deadReason(attributes: string): Reason {
  const { from, died } = attributesOf(attributes);
  const why = from?.reason ?? died;
  const detail = why === "" ? "it has died" : `it has died (${why})`;
  return { code: "dead", detail, until: 0 };
}

function ofWaiting(
  loop: Loop,
  { partition, item }: Located,
  { state, counting }: { readonly state: ItemState; readonly counting: Counting },
): Explanation {
  const now = loop.context.clock.now();
  const reasons: Reason[] = [];
  if (state === "dead") reasons.push(deadReason(item.attributes));
  const consumer = noConsumer(loop, item.record.text, now);
  if (consumer !== undefined) reasons.push(consumer);
  const { count, isCut } = counting;
  const least = isCut ? "at least " : "";
  const which = loop.partitions.length > 1 ? ` of partition ${partition.number}` : "";
  reasons.push({
    code: "in_line",
    detail: `${least}${count} items${which} are before it`,
    until: 0,
  });
  const canTell = consumer === undefined && !isCut && !goesByKinds(loop, item.record.text, now);
  const rate = canTell ? partition.pace.rate(now) : 0;
  const expectedAt = rate === 0 ? 0 : Math.round(now + ((count + 1) * SECOND) / rate);
  return { state, reasons, position: count, expectedAt };
}

// Who takes some kinds only takes nothing in the order of the line, so that nobody can tell when its turn comes.
function goesByKinds(loop: Loop, text: string, now: number): boolean {
  const { pickedAt } = loop.consumers;
  return loop.demandFor(text).isPicky || (pickedAt > 0 && now - pickedAt < 2 * PACE_SPAN);
}

function noConsumer(loop: Loop, text: string, now: number): Reason | undefined {
  const { isWanted, isPicky } = loop.demandFor(text);
  if (isWanted) return undefined;
  const lastAt = loop.consumers.lastFor(text);
  const since = lastAt === 0 ? loop.consumers.since : lastAt;
  const age = now - since;
  if (lastAt > 0 && age < CONSUMER_GONE) return undefined;
  const others = isPicky ? "; who waits wants other kinds" : "";
  const time =
    lastAt === 0
      ? "since the server has started"
      : `for ${formatDuration(Math.floor(age / SECOND) * SECOND)}`;
  const kind = kindOf(text);
  const what =
    kind === ""
      ? "nobody has asked for it"
      : `no consumer that asks for its kind '${kind}' was seen`;
  const detail = `${what} ${time}${others}`;
  return { code: "no_consumer", detail, until: 0, since };
}

function ordinal(n: number): string {
  const last = n % 100 >= 11 && n % 100 <= 13 ? 0 : n % 10;
  return `${n}${["th", "st", "nd", "rd"][last] ?? "th"}`;
}

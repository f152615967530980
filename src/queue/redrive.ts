// A redrive as it is written down: what is to be moved out of a dead queue, how far that is, and what has
// become of it. It is an entry of partition 0 of the dead queue, written anew with every step, in the commit
// that does the step. So nothing of it is in memory alone, and it goes on after a restart where it was. Pure;
// what does the steps is in redrives.ts.

import type { ItemTable, KeyEntry, StoredItem } from "../storage/storage.ts";
import { attributesOf } from "./attributes.ts";
import { diedAt, fingerprintIn } from "./dead-groups.ts";
import { kindOf } from "./fingerprint.ts";
import { KEY } from "./keys.ts";
import type { Partition } from "./partition.ts";

export type RedriveState = "running" | "done" | "stopped" | "cancelled";

/** What is asked for. Times in microseconds. */
export interface RedriveOptions {
  /** Where items go; "" for each to where it came from. */
  readonly to: string;
  /** Only these; none for all. */
  readonly ids: readonly string[];
  /** Only of this fingerprint, and of this kind; "" for any. */
  readonly fingerprint: string;
  readonly kind: string;
  /** Only what died at least so long ago, and at most; 0 for any time. */
  readonly olderThan: number;
  readonly newerThan: number;
  /** How many at most; 0 for any number. */
  readonly limit: number;
  /** How many a second at most; 0 for any number. */
  readonly rate: number;
  /** Counts what would move, and moves nothing. */
  readonly dryRun: boolean;
  /** Stops once this part of those that were moved has died again; 0 for never. */
  readonly stopAt: number;
}

/** A redrive as it is told. Times in microseconds since 1970; 0 for none. */
export interface RedriveInfo {
  readonly id: string;
  readonly to: string;
  readonly state: RedriveState;
  readonly moved: number;
  readonly lookedAt: number;
  readonly total: number;
  readonly skipped: number;
  readonly failed: number;
  /** Ids that were asked for and are not in the queue. */
  readonly notFound: number;
  readonly startedAt: number;
  readonly endedAt: number;
}

/** A redrive as it is kept. */
export interface Redrive extends RedriveInfo {
  /** Those that are yet to be looked at; undefined if it goes through the whole queue. */
  readonly ids: readonly string[] | undefined;
  readonly fingerprint: string;
  readonly kind: string;
  /** Only what died before, and after. */
  readonly before: number;
  readonly after: number;
  readonly limit: number;
  readonly rate: number;
  readonly stopAt: number;
  /** Where it goes on. */
  readonly at: Position;
  /** The tails of the partitions when it began: what came later is not for it. */
  readonly ends: readonly number[];
}

/** From an item on: all that comes before has been looked at. */
export interface Position {
  readonly partition: number;
  readonly table: ItemTable;
  readonly seq: number;
}

/** Some items of a dead queue that one step looks at. */
export interface Page {
  readonly seen: readonly Candidate[];
  /** From which number on all that waits has been seen; undefined if only what was asked for was looked for. */
  readonly from: number | undefined;
  /** Where the next page begins; of a redrive that knows ids, how many of them this one has looked for. */
  readonly next: Position | number;
}

export interface Candidate {
  readonly partition: Partition;
  readonly table: ItemTable;
  readonly item: StoredItem;
  /** The id by which it was asked for; "" if it was not. */
  readonly id: string;
}

/** Whether an item is one of those that are wanted. Its record must have been read if a kind is. */
export function isWanted(redrive: Redrive, item: StoredItem): boolean {
  const { fingerprint, kind, before, after } = redrive;
  if (fingerprint !== "" && fingerprintIn(item.attributes) !== fingerprint) return false;
  const at = diedAt(item);
  if (at > before || at < after) return false;
  return kind === "" || kindOf(item.record.text) === kind;
}

/** Whether it is likely to want few of those that it looks at. */
export function isSelective({ fingerprint, kind, before, after }: Redrive): boolean {
  return fingerprint !== "" || kind !== "" || after > 0 || before < Number.MAX_SAFE_INTEGER;
}

/** Where an item is to go; "" if that is not known. */
export function destinationOf({ to }: Redrive, { attributes }: StoredItem): string {
  return to || (attributesOf(attributes).from?.queue ?? "");
}

/** What a step has found: those that it could move, of which it moves some, and those that it passes over. */
export interface Sorted {
  readonly movable: readonly Candidate[];
  readonly skipped: readonly Candidate[];
}

/** A redrive after a step that has moved some of a page; what is left of it comes again. */
export function afterStep(
  redrive: Redrive,
  page: Page,
  { movable, skipped }: Sorted,
  moved: ReadonlySet<number>,
): Redrive {
  const left = movable.filter(({ item }) => !moved.has(item.seq));
  const counts = { ...redrive, moved: redrive.moved + moved.size };
  if (typeof page.next === "number") {
    const ids = [...left.map(({ id }) => id), ...redrive.ids!.slice(page.next)];
    const found = new Set(page.seen.map(({ id }) => id));
    return {
      ...counts,
      ids,
      lookedAt: redrive.total - ids.length,
      skipped: redrive.skipped + skipped.length,
      notFound: redrive.notFound + page.next - found.size,
    };
  }
  const rest = left[0]?.item.seq ?? Number.POSITIVE_INFINITY;
  const isPast = ({ item }: Candidate): boolean => item.seq < rest;
  const isLookedAt = (each: Candidate): boolean => isPast(each) || moved.has(each.item.seq);
  return {
    ...counts,
    lookedAt: redrive.lookedAt + page.seen.filter(isLookedAt).length,
    skipped: redrive.skipped + skipped.filter(isPast).length,
    at: left.length === 0 ? page.next : { ...page.next, seq: rest },
  };
}

/** A redrive of whose items so many have died again. */
export function afterDeaths(redrive: Redrive, count: number, now: number): Redrive {
  const failed = redrive.failed + count;
  const { moved, stopAt, state } = redrive;
  const stops = state === "running" && stopAt > 0 && failed >= stopAt * moved;
  return { ...redrive, failed, ...(stops && { state: "stopped", endedAt: now }) };
}

export function ended(redrive: Redrive, state: RedriveState, now: number): Redrive {
  return { ...redrive, state, endedAt: now };
}

/** The entry that keeps it. */
export function entryOfRedrive(redrive: Redrive): KeyEntry {
  const { id, ...value } = redrive;
  return { kind: KEY.redrive, key: id, seq: 0, until: 0, value: JSON.stringify(value) };
}

export function redriveOf({ key, value }: KeyEntry): Redrive {
  // Older ones do not know what they did not find.
  return { notFound: 0, ...(JSON.parse(value) as Omit<Redrive, "id" | "notFound">), id: key };
}

/** What is told of it. */
export function infoOf(redrive: Redrive): RedriveInfo {
  const { id, to, state, moved, lookedAt, total, skipped, failed, notFound } = redrive;
  const { startedAt, endedAt } = redrive;
  return { id, to, state, moved, lookedAt, total, skipped, failed, notFound, startedAt, endedAt };
}

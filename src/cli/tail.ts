// Follows what arrives in a queue, without taking anything away: it looks at the end of each
// partition again and again. What came and went between two looks it cannot show, but it can tell
// how much that was, for the ids of /v1, in whose order its lists begin anywhere, count up by one.

import { QueratorError } from "@querator/client";
import type { Command } from "commander";
import { printable } from "../printable.ts";
import { durationOption, partitionOption, whole } from "./arguments.ts";
import { usage } from "./failure.ts";
import { idOf, nextId, numberOf } from "./ids.ts";
import { jsonText } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { partitionsOf } from "./stored.ts";
import { count, plural, preview, time } from "./text.ts";

interface TailOptions {
  readonly lines: number;
  readonly interval: number;
  readonly follow: boolean;
  readonly partition?: number;
}

/** An item in the JSON of /v1. */
interface OldItem {
  readonly id: string;
  readonly is_leased?: boolean;
  readonly created_at?: string;
  readonly attempts?: number;
  readonly reference?: string;
  readonly kind?: string;
  readonly payload?: string;
}

interface StoredItem extends OldItem {
  readonly partition: number;
}

interface PageOptions {
  readonly partition: number;
  /** The id to begin with; the first if left out. */
  readonly pivot?: string | undefined;
  readonly limit: number;
}

/** How far a partition has been shown. */
interface Place {
  readonly partition: number;
  /** The last id seen; nothing as long as there was none. */
  last: string | undefined;
}

export function addTailCommand(program: Command): void {
  program
    .command("tail <queue>")
    .description("show the newest items and follow what arrives, without leasing it")
    .option("-n, --lines <n>", "items to begin with, of each partition", whole(0), 10)
    .addOption(durationOption("--interval <time>", "how often to look", "1s"))
    .option("--no-follow", "end after the first look")
    .addOption(partitionOption())
    .addHelpText(
      "after",
      `
An item that came back to the queue, by a retry or because its lease ended, is shown again under
its new id with its attempts. Items that came and went between two looks are counted on stderr.
Ctrl-C ends it.

Examples:
  querator tail jobs -n 20
  querator tail jobs -o ndjson | grep mail`,
    )
    .action(withSession(tail));
}

async function tail(session: Session, queue: string, options: TailOptions): Promise<void> {
  const { lines, interval, follow, partition } = options;
  if (session.out.format === "json") throw usage("tail writes a table or NDJSON");
  const count = await partitionsOf(session, queue);
  const numbers = partition === undefined ? [...Array(count).keys()] : [partition];
  const places: Place[] = [];
  for (const number of numbers) {
    const last = await lastId(session, queue, number);
    const before =
      last === undefined
        ? undefined
        : await placeBefore(session, queue, { partition: number, last, lines });
    places.push({ partition: number, last: before });
  }
  await showNew(session, queue, { places, isFirst: true });
  let trouble = "";
  while (follow) {
    await session.sleep(interval);
    try {
      await showNew(session, queue, { places, isFirst: false });
      trouble = "";
    } catch (error) {
      // A server that is away for a while is waited for, and that is told once.
      session.signal.throwIfAborted();
      if (!(error instanceof QueratorError && error.retryable)) throw error;
      if (trouble === "") session.out.message(`${printable(error.message)}; it is waited for`);
      trouble = error.message;
    }
  }
}

/** One page of a partition. */
async function page(
  { client, signal }: Session,
  queue: string,
  { partition, pivot = "", limit }: PageOptions,
): Promise<StoredItem[]> {
  const { items = [] } = await client.call<{ items?: OldItem[] }>(
    "v1/storage/items.list",
    { queue_name: queue, partition, pivot, limit },
    { signal, isRepeatable: true },
  );
  return items.map((item) => ({ partition, ...item }));
}

/** All items of a partition from a pivot on, at most `limit`. */
async function* pages(
  session: Session,
  queue: string,
  options: PageOptions,
): AsyncGenerator<StoredItem, void, undefined> {
  let { pivot, limit: left } = options;
  while (left > 0) {
    // A page may be shorter than its limit, for its bytes are bounded: only an empty one is the end.
    const items = await page(session, queue, { ...options, pivot, limit: Math.min(left, 1_000) });
    if (items.length === 0) return;
    yield* items;
    left -= items.length;
    pivot = nextId(items.at(-1)!.id);
  }
}

/**
 * The id of a partition's newest item, found without reading all: whether anything lies behind an
 * id is one request, so the end is closed in on by doubling steps, then by halving them.
 */
async function lastId(
  session: Session,
  queue: string,
  partition: number,
): Promise<string | undefined> {
  const firstFrom = (pivot: string): Promise<bigint | undefined> =>
    firstId(session, queue, { partition, pivot });
  let found = await firstFrom("");
  if (found === undefined) return undefined;
  let step = 1n;
  for (let next: bigint | undefined; ; step *= 2n) {
    next = await firstFrom(idOf(found + step));
    if (next === undefined) break;
    found = next;
  }
  // Something lies at `found`, nothing from `found + step` on.
  let end = found + step;
  while (end - found > 1n) {
    const middle = found + (end - found) / 2n;
    const next = await firstFrom(idOf(middle));
    if (next === undefined) end = middle;
    else found = next;
  }
  return idOf(found);
}

/**
 * The id before a partition's newest items. Where no id is missing, they are as many ids; where some
 * are, it goes back by doubling steps, then closes in by halving them, and reads hardly more than so
 * many items at each step.
 */
async function placeBefore(
  session: Session,
  queue: string,
  {
    partition,
    last,
    lines,
  }: { readonly partition: number; readonly last: string; readonly lines: number },
): Promise<string> {
  if (lines === 0) return last;
  const countFrom = async (place: bigint): Promise<number> => {
    const options = { partition, pivot: idOf(place), limit: lines + 1 };
    return (await Array.fromAsync(pages(session, queue, options))).length;
  };
  const first = (await firstId(session, queue, { partition, pivot: "" })) ?? 0n;
  const end = numberOf(last) + 1n;
  let late = end; // fewer lie from here on
  let early: bigint; // more do, or all
  for (let step = BigInt(lines); ; step *= 2n) {
    early = end - step > first ? end - step : first;
    const found = await countFrom(early);
    if (found === lines || (found < lines && early === first)) return idOf(early - 1n);
    if (found > lines) break;
    late = early;
  }
  while (late - early > 1n) {
    const middle = early + (late - early) / 2n;
    const found = await countFrom(middle);
    if (found === lines) return idOf(middle - 1n);
    if (found > lines) early = middle;
    else late = middle;
  }
  return idOf(early - 1n);
}

async function firstId(
  session: Session,
  queue: string,
  { partition, pivot }: { readonly partition: number; readonly pivot: string },
): Promise<bigint | undefined> {
  const [item] = await page(session, queue, { partition, pivot, limit: 1 });
  return item === undefined ? undefined : numberOf(item.id);
}

async function showNew(
  session: Session,
  queue: string,
  { places, isFirst }: { readonly places: readonly Place[]; readonly isFirst: boolean },
): Promise<void> {
  const { out } = session;
  let unseen = 0n;
  for (const place of places) {
    const { partition } = place;
    const pivot = place.last === undefined ? undefined : nextId(place.last);
    const options = { partition, pivot, limit: Number.POSITIVE_INFINITY };
    for await (const item of pages(session, queue, options)) {
      if (place.last !== undefined && !isFirst)
        unseen += numberOf(item.id) - numberOf(place.last) - 1n;
      place.last = item.id;
      await out.write(out.format === "table" ? lineOf(session, item) : jsonText(item, "ndjson"));
    }
  }
  if (unseen > 0n) {
    out.message(`${plural(Number(unseen), "id")} in between: taken before this look, or scheduled`);
  }
}

function lineOf({ out }: Session, item: StoredItem): string {
  const { partition, attempts = 0, kind = "", reference = "" } = item;
  const parts = [
    out.style("dim", time(item.created_at)),
    `p${partition}`,
    item.id,
    attempts > 0 ? out.style("yellow", `attempt ${count(attempts)}`) : "",
    item.is_leased === true ? out.style("cyan", "leased") : "",
    kind === "" ? "" : `kind=${printable(kind)}`,
    reference === "" ? "" : `ref=${printable(reference)}`,
    preview(Buffer.from(item.payload ?? "", "base64"), 80),
  ];
  return `${parts.filter((part) => part !== "").join("  ")}\n`;
}

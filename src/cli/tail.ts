// Follows what arrives in a queue, without taking anything away: it looks at the newest items of each
// partition again and again, as far back as it knows them. What came and went between two looks it cannot
// show.

import { QueratorError } from "@querator/client";
import type { Command } from "commander";
import { printable } from "../printable.ts";
import { durationOption, partitionOption, whole } from "./arguments.ts";
import { usage } from "./failure.ts";
import { jsonText } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { itemsOf, partitionsOf, payloadOf, type StoredItem } from "./stored.ts";
import { count, preview, time } from "./text.ts";

// So many of the newest it knows from the beginning on, and so many it keeps in mind.
const KNOWN_FIRST = 500;
const KNOWN_MAX = 20_000;
// More than that at one look are not shown.
const NEW_MAX = 10_000;

interface TailOptions {
  readonly lines: number;
  readonly interval: number;
  readonly follow: boolean;
  readonly partition?: number;
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
An item that came back to the queue, by a retry or because its lease ended, is shown again with its
attempts. What came and went between two looks is not shown. Ctrl-C ends it.

Examples:
  querator tail jobs -n 20
  querator tail jobs -o ndjson | grep mail`,
    )
    .action(withSession(tail));
}

async function tail(session: Session, queue: string, options: TailOptions): Promise<void> {
  const { lines, interval, follow, partition } = options;
  if (session.out.format === "json") throw usage("tail writes a table or NDJSON");
  const number = await partitionsOf(session, queue);
  const numbers = partition === undefined ? [...Array(number).keys()] : [partition];
  const places = numbers.map((each) => new Place(each));
  for (const place of places) {
    const newest = await newestOf(session, queue, place, Math.max(lines, KNOWN_FIRST));
    for (const item of newest) place.know(item);
    await write(session, place, newest.slice(0, lines));
  }
  let trouble = "";
  while (follow) {
    await session.sleep(interval);
    try {
      for (const place of places) await showNew(session, queue, place);
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

/** What is known of a partition: the items that were seen last, as often as each has come back. */
class Place {
  readonly partition: number;
  readonly #known = new Set<string>();

  constructor(partition: number) {
    this.partition = partition;
  }

  knows(item: StoredItem): boolean {
    return this.#known.has(nameOf(item));
  }

  know(item: StoredItem): void {
    this.#known.add(nameOf(item));
    if (this.#known.size <= KNOWN_MAX) return;
    const [oldest] = this.#known;
    this.#known.delete(oldest!);
  }
}

// The same while it is leased as while it waited before.
function nameOf({ id, attempts = 0, state }: StoredItem): string {
  return `${id} ${state === "leased" ? attempts - 1 : attempts}`;
}

// The newest items of a partition, newest first.
function newestOf(
  session: Session,
  queue: string,
  { partition }: Place,
  limit: number,
): Promise<StoredItem[]> {
  const filters = { order: "newest" };
  return Array.fromAsync(itemsOf(session, queue, { partition, filters, limit }));
}

// An item that was released stands among newer ones, and is known: so it looks a little further than to the
// first that is.
const LOOKED_BEYOND = 20;

async function showNew(session: Session, queue: string, place: Place): Promise<void> {
  const { partition } = place;
  const filters = { order: "newest" };
  const found: StoredItem[] = [];
  let known = 0;
  for await (const item of itemsOf(session, queue, {
    partition,
    filters,
    page: LOOKED_BEYOND * 2,
  })) {
    if (place.knows(item)) known++;
    else found.push(item);
    if (known >= LOOKED_BEYOND || found.length >= NEW_MAX) break;
  }
  for (const item of found.toReversed()) place.know(item);
  if (found.length >= NEW_MAX) {
    session.out.message(`there may be more than these ${count(NEW_MAX)} since the last look`);
  }
  await write(session, place, found);
}

// Writes items, which are newest first, in the order in which they came.
async function write(
  session: Session,
  { partition }: Place,
  items: readonly StoredItem[],
): Promise<void> {
  const { out } = session;
  for (const item of items.toReversed()) {
    const whole = { ...item, partition };
    await out.write(out.format === "table" ? lineOf(session, whole) : jsonText(whole, "ndjson"));
  }
}

function lineOf({ out }: Session, item: StoredItem): string {
  const { partition = 0, attempts = 0, kind = "", reference = "" } = item;
  const parts = [
    out.style("dim", time(item.created_at)),
    `p${partition}`,
    item.id,
    attempts > 0 ? out.style("yellow", `attempt ${count(attempts)}`) : "",
    item.state === "leased" ? out.style("cyan", "leased") : "",
    kind === "" ? "" : `kind=${printable(kind)}`,
    reference === "" ? "" : `ref=${printable(reference)}`,
    preview(payloadOf(item), 80),
  ];
  return `${parts.filter((part) => part !== "").join("  ")}\n`;
}

// Reads items as `items export` writes them and adds them to a queue: in their order, each to the
// partition that it came from. A line that cannot be meant ends it before anything of its batch is
// sent, and what has been imported by then is told.

import { QueratorError, type WireStorageItem } from "@querator/client";
import { printable } from "../printable.ts";
import { brokenOff } from "./explanation.ts";
import { CommandError, EXIT } from "./failure.ts";
import { linesOf, placeOf, textOf } from "./lines.ts";
import { objectOfLine } from "./produce-lines.ts";
import { Progress } from "./progress.ts";
import type { Session } from "./session.ts";
import { partitionsOf } from "./stored.ts";
import { plural, scheduledNote } from "./text.ts";

// What one request holds: far below what the server takes, so that progress is seen and little is
// uncertain if a connection breaks.
const ITEMS_SENT = 1_000;
const CHARACTERS_SENT = 8_000_000;
const TIMEOUT = "2m";

export interface ImportOptions {
  readonly file: string;
  readonly partition?: number;
  readonly release?: boolean;
  readonly due?: boolean;
  readonly sourceIds?: boolean;
}

type Sent = Omit<WireStorageItem, "partition" | "created_at" | "lease_id">;

// What the API takes, and what type it has.
const SENT: Readonly<Record<string, "string" | "number" | "object" | "any">> = {
  id: "string",
  source_id: "string",
  state: "string",
  lease_deadline: "string",
  expire_at: "string",
  enqueue_at: "string",
  attempts: "number",
  reference: "string",
  encoding: "string",
  kind: "string",
  headers: "object",
  last_error: "object",
  source: "object",
  unique_key: "string",
  max_attempts: "number",
  retry: "object",
  traceparent: "string",
  tracestate: "string",
  json: "any",
  utf8: "string",
  bytes: "string",
};
// What an export holds and the API gives anew.
const NOT_SENT = ["partition", "created_at", "lease_id", "progress", "cancelled"];

/** What goes to one partition. */
interface Part {
  readonly items: Sent[];
  /** The line of each. */
  readonly lines: number[];
}

interface Batch {
  readonly byPartition: Map<number, Part>;
  readonly firstLine: number;
  count: number;
  characters: number;
}

export async function importItems(
  session: Session,
  queue: string,
  options: ImportOptions,
): Promise<void> {
  const { out, signal, clock } = session;
  const partitionCount = await partitionsOf(session, queue);
  const progress = new Progress(clock, `items into '${queue}'`);
  let read = 0;
  let imported = 0;
  let scheduled = 0;
  let folded = 0;
  let line = 0;
  let batch = emptyBatch(1);
  let sending: [first: number, last: number] | undefined;
  let isInPart = false;
  const send = async (): Promise<void> => {
    sending = [batch.firstLine, line];
    const place = (number: number): string => placeOf(options.file, number);
    const results = await Promise.all(
      [...batch.byPartition].map(([partition, part]) =>
        sendItems(session, queue, { partition, ...part }, place).catch((error: unknown) => {
          if (error instanceof Broken) return error;
          throw error;
        }),
      ),
    );
    let failure: unknown;
    let isDone = false;
    for (const result of results) {
      if (result instanceof Broken) failure ??= result.cause;
      if (!(result instanceof Broken) || result.imported > 0) isDone = true;
      imported += result.imported;
      scheduled += result.scheduled;
    }
    if (failure !== undefined) {
      isInPart = isDone;
      throw failure;
    }
    progress.update(imported);
    batch = emptyBatch(line + 1);
    sending = undefined;
  };
  try {
    for await (const bytes of linesOf(options.file, signal)) {
      signal.throwIfAborted();
      line++;
      const place = placeOf(options.file, line);
      const text = textOf(bytes, place);
      if (text.trim() === "") continue;
      const { item, partition } = itemOf(text, place, options);
      const into = options.partition ?? partition % partitionCount;
      if (options.partition === undefined && into !== partition) folded++;
      const part = batch.byPartition.get(into) ?? { items: [], lines: [] };
      batch.byPartition.set(into, part);
      part.items.push(item);
      part.lines.push(line);
      read++;
      batch.count++;
      batch.characters += text.length;
      if (batch.count >= ITEMS_SENT || batch.characters >= CHARACTERS_SENT) await send();
    }
    await send();
  } catch (error) {
    progress.end();
    out.message(
      brokenOff(error, {
        done: `${plural(imported, "item")} had been imported`,
        sending,
        isInPart,
      }),
    );
    throw error;
  } finally {
    progress.end();
  }
  out.message(
    `Successfully imported ${plural(imported, "item")} into queue '${queue}'${scheduledNote(scheduled)}`,
  );
  if (read > imported) {
    out.message(
      `Passed over ${plural(read - imported, "item")} whose id or source_id was there already`,
    );
  }
  if (folded > 0) {
    out.message(
      `Warning: the queue has ${plural(partitionCount, "partition")}, so ` +
        `${plural(folded, "item")} went to another than the one they came from`,
    );
  }
}

function emptyBatch(firstLine: number): Batch {
  return { byPartition: new Map(), firstLine, count: 0, characters: 0 };
}

interface ImportReply {
  readonly results?: readonly { readonly status?: string }[];
}

// Answers how many were new, and how many of them are scheduled now.
async function sendItems(
  session: Session,
  queue: string,
  { partition, items, lines }: Part & { readonly partition: number },
  place: (line: number) => string,
): Promise<{ readonly imported: number; readonly scheduled: number }> {
  const sum = { imported: 0, scheduled: 0 };
  let size = items.length;
  for (let from = 0; from < items.length; ) {
    const some = items.slice(from, from + size);
    try {
      const { imported, scheduled } = await sendSome(session, queue, { partition, items: some });
      sum.imported += imported;
      sum.scheduled += scheduled;
      from += some.length;
    } catch (error) {
      const first = from;
      if (!isTooLarge(error))
        throw new Broken(
          placed(error, (i) => place(lines[first + i]!)),
          sum,
        );
      if (some.length === 1) {
        const text = `${place(lines[from]!)}: this item is too large; ${printable(error.message)}`;
        throw new Broken(new CommandError(text, EXIT.failed, undefined, error), sum);
      }
      size = some.length >> 1;
    }
  }
  return sum;
}

// A proxy may take less than the server does.
function isTooLarge(error: unknown): error is QueratorError {
  return error instanceof QueratorError && error.code === "too-large";
}

/** What went wrong after a part of a batch had been imported. */
class Broken extends Error {
  readonly imported: number;
  readonly scheduled: number;

  constructor(
    cause: unknown,
    { imported, scheduled }: { readonly imported: number; readonly scheduled: number },
  ) {
    super("broken off", { cause });
    this.imported = imported;
    this.scheduled = scheduled;
  }
}

async function sendSome(
  { client, signal }: Session,
  queue: string,
  { partition, items }: { readonly partition: number; readonly items: readonly Sent[] },
): Promise<{ readonly imported: number; readonly scheduled: number }> {
  const request = { queue_name: queue, partition, items };
  const isRepeatable = items.every(({ id, source_id }) => id || source_id);
  const how = { signal, timeout: TIMEOUT, isRepeatable };
  let reply: ImportReply;
  try {
    reply = await client.call<ImportReply>("items.import", request, how);
  } catch (error) {
    const isOld = error instanceof QueratorError && error.code === "not-implemented";
    if (!isOld || !items.some(({ enqueue_at }) => enqueue_at)) throw error;
    throw new CommandError(
      "this server cannot import scheduled items with their time",
      EXIT.failed,
      "With --due they become leasable at once",
      error,
    );
  }
  const { results = [] } = reply;
  const added = results.filter(({ status }) => status !== "duplicate");
  return {
    imported: added.length,
    scheduled: added.filter(({ status }) => status === "scheduled").length,
  };
}

// The server names an item by its index in the request, which nobody has seen.
function placed(error: unknown, placeOfItem: (index: number) => string): unknown {
  if (!(error instanceof QueratorError)) return error;
  const [named, index, field] = /^items\[(\d+)\](?:\.(.*))?$/s.exec(error.field ?? "") ?? [];
  if (named === undefined) return error;
  const why = error.message.replace(`field ${error.field} `, `'${field}' `);
  const text = `${placeOfItem(Number(index))}: ${printable(why)}`;
  return new CommandError(text, EXIT.failed, undefined, error);
}

function itemOf(
  text: string,
  place: string,
  { release = false, due = false, sourceIds = false }: ImportOptions,
): { readonly item: Sent; readonly partition: number } {
  const fail = (why: string): CommandError => new CommandError(`${place}: ${why}`);
  const members = objectOfLine(text, place);
  const item: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(members)) {
    const type = SENT[name];
    if (type === undefined) {
      if (NOT_SENT.includes(name)) continue;
      throw fail(`'${name}' cannot be imported`);
    }
    if (type !== "any" && typeof value !== type) throw fail(`'${name}' must be a ${type}`);
    item[name] = value;
  }
  const { id, partition = 0 } = members;
  if (typeof partition !== "number" || !Number.isInteger(partition) || partition < 0) {
    throw fail("'partition' must be a whole number");
  }
  if (release && item.state === "leased") {
    delete item.state;
    delete item.lease_deadline;
  }
  if (due && item.state === "scheduled") {
    delete item.state;
    delete item.enqueue_at;
  }
  if (sourceIds && (item.source_id ?? "") === "") {
    if (typeof id !== "string" || id === "") throw fail("it has neither a source_id nor an id");
    item.source_id = id;
  }
  return { item: item as Sent, partition };
}

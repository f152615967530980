// The verbs of those who work with items: produce, lease, complete, retry, release.

import { randomInt } from "node:crypto";
import { LeasedItem, type ProduceItem } from "@querator/client";
import type { Command } from "commander";
import { MILLISECOND } from "../clock.ts";
import {
  byPartition,
  milliseconds,
  moment,
  namedItems,
  partitionOption,
  timeoutOption,
  whole,
} from "./arguments.ts";
import { brokenOff, CommandError, EXIT, mayBeDone, tooLargeAt, usage } from "./failure.ts";
import { contentOf, linesOf, placeOf, textOf } from "./lines.ts";
import type { Column } from "./output.ts";
import { itemOfLine } from "./produce-lines.ts";
import { Progress } from "./progress.ts";
import { type Session, withSession } from "./session.ts";
import { count, plural, preview, time } from "./text.ts";

// What one request holds, and what is read of stdin before it is sent.
const ITEMS_SENT = 1_000;
const BYTES_SENT = 1_000_000;
const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

interface ProduceFlags {
  readonly payload?: string;
  readonly lines?: boolean;
  readonly ndjson?: boolean;
  readonly encoding?: string;
  readonly kind?: string;
  readonly reference?: string;
  readonly enqueueAt?: Date;
  readonly after?: number;
  readonly timeout: string;
}

export function addWorkCommands(program: Command): void {
  program
    .command("produce <queue>")
    .description("put items into a queue")
    .option("-p, --payload <text>", "the payload; all of stdin if it is left out")
    .option("--lines", "every line of stdin is the payload of an item")
    .option("--ndjson", "every line of stdin is an item: utf8 or bytes, kind, reference, ...")
    .option("--encoding <text>", "how the payload is encoded")
    .option("--kind <text>", "what sort of work it is")
    .option("--reference <text>", "what you know the item by")
    .option("--enqueue-at <time>", "when it may first be leased", moment)
    .option("--after <time>", "the same as a time from now on", milliseconds)
    .addOption(timeoutOption())
    .addHelpText(
      "after",
      `
Examples:
  querator produce jobs --payload '{"to":"me"}' --kind mail
  querator produce jobs < image.png
  querator produce jobs --lines --after 1h < names.txt
  echo '{"utf8":"hi","enqueue_at":"2030-01-31T12:00:00Z"}' | querator produce jobs --ndjson`,
    )
    .action(withSession(produce));

  program
    .command("lease <queue>")
    .description("lease items, to complete or retry them later")
    .option("-b, --batch-size <n>", "items at most", whole(1, 1_000), 1)
    .option("-c, --client-id <id>", "the name under which to wait; a new one if it is left out")
    .addOption(timeoutOption())
    .addHelpText(
      "after",
      `
It waits for the first item; with none in time it ends with ${EXIT.noItems}. What is neither
completed nor retried comes back to the queue when its lease ends.

Example:
  querator lease jobs -b 10 -o ndjson > work && ... && querator complete jobs --file work`,
    )
    .action(withSession(lease));

  program
    .command("complete <queue> [ids...]")
    .description("end leased items: they are done")
    .option("--file <path>", "ids, one a line, or NDJSON of lease; - for stdin")
    .addOption(partitionOption())
    .addOption(timeoutOption())
    .addHelpText(
      "after",
      `
Examples:
  querator complete jobs --file work
  querator lease jobs -o ndjson | querator complete jobs --file -`,
    )
    .action(withSession(complete));

  program
    .command("retry <queue> [ids...]")
    .description("give leased items back")
    .option("--file <path>", "ids, one a line, or NDJSON of lease; - for stdin")
    .addOption(partitionOption())
    .option("--at <time>", "when they may be leased again; at once if it is left out", moment)
    .option("--after <time>", "the same as a time from now on", milliseconds)
    .option("--dead", "to the dead queue, or gone if the queue has none")
    .addHelpText(
      "after",
      `
Examples:
  querator retry jobs --file work --after 5m
  querator retry jobs --file work --dead`,
    )
    .action(withSession(retry));

  program
    .command("release <queue> [ids...]")
    .description("give leased items back that nobody has begun: it does not count as an attempt")
    .option("--file <path>", "ids, one a line, or NDJSON of lease; - for stdin")
    .addOption(partitionOption())
    .option("--at <time>", "when they may be leased again; at once if it is left out", moment)
    .option("--after <time>", "the same as a time from now on", milliseconds)
    .addHelpText(
      "after",
      `
The server must know it: one that has /v1 only does not, and nothing happens then.

Examples:
  querator release jobs --file work
  querator release jobs --file work --after 5m`,
    )
    .action(withSession(release));
}

async function produce(session: Session, queue: string, flags: ProduceFlags): Promise<void> {
  const { client, out, signal } = session;
  const { payload, lines = false, ndjson = false, timeout } = flags;
  const isOne = [payload !== undefined, lines, ndjson].filter(Boolean).length <= 1;
  if (!isOne) throw usage("give only one of --payload, --lines and --ndjson");
  const enqueueAt = timeOf(session, { at: flags.enqueueAt, after: flags.after }, "--enqueue-at");
  const { encoding, kind, reference } = flags;
  const common: ProduceItem = { encoding, kind, reference, enqueueAt };
  if (!lines && !ndjson) {
    const content = payload ?? (await contentOf("-", signal));
    await client.produce(
      queue,
      { ...common, payload: content },
      { requestTimeout: timeout, signal },
    );
    const bytes = typeof content === "string" ? Buffer.byteLength(content) : content.length;
    out.message(`Successfully produced item with payload of ${bytes} bytes`);
    return;
  }

  const produced = await produceLines(session, queue, {
    itemOf: (line, number) => {
      if (!ndjson) return { ...common, payload: line };
      const place = placeOf("-", number);
      const text = textOf(line, place);
      return text.trim() === "" ? undefined : { ...common, ...itemOfLine(text, place) };
    },
    timeout,
  });
  out.message(`Successfully produced ${plural(produced, "item")}`);
}

// Answers how many items were produced.
async function produceLines(
  { client, out, signal, clock }: Session,
  queue: string,
  options: {
    readonly itemOf: (line: Buffer, number: number) => ProduceItem | undefined;
    readonly timeout: string;
  },
): Promise<number> {
  const progress = new Progress(clock, `items into '${queue}'`);
  let produced = 0;
  let items: ProduceItem[] = [];
  let lines: number[] = []; // of each item
  let bytes = 0;
  let firstLine = 1;
  let number = 0;
  let sending: [first: number, last: number] | undefined;
  const send = async (): Promise<void> => {
    sending = [firstLine, number];
    try {
      await client.produce(queue, items, { requestTimeout: options.timeout, signal });
    } catch (error) {
      throw tooLargeAt(error, (index) => placeOf("-", lines[index]!));
    }
    produced += items.length;
    progress.update(produced);
    items = [];
    lines = [];
    bytes = 0;
    firstLine = number + 1;
    sending = undefined;
  };
  try {
    for await (const line of linesOf("-", signal)) {
      signal.throwIfAborted();
      number++;
      const item = options.itemOf(line, number);
      if (item === undefined) continue;
      items.push(item);
      lines.push(number);
      bytes += line.length;
      if (items.length === ITEMS_SENT || bytes >= BYTES_SENT) await send();
    }
    if (items.length > 0) await send();
  } catch (error) {
    progress.end();
    out.message(
      brokenOff(error, { done: `${plural(produced, "item")} had been produced`, sending }),
    );
    throw error;
  }
  progress.end();
  return produced;
}

function timeOf(
  { clock }: Session,
  { at, after }: { readonly at: Date | undefined; readonly after: number | undefined },
  name: string,
): Date | undefined {
  if (at !== undefined && after !== undefined) throw usage(`give either ${name} or --after`);
  return after === undefined ? at : new Date(clock.now() / MILLISECOND + after);
}

const LEASED: readonly Column<LeasedItem>[] = [
  { title: "ID", value: ({ id }) => id },
  { title: "ATTEMPTS", value: ({ attempts }) => String(attempts), isRight: true },
  { title: "LEASED UNTIL", value: ({ leaseDeadline }) => time(leaseDeadline) },
  { title: "KIND", value: ({ kind }) => kind, widest: 20 },
  { title: "REFERENCE", value: ({ reference }) => reference, widest: 30 },
  { title: "PAYLOAD", value: ({ payload }) => preview(payload) },
];

async function lease(
  { client, out, signal }: Session,
  queue: string,
  options: { readonly batchSize: number; readonly clientId?: string; readonly timeout: string },
): Promise<void> {
  const { batchSize, clientId = newClientId(), timeout } = options;
  const items = await client.lease(queue, { batchSize, clientId, requestTimeout: timeout, signal });
  const partition = items[0]?.partition ?? 0;
  if (out.format === "json") {
    const wire = items.map(LeasedItem.wireOf);
    await out.write(`${JSON.stringify({ queue_name: queue, partition, items: wire }, null, 2)}\n`);
  } else {
    const json = (item: LeasedItem): object => ({
      queue_name: queue,
      partition,
      ...LeasedItem.wireOf(item),
    });
    await out.list(items, { name: "items", columns: LEASED, json });
  }
  if (items.length === 0) {
    throw new CommandError(`no items are in queue '${queue}', waited ${timeout}`, EXIT.noItems);
  }
  out.message(
    `Successfully leased ${items.length} item(s) from queue '${queue}' partition ${partition}`,
  );
}

function newClientId(): string {
  return `id-${Array.from({ length: 10 }, () => LETTERS[randomInt(LETTERS.length)]).join("")}`;
}

interface EndingOptions {
  readonly file?: string;
  readonly partition?: number;
}

async function complete(
  session: Session,
  queue: string,
  ids: string[],
  { timeout, ...options }: EndingOptions & { readonly timeout: string },
): Promise<void> {
  const { client, signal } = session;
  await endItems(session, queue, ids, {
    ...options,
    what: ["completed", "completed"],
    end: (some, partition) =>
      client.complete(queue, some, { partition, requestTimeout: timeout, signal }),
  });
}

async function retry(
  session: Session,
  queue: string,
  ids: string[],
  options: EndingOptions & {
    readonly at?: Date;
    readonly after?: number;
    readonly dead?: boolean;
  },
): Promise<void> {
  const { client, signal } = session;
  const { file, partition, at, after, dead = false } = options;
  const retryAt = timeOf(session, { at, after }, "--at");
  if (dead && retryAt !== undefined) throw usage("give either --dead or a time");
  await endItems(session, queue, ids, {
    file,
    partition,
    what: dead ? ["ended as dead", "ended as dead"] : ["gave back", "given back"],
    end: (some, number) => {
      const items = some.map((id) => ({ id, retryAt, dead }));
      return client.retry(queue, items, { partition: number, signal });
    },
  });
}

async function release(
  session: Session,
  queue: string,
  ids: string[],
  options: EndingOptions & { readonly at?: Date; readonly after?: number },
): Promise<void> {
  const { client, signal } = session;
  const { file, partition } = options;
  const at = timeOf(session, { at: options.at, after: options.after }, "--at");
  await endItems(session, queue, ids, {
    file,
    partition,
    what: ["released", "released"],
    end: (some, number) => {
      const items = some.map((id) => ({ id, at }));
      return client.release(queue, items, { partition: number, signal });
    },
  });
}

// Ends the items of each partition, piece by piece, as a request holds no more: so it is known how
// far it came.
async function endItems(
  { out, signal }: Session,
  queue: string,
  named: readonly string[],
  {
    file,
    partition,
    what: [did, done],
    end,
  }: {
    readonly file?: string | undefined;
    readonly partition?: number | undefined;
    /** What was done, and what the items then are. */
    readonly what: readonly [did: string, done: string];
    readonly end: (ids: string[], partition: number) => Promise<void>;
  },
): Promise<void> {
  const groups = byPartition(await namedItems(named, file, signal), partition);
  for (const [number, ids] of groups) {
    for (let i = 0; i < ids.length; i += ITEMS_SENT) {
      const some = ids.slice(i, i + ITEMS_SENT);
      try {
        await end(some, number);
      } catch (error) {
        if (ids.length > ITEMS_SENT) {
          const far = i === 0 ? "None" : `The first ${count(i)}`;
          const last = i === 0 ? "" : `, up to ${ids[i - 1]}`;
          const next = mayBeDone(error) ? `; the next ${count(some.length)} may be as well` : "";
          out.message(
            `${far} of ${plural(ids.length, "item")} of partition ${number} had been ${done} ` +
              `before this failed${last}${next}`,
          );
        }
        throw error;
      }
    }
    out.message(
      `Successfully ${did} ${ids.length} item(s) in queue '${queue}' partition ${number}`,
    );
  }
}

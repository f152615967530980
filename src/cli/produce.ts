// produce: items from an option, from stdin as a whole, or from its lines.

import { JsonText, type ProducedItem, type ProduceItem } from "@querator/client";
import { type Command, InvalidArgumentError, Option } from "commander";
import {
  anyDuration,
  decimal,
  duration,
  expiry,
  milliseconds,
  moment,
  type RetryFlags,
  retryOf,
  timeoutOption,
  whole,
} from "./arguments.ts";
import { brokenOff, tooLargeAt } from "./explanation.ts";
import { CommandError, usage } from "./failure.ts";
import { contentOf, linesOf, placeOf, textOf } from "./lines.ts";
import type { Listing } from "./output.ts";
import { itemOfLine, ON_DUPLICATE, UNIQUE_WHILE } from "./produce-lines.ts";
import { Progress } from "./progress.ts";
import { type Session, withSession } from "./session.ts";
import { plural } from "./text.ts";

// What one request holds, and what is read of stdin before it is sent.
const ITEMS_SENT = 1_000;
const BYTES_SENT = 1_000_000;

// For programs; people are told in words.
const RESULTS: Listing<ProducedItem> = {
  name: "results",
  columns: [],
  json: ({ id, status }) => ({ id, status }),
};

interface ProduceFlags extends RetryFlags {
  readonly payload?: string;
  readonly json?: boolean;
  readonly lines?: boolean;
  readonly ndjson?: boolean;
  readonly encoding?: string;
  readonly kind?: string;
  readonly reference?: string;
  readonly itemHeader?: Readonly<Record<string, string>>;
  readonly enqueueAt?: Date;
  readonly delay?: number;
  readonly uniqueKey?: string;
  readonly uniqueWhile?: ProduceItem["uniqueWhile"];
  readonly uniqueFor?: string;
  readonly onDuplicate?: ProduceItem["onDuplicate"];
  readonly maxAttempts?: number;
  readonly expireIn?: string;
  readonly allOrNone?: boolean;
  readonly timeout: string;
}

export function addProduceCommand(program: Command): void {
  program
    .command("produce <queue>")
    .description("put items into a queue")
    .option("-p, --payload <text>", "the payload; all of stdin if it is left out")
    .option("--json", "the payload is JSON, and is leased as the value that it is")
    .option("--lines", "every line of stdin is the payload of an item")
    .option("--ndjson", "every line of stdin is an item: json, utf8 or bytes, kind, ...")
    .option("--encoding <text>", "how the payload is encoded")
    .option("--kind <text>", "what sort of work it is")
    .option("--reference <text>", "what you know the item by")
    .option("--item-header <name=text>", "a header of the item; may be there several times", header)
    .option("--enqueue-at <time>", "when it may first be leased", moment)
    .option("--delay <time>", "the same as a time from now on", milliseconds)
    .option("--unique-key <text>", "a text of which the queue has one item at a time")
    .addOption(
      new Option(
        "--unique-while <state>",
        "until when the key is taken; pending: until its end",
      ).choices(UNIQUE_WHILE),
    )
    .option("--unique-for <time>", "in place of that: for so long from now on", duration)
    .addOption(
      new Option(
        "--on-duplicate <what>",
        "what to do if the key is taken; return if it is left out",
      ).choices(ON_DUPLICATE),
    )
    .option("--max-attempts <n>", "leases before it is dead, not as its queue says", whole(0))
    .option("--expire-in <time>", "how long it may live, or never, not as its queue says", expiry)
    .option("--retry-delay <time>", "how long its first retry waits; 0s for at once", anyDuration)
    .option("--retry-factor <n>", "by what each later wait is longer, 1 to 100", decimal(1, 100))
    .option("--retry-max-delay <time>", "the longest wait of a retry", anyDuration)
    .option("--retry-jitter <n>", "what part of a wait is left to chance, 0 to 1", decimal(0, 1))
    .option("--all-or-none", "all of a request, of 1,000 items at most, or nothing")
    .addOption(timeoutOption())
    .addHelpText(
      "after",
      `
Examples:
  querator produce jobs --json --payload '{"to":"me"}' --kind mail
  querator produce jobs -p hello --item-header tenant=acme
  querator produce jobs -p report --unique-key daily --on-duplicate reject
  querator produce jobs < image.png
  querator produce jobs --lines --delay 1h < names.txt
  echo '{"utf8":"hi","enqueue_at":"2030-01-31T12:00:00Z"}' | querator produce jobs --ndjson`,
    )
    .action(withSession(produce));
}

function header(text: string, before: Readonly<Record<string, string>> = {}) {
  const [, name, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError("Use a form such as tenant=acme.");
  return { ...before, [name]: value! };
}

function jsonOf(content: string | Buffer, place: string): unknown {
  try {
    return new JsonText(typeof content === "string" ? content : textOf(content, place));
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(`${place}: this is not JSON`);
  }
}

async function produce(session: Session, queue: string, flags: ProduceFlags): Promise<void> {
  const { client, out, signal } = session;
  const {
    payload,
    json = false,
    lines = false,
    ndjson = false,
    allOrNone = false,
    timeout,
  } = flags;
  const isOne = [payload !== undefined, lines, ndjson].filter(Boolean).length <= 1;
  if (!isOne) throw usage("give only one of --payload, --lines and --ndjson");
  if (json && ndjson) throw usage("--json is of payloads; with --ndjson say it with the name json");
  const { encoding, kind, reference, itemHeader: headers, enqueueAt, delay } = flags;
  const { uniqueKey, uniqueWhile, uniqueFor, onDuplicate, maxAttempts, expireIn } = flags;
  if (enqueueAt !== undefined && delay !== undefined) {
    throw usage("give either --enqueue-at or --delay");
  }
  if (uniqueWhile !== undefined && uniqueFor !== undefined) {
    throw usage("give either --unique-while or --unique-for");
  }
  const common: ProduceItem = {
    ...{ encoding, kind, reference, headers, enqueueAt, delay },
    ...{ uniqueKey, uniqueWhile, uniqueFor, onDuplicate, maxAttempts, expireIn },
    retry: retryOf(flags),
  };
  const itemOf = (content: string | Buffer, place: string): ProduceItem =>
    json ? { ...common, json: jsonOf(content, place) } : { ...common, payload: content };
  if (!lines && !ndjson) {
    const content = payload ?? (await contentOf("-", signal));
    const item = itemOf(content, payload === undefined ? "stdin" : "--payload");
    const produced = await client.produce(queue, item, {
      requestTimeout: timeout,
      allOrNone,
      signal,
    });
    const { id, status } = produced;
    const bytes = typeof content === "string" ? Buffer.byteLength(content) : content.length;
    const name = id === undefined ? "item" : `item '${id}'`;
    if (out.format !== "table") await out.list([produced], RESULTS);
    if (status === "duplicate") {
      out.message(`The key is taken by ${name}; nothing was produced`);
      return;
    }
    const did = status === "replaced" ? "replaced" : "produced";
    out.message(`Successfully ${did} ${name} with payload of ${bytes} bytes`);
    return;
  }

  const results = produceLines(session, queue, {
    itemOf: (line, number) => {
      const place = placeOf("-", number);
      if (!ndjson) return itemOf(line, place);
      const text = textOf(line, place);
      if (text.trim() === "") return undefined;
      const own = itemOfLine(text, place);
      // What a line says of its time, or of that of its key, takes the place of what is said for all.
      const isTimed = own.enqueueAt !== undefined || own.delay !== undefined;
      const isKept = own.uniqueWhile !== undefined || own.uniqueFor !== undefined;
      return {
        ...common,
        ...(isTimed && { enqueueAt: undefined, delay: undefined }),
        ...(isKept && { uniqueWhile: undefined, uniqueFor: undefined }),
        ...own,
      };
    },
    timeout,
    allOrNone,
  });
  let failure: unknown;
  let count = 0;
  // A list that is begun is ended, whatever happens: what is in it has been produced.
  const told = async function* (): AsyncGenerator<ProducedItem, void, undefined> {
    try {
      for await (const some of results) {
        count += some.length;
        if (out.format !== "table") yield* some;
      }
    } catch (error) {
      failure = error;
    }
  };
  await out.list(told(), RESULTS);
  if (failure !== undefined) throw failure;
  out.message(`Successfully produced ${plural(count, "item")}`);
}

// Answers what became of the items, batch by batch.
async function* produceLines(
  { client, out, signal, clock }: Session,
  queue: string,
  options: {
    readonly itemOf: (line: Buffer, number: number) => ProduceItem | undefined;
    readonly timeout: string;
    readonly allOrNone: boolean;
  },
): AsyncGenerator<readonly ProducedItem[], void, undefined> {
  const progress = new Progress(clock, `items into '${queue}'`);
  let produced = 0;
  let items: ProduceItem[] = [];
  let lines: number[] = []; // of each item
  let bytes = 0;
  let firstLine = 1;
  let number = 0;
  let sending: [first: number, last: number] | undefined;
  const send = async (): Promise<readonly ProducedItem[]> => {
    sending = [firstLine, number];
    let results: readonly ProducedItem[];
    try {
      results = await client.produce(queue, items, {
        requestTimeout: options.timeout,
        allOrNone: options.allOrNone,
        signal,
      });
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
    return results;
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
      if (items.length === ITEMS_SENT || bytes >= BYTES_SENT) yield await send();
    }
    if (items.length > 0) yield await send();
  } catch (error) {
    progress.end();
    out.message(
      brokenOff(error, { done: `${plural(produced, "item")} had been produced`, sending }),
    );
    throw error;
  }
  progress.end();
}

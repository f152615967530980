// The verbs of those who work with leased items: lease, complete, retry, release, reject, extend.

import {
  type ItemError,
  JsonText,
  LeasedItem,
  type NextItems,
  type ProducedItem,
  QueratorError,
} from "@querator/client";
import { type Command, InvalidArgumentError } from "commander";
import {
  extension,
  type LeaseChoice,
  leaseOptions,
  moment,
  namesOf,
  timeoutOption,
  wait,
  whole,
} from "./arguments.ts";
import { mayBeDone } from "./explanation.ts";
import { CommandError, EXIT, usage } from "./failure.ts";
import { linesOf, placeOf, textOf } from "./lines.ts";
import type { Column, Output } from "./output.ts";
import { nextOfLine } from "./produce-lines.ts";
import { type Session, withSession } from "./session.ts";
import { count, plural, preview, time } from "./text.ts";

// What one request holds.
const ITEMS_SENT = 1_000;
// Of those that failed, so many are told.
const FAILURES_TOLD = 10;
const BY_POLICY = "by the retry policy of item or queue";
const ERROR = ["--error <message>", "why it failed, for whoever looks at it later"] as const;
const ERROR_TYPE = ["--error-type <type>", "what sort of error it was"] as const;
const ALL_OR_NONE = ["--all-or-none", "all of them, 1,000 at most, or nothing"] as const;
const FILE = ["--file <path>", "lease ids, one a line, or NDJSON of lease; - for stdin"] as const;

export function addLeaseCommands(program: Command): void {
  leaseOptions(
    program.command("lease <queue>").description("lease items, to complete or retry them later"),
  )
    .option("-b, --batch-size <n>", "items at most", whole(1, 1_000), 1)
    .option("-c, --client <name>", "a name under which to wait, for people to see")
    .addOption(timeoutOption())
    .addHelpText(
      "after",
      `
It waits for the first item; with none in time it ends with ${EXIT.noItems}. What is not completed,
given back or extended under its lease id comes back to the queue when its lease ends.

Examples:
  querator lease jobs --kinds mail,sms --lease-timeout 5m
  querator lease jobs -b 10 -o ndjson > work && ... && querator complete jobs --file work`,
    )
    .action(withSession(lease));

  program
    .command("complete <queue> [lease-ids...]")
    .description("end leased items: they are done")
    .option(...FILE)
    .option("--result <json>", "what came of the work, of each of them", json)
    .option("--produce <path>", "what is to be done next, NDJSON of produce; - for stdin")
    .option("--to <queue>", "where it goes, if its line names no queue (default: the same queue)")
    .addOption(timeoutOption())
    .option(...ALL_OR_NONE)
    .addHelpText(
      "after",
      `
With --produce all of it is one transaction: the leases end and the items are there, or nothing is done. A
line may name another queue by queue_name; at most ${count(ITEMS_SENT)} leases and items go together.

Examples:
  querator complete jobs --file work
  querator complete jobs 3MYU1bRy3722FDmQTN000000001 --produce - <<< '{"queue_name":"mails","utf8":"hi"}'
  querator complete jobs 3MYU1bRy3722FDmQTN000000001 --result '{"sent":3}'
  querator complete jobs 3MYU1bRy3722FDmQTN000000001 --produce next.ndjson --to mails
  querator lease jobs -o ndjson | querator complete jobs --file -`,
    )
    .action(withSession(complete));

  program
    .command("retry <queue> [lease-ids...]")
    .description("give leased items back")
    .option(...FILE)
    .option("--at <time>", `when they may be leased again; ${BY_POLICY} if nothing is said`, moment)
    .option("--delay <time>", "the same as a time from now on; 0s for at once", wait)
    .option(...ERROR)
    .option(...ERROR_TYPE)
    .option(...ALL_OR_NONE)
    .addHelpText(
      "after",
      `
Examples:
  querator retry jobs --file work --delay 5m
  querator retry jobs --file work --error 'no answer from the bank' --error-type Timeout`,
    )
    .action(withSession(retry));

  program
    .command("reject <queue> [lease-ids...]")
    .description("give leased items up: to the dead queue, or gone if the queue has none")
    .option(...FILE)
    .option(...ERROR)
    .option(...ERROR_TYPE)
    .option(...ALL_OR_NONE)
    .addHelpText(
      "after",
      `
Example:
  querator reject jobs --file work --error 'no such customer'`,
    )
    .action(withSession(reject));

  program
    .command("extend <queue> [lease-ids...]")
    .description("let leases last for a time from now on")
    .option(...FILE)
    .option("--for <time>", "for how long, 12h at most", extension)
    .option(
      "--progress <json>",
      "how far the work is, of each of them; with --for or without",
      json,
    )
    .addHelpText(
      "after",
      `
The server must know it: one that has /v1 only does not, and nothing happens then.

Examples:
  querator extend jobs --file work --for 5m
  querator extend jobs 3MYU1bRy3722FDmQTN000000001 --progress '{"done":0.5}'`,
    )
    .action(withSession(extend));

  program
    .command("release <queue> [lease-ids...]")
    .description("give leased items back that nobody has begun: it does not count as an attempt")
    .option(...FILE)
    .option("--at <time>", "when they may be leased again; at once if it is left out", moment)
    .option("--delay <time>", "the same as a time from now on; 0s for at once", wait)
    .option(...ALL_OR_NONE)
    .addHelpText(
      "after",
      `
The server must know it: one that has /v1 only does not, and nothing happens then.

Examples:
  querator release jobs --file work
  querator release jobs --file work --delay 5m`,
    )
    .action(withSession(release));
}

function json(text: string): unknown {
  try {
    return new JsonText(text);
  } catch {
    throw new InvalidArgumentError("It is not JSON.");
  }
}

const LEASED: readonly Column<LeasedItem>[] = [
  { title: "ID", value: ({ id }) => id },
  { title: "LEASE ID", value: ({ leaseId }) => leaseId },
  { title: "ATTEMPTS", value: ({ attempts }) => String(attempts), isRight: true },
  { title: "LEASED UNTIL", value: ({ leaseDeadline }) => time(leaseDeadline) },
  { title: "KIND", value: ({ kind }) => kind, widest: 20 },
  { title: "REFERENCE", value: ({ reference }) => reference, widest: 30 },
  { title: "PAYLOAD", value: ({ payload }) => preview(payload) },
];

async function lease(
  { client, out, signal }: Session,
  queue: string,
  options: LeaseChoice & {
    readonly batchSize: number;
    readonly client?: string;
    readonly timeout: string;
  },
): Promise<void> {
  const { batchSize, client: name, kinds, leaseTimeout, timeout } = options;
  const items = await client.lease(queue, {
    batchSize,
    kinds,
    leaseTimeout,
    client: name,
    isShared: false,
    requestTimeout: timeout,
    signal,
  });
  if (out.format === "json") {
    const wire = items.map(LeasedItem.wireOf);
    await out.write(`${JSON.stringify({ queue_name: queue, items: wire }, null, 2)}\n`);
  } else {
    const json = (item: LeasedItem): object => ({
      queue_name: queue,
      ...LeasedItem.wireOf(item),
    });
    await out.list(items, { name: "items", columns: LEASED, json });
  }
  if (items.length === 0) {
    throw new CommandError(`no items are in queue '${queue}', waited ${timeout}`, EXIT.noItems);
  }
  out.message(`Successfully leased ${items.length} item(s) from queue '${queue}'`);
}

interface EndingOptions {
  readonly file?: string;
  readonly allOrNone?: boolean;
}

async function complete(
  session: Session,
  queue: string,
  ids: string[],
  options: EndingOptions & {
    readonly timeout: string;
    readonly result?: unknown;
    readonly produce?: string;
    readonly to?: string;
  },
): Promise<void> {
  const { client, signal } = session;
  const { timeout: requestTimeout, file, allOrNone, result, produce: path, to } = options;
  if (path === undefined && to !== undefined) throw usage("--to is of what --produce produces");
  if (path !== undefined) {
    if (path === "-" && file === "-") throw usage("only one of --file and --produce can be -");
    const leaseIds = await namesOf(ids, { file, signal, member: "lease_id" });
    const produce = await nextOf(path, to, signal);
    const how = { requestTimeout, result, signal, produce };
    await tellProduced(session.out, queue, leaseIds, await client.complete(queue, leaseIds, how));
    return;
  }
  await endItems(session, queue, ids, {
    file,
    allOrNone: allOrNone === true,
    what: ["completed", "completed"],
    end: (some) => client.complete(queue, some, { requestTimeout, result, allOrNone, signal }),
  });
}

// What a file says is to be done next, in the queue `to` where a line names none.
async function nextOf(
  path: string,
  to: string | undefined,
  signal: AbortSignal,
): Promise<NextItems[]> {
  const next: NextItems[] = [];
  let number = 0;
  for await (const line of linesOf(path, signal)) {
    const place = placeOf(path, ++number);
    const text = textOf(line, place, EXIT.usage);
    if (text.trim() === "") continue;
    const { queueName = to, item } = nextOfLine(text, place);
    next.push({ queueName, items: item });
    if (next.length > ITEMS_SENT) throw usage(`--produce takes ${count(ITEMS_SENT)} items at most`);
  }
  if (next.length === 0) throw usage(`'${path}' has no items`);
  return next;
}

async function tellProduced(
  out: Output,
  queue: string,
  leaseIds: readonly string[],
  produced: readonly ProducedItem[],
): Promise<void> {
  if (out.format !== "table") {
    const json = ({ id, status }: ProducedItem): object => ({ id, status });
    await out.list(produced, { name: "produced", columns: [], json });
  }
  const what = `completed ${leaseIds.length} item(s) in queue '${queue}'`;
  out.message(`Successfully ${what}, and produced ${plural(produced.length, "item")}`);
}

interface WhyOptions {
  readonly error?: string;
  readonly errorType?: string;
}

function whyOf({ error: message, errorType: type }: WhyOptions): Partial<ItemError> | undefined {
  if (message === undefined && type === undefined) return undefined;
  return { ...(message !== undefined && { message }), ...(type !== undefined && { type }) };
}

interface WhenOptions {
  readonly at?: Date;
  readonly delay?: number;
}

async function retry(
  session: Session,
  queue: string,
  ids: string[],
  { file, allOrNone, ...how }: EndingOptions & WhenOptions & WhyOptions,
): Promise<void> {
  const { client, signal } = session;
  const back = backOf(how);
  const error = whyOf(how);
  await endItems(session, queue, ids, {
    file,
    allOrNone,
    what: ["gave back", "given back"],
    end: (some, onDead) => {
      const items = some.map((leaseId) => ({ ...back(leaseId), error }));
      return client.retry(queue, items, { allOrNone, signal, onDead });
    },
  });
}

async function release(
  session: Session,
  queue: string,
  ids: string[],
  { file, allOrNone, ...when }: EndingOptions & WhenOptions,
): Promise<void> {
  const { client, signal } = session;
  const back = backOf(when);
  await endItems(session, queue, ids, {
    file,
    allOrNone,
    what: ["released", "released"],
    end: (some) => client.release(queue, some.map(back), { allOrNone, signal }),
  });
}

function backOf({ at, delay }: WhenOptions) {
  if (at !== undefined && delay !== undefined) throw usage("give either --at or --delay");
  return (leaseId: string) => ({ leaseId, at, delay });
}

async function reject(
  session: Session,
  queue: string,
  ids: string[],
  { file, allOrNone, ...why }: EndingOptions & WhyOptions,
): Promise<void> {
  const { client, signal } = session;
  const error = whyOf(why);
  await endItems(session, queue, ids, {
    file,
    allOrNone,
    what: ["gave up", "given up"],
    end: (some) =>
      client.reject(
        queue,
        some.map((leaseId) => ({ leaseId, error })),
        { allOrNone, signal },
      ),
  });
}

async function extend(
  session: Session,
  queue: string,
  ids: string[],
  {
    file,
    for: ms,
    progress,
  }: EndingOptions & { readonly for?: number; readonly progress?: unknown },
): Promise<void> {
  const { client, signal } = session;
  if (ms === undefined && progress === undefined) throw usage("give --for or --progress");
  await endItems(session, queue, ids, {
    file,
    what: ["extended", "extended"],
    end: (some) => client.extend(queue, some, { for: ms, progress, signal }),
  });
}

// Ends leases piece by piece, as a request holds no more: so it is known how far it came. Each lease is ended
// by itself; those that are not are told.
async function endItems(
  { out, signal }: Session,
  queue: string,
  named: readonly string[],
  {
    file,
    allOrNone = false,
    what: [did, done],
    end,
  }: {
    readonly file?: string | undefined;
    /** In one request, which does all of it or nothing. */
    readonly allOrNone?: boolean | undefined;
    /** What was done, and what the items then are. */
    readonly what: readonly [did: string, done: string];
    /** `onDead` is to be called for each item that is not tried again although nobody asked for that. */
    readonly end: (leaseIds: string[], onDead: (leaseId: string) => void) => Promise<unknown>;
  },
): Promise<void> {
  const ids = await namesOf(named, { file, signal, member: "lease_id" });
  if (allOrNone && ids.length > ITEMS_SENT) {
    throw usage(`${count(ids.length)} leases cannot be ended as one; ${count(ITEMS_SENT)} can`);
  }
  const dead = new Set<string>();
  const results: Result[] = [];
  for (let i = 0; i < ids.length; i += ITEMS_SENT) {
    const some = ids.slice(i, i + ITEMS_SENT);
    try {
      const told = await end(some, (leaseId) => dead.add(leaseId));
      results.push(...resultsOf(some, told, dead));
    } catch (error) {
      results.push(...resultsAfter(error, some, { dead, allOrNone }));
      await writeResults(out, results);
      tellFailures(out, some, error);
      if (ids.length > ITEMS_SENT) {
        const far = i === 0 ? "None" : `The first ${count(i)}`;
        const last = i === 0 ? "" : `, up to ${ids[i - 1]}`;
        const next = mayBeDone(error) ? `; the next ${count(some.length)} may be as well` : "";
        out.message(
          `${far} of ${plural(ids.length, "item")} had been ${done} before this failed${last}${next}`,
        );
      }
      throw error;
    }
  }
  await writeResults(out, results);
  const lived = ids.length - dead.size;
  if (lived > 0) out.message(`Successfully ${did} ${lived} item(s) in queue '${queue}'`);
  if (dead.size === 0) return;
  out.message(
    `${plural(dead.size, "item")} will not be tried again, for attempts or time were over: moved to the dead queue of '${queue}', or deleted if it has none`,
  );
}

/** What became of a lease, in the words of the API. */
interface Result {
  readonly lease_id: string;
  readonly ok?: true;
  readonly dead?: true;
  readonly lease_deadline?: Date;
  readonly code?: string;
  readonly detail?: string;
}

function resultsOf(ids: readonly string[], told: unknown, dead: ReadonlySet<string>): Result[] {
  const deadlines: readonly unknown[] = Array.isArray(told) ? told : [];
  return ids.map((id, i): Result => {
    const deadline = deadlines[i];
    return {
      lease_id: id,
      ok: true,
      ...(dead.has(id) && { dead: true }),
      ...(deadline instanceof Date && { lease_deadline: deadline }),
    };
  });
}

// Of those that are not told by themselves the error is that of the call. Of what was broken off nothing is known.
function resultsAfter(
  error: unknown,
  ids: readonly string[],
  { dead, allOrNone }: { readonly dead: ReadonlySet<string>; readonly allOrNone: boolean },
): Result[] {
  if (!(error instanceof QueratorError)) return [];
  const own = new Map(error.failures.map((each) => [each.index, each.error]));
  const done = resultsOf(ids, undefined, dead);
  return done.map((result, i): Result => {
    const failure = own.size === 0 ? error : own.get(i);
    // It could have been done, and was not because of the others.
    if (failure === undefined) return allOrNone ? { lease_id: result.lease_id } : result;
    const code =
      failure instanceof QueratorError ? failure.code.replaceAll("-", "_") : "interrupted";
    return { lease_id: result.lease_id, code, detail: (failure as Error).message };
  });
}

async function writeResults(out: Output, results: readonly Result[]): Promise<void> {
  if (out.format === "table") return;
  await out.list(results, { name: "results", columns: [], json: (result) => result });
}

function tellFailures(out: Output, ids: readonly string[], error: unknown): void {
  if (!(error instanceof QueratorError) || error.failures.length < 2) return;
  for (const { index, error: own } of error.failures.slice(0, FAILURES_TOLD)) {
    out.message(`${ids[index]}: ${(own as Error).message}`);
  }
  const more = error.failures.length - FAILURES_TOLD;
  if (more > 0) out.message(`and ${plural(more, "item")} more`);
}

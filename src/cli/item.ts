// The verbs for single items that are named by their ids: item get|cancel|update|wait|explain.

import { JsonText } from "@querator/client";
import { type Command, Option } from "commander";
import { anyDuration, expiry, milliseconds, moment, yesOption } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { usage } from "./failure.ts";
import { type Session, withSession } from "./session.ts";
import { errorOf, payloadOf, type StoredItem } from "./stored.ts";
import { plural, preview, time } from "./text.ts";

const QUEUE = [
  "-q, --queue <queue>",
  "where to look for it, and in its dead queue; in the queue that gave the id if it is left out",
] as const;

// Half of what is meant by never.
const FOR_EVER_MS = 50 * 365 * 86_400_000;
// What an answer takes longer than its wait.
const MARGIN_MS = 10_000;

interface Explanation {
  readonly id: string;
  readonly state: string;
  readonly reasons?: readonly {
    readonly code: string;
    readonly detail: string;
    readonly until?: string;
  }[];
  readonly position?: number;
  readonly expected_at?: string;
}

interface Named {
  readonly queue?: string;
}

/** Adds them to `items`. */
export function addItemVerbs(items: Command): void {
  items
    .command("get <id>")
    .description("show an item, whatever has become of it")
    .option(...QUEUE)
    .addHelpText(
      "after",
      `
What has ended is there only if the queue keeps it: see keep_completed.

Example:
  querator items get 3MYU1bRy3722FDmQTN000000001`,
    )
    .action(withSession(get));

  items
    .command("cancel <id>")
    .description("see to it that an item never comes back")
    .option(...QUEUE)
    .addOption(yesOption())
    .addHelpText(
      "after",
      `
One that waits or is scheduled is removed. One that is leased is marked: its holder learns it when it
extends or ends its lease, and the item ends with that.

Example:
  querator items cancel 3MYU1bRy3722FDmQTN000000001 --yes`,
    )
    .action(withSession(cancel));

  items
    .command("update <id>")
    .description("change an item that is not leased; it goes to the end of the line")
    .option(...QUEUE)
    .option("--at <time>", "when it may be leased", moment)
    .option("--delay <time>", "the same as a time from now on; 0s for at once", anyDuration)
    .option("-p, --payload <text>", "what it is to hold, as a text")
    .option("--json <json>", "what it is to hold, as JSON")
    .option("--expire-in <time>", "how long it may live from now on, or never", expiry)
    .addOption(
      new Option("--if-state <state>", "only if it is in this state").choices([
        "waiting",
        "scheduled",
        "held",
        "dead",
      ]),
    )
    .addHelpText(
      "after",
      `
Examples:
  querator items update 3MYU1bRy3722FDmQTN000000001 --delay 1h
  querator items update 3MYU1bRy3722FDmQTN000000001 --json '{"to":"jane"}' --if-state waiting`,
    )
    .action(withSession(update));

  items
    .command("wait <id>")
    .description("wait until an item has ended or is dead, and show it")
    .option(...QUEUE)
    .addOption(
      new Option("--timeout <time>", "how long to wait, 15m at most")
        .argParser(milliseconds)
        .default(30_000, "30s"),
    )
    .addHelpText(
      "after",
      `
When the time is over it shows the item as it is then.

Example:
  querator items wait 3MYU1bRy3722FDmQTN000000001 --timeout 5m -o json`,
    )
    .action(withSession(wait));

  items
    .command("explain <id>")
    .description("tell why an item is not running, and when it is likely to")
    .option(...QUEUE)
    .addHelpText(
      "after",
      `
Example:
  querator items explain 3MYU1bRy3722FDmQTN000000001`,
    )
    .action(withSession(explain));
}

async function get({ client, out, signal }: Session, id: string, { queue }: Named): Promise<void> {
  const request = { queue_name: queue, id, payload: true };
  const options = { signal, isRepeatable: true, isExact: true };
  await show({ out }, await client.call<StoredItem>("item.get", request, options));
}

async function cancel(
  session: Session,
  id: string,
  { queue, yes }: Named & { readonly yes?: boolean },
): Promise<void> {
  const { client, out, signal } = session;
  await confirm(session, `Cancel item '${id}'?`, { yes });
  const request = { queue_name: queue, id };
  const item = await client.call<StoredItem>("item.cancel", request, {
    signal,
    isRepeatable: true,
  });
  if (out.format !== "table") return show({ out }, item);
  out.message(
    item.state === "leased"
      ? `Item '${id}' is leased, and ends with its lease`
      : `Cancelled item '${id}'`,
  );
}

interface UpdateOptions extends Named {
  readonly at?: Date;
  readonly delay?: string;
  readonly payload?: string;
  readonly json?: string;
  readonly expireIn?: string;
  readonly ifState?: string;
}

async function update(session: Session, id: string, options: UpdateOptions): Promise<void> {
  const { client, out, signal } = session;
  const { queue, at, delay, payload, json, expireIn, ifState } = options;
  if (at !== undefined && delay !== undefined) throw usage("give either --at or --delay");
  if (payload !== undefined && json !== undefined) throw usage("give either --payload or --json");
  if ([at, delay, payload, json, expireIn].every((each) => each === undefined)) {
    throw usage("say what to change: --at, --delay, --payload, --json or --expire-in");
  }
  const request = {
    queue_name: queue,
    id,
    enqueue_at: at,
    delay,
    utf8: payload,
    expire_in: expireIn,
    if_state: ifState,
  };
  const members = JSON.stringify(request).slice(0, -1);
  const body = json === undefined ? `${members}}` : `${members},"json":${checked(json)}}`;
  const item = await client.call<StoredItem>("item.update", body, { signal });
  if (out.format !== "table") return show({ out }, item);
  const due = item.enqueue_at === undefined ? "" : ` until ${time(item.enqueue_at)}`;
  out.message(`Changed item '${id}'; it is ${item.state}${due}`);
}

// It is sent as it stands.
function checked(json: string): string {
  try {
    return new JsonText(json).text;
  } catch (error) {
    throw usage(`--json is no JSON: ${(error as Error).message}`);
  }
}

async function wait(
  { client, out, signal }: Session,
  id: string,
  { queue, timeout }: Named & { readonly timeout: number },
): Promise<void> {
  const request = { queue_name: queue, id, request_timeout: `${timeout}ms`, payload: true };
  const options = { signal, isRepeatable: true, isExact: true, timeout: timeout + MARGIN_MS };
  await show({ out }, await client.call<StoredItem>("item.wait", request, options));
}

async function explain(
  { client, out, signal }: Session,
  id: string,
  { queue }: Named,
): Promise<void> {
  const request = { queue_name: queue, id };
  const told = await client.call<Explanation>("item.explain", request, {
    signal,
    isRepeatable: true,
    isExact: true,
  });
  const { state, reasons = [], position = 0, expected_at } = told;
  const because = reasons.map(({ code, detail, until }): [string, string] => [
    code,
    until === undefined ? detail : `${detail}; until ${time(until)}`,
  ]);
  const waits = reasons.some(({ code }) => code === "in_line");
  await out.record(told, [
    ["id", id],
    ["state", state],
    ...because,
    ...(waits ? [["items before it", String(position)] as const] : []),
    ...(expected_at === undefined ? [] : [["expected at", time(expected_at)] as const]),
  ]);
}

async function show({ out }: Pick<Session, "out">, item: StoredItem): Promise<void> {
  const { source, retry, progress, result, headers = {} } = item;
  const rows: [string, string][] = [
    ["id", item.id],
    ["queue", item.queue_name ?? ""],
    ["state", `${item.state ?? ""}${item.cancelled === true ? ", cancelled" : ""}`],
    ["partition", String(item.partition ?? 0)],
    ["attempts", attemptsOf(item)],
    ["created", time(item.created_at)],
    ["due", time(item.enqueue_at)],
    ["expires", isForEver(item) ? "never" : time(item.expire_at)],
    ["lease id", item.lease_id ?? ""],
    ["leased until", time(item.lease_deadline)],
    ["progress", jsonOf(progress)],
    ["ended", time(item.ended_at)],
    ["last error", errorOf(item)],
    ["died in", source === undefined ? "" : `${source.queue_name} (${source.reason})`],
    ["died", time(source?.died_at)],
    ["tried there", source === undefined ? "" : plural(source.attempts ?? 0, "time")],
    ["fingerprint", source?.fingerprint ?? ""],
    ["result", jsonOf(result)],
    ["unique key", item.unique_key ?? ""],
    ["retry", jsonOf(retry)],
    ["kind", item.kind ?? ""],
    ["reference", item.reference ?? ""],
    ["encoding", item.encoding ?? ""],
    ["headers", Object.keys(headers).length === 0 ? "" : jsonOf(headers)],
    ["payload", preview(payloadOf(item), 80)],
  ];
  await out.record(
    item,
    rows.filter(([, text]) => text !== ""),
  );
}

function attemptsOf({ attempts = 0, max_attempts: most = 0 }: StoredItem): string {
  return most === 0 ? String(attempts) : `${attempts} of ${most}`;
}

// As good as never: what a queue is given that says nothing of it.
function isForEver({ created_at: created = "", expire_at: expires = "" }: StoredItem): boolean {
  return Date.parse(expires) - Date.parse(created) > FOR_EVER_MS;
}

function jsonOf(value: unknown): string {
  return value === undefined ? "" : JSON.stringify(value);
}

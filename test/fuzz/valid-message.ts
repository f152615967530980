// Messages that make sense: each field gets a value that its name calls for, so that many are
// accepted and get deep into the server. A field with a name that is not known here gets a value of
// its type.

import type { DescField, DescMessage } from "@bufbuild/protobuf";
import type { Random } from "../support/random.ts";
import { innerMessage, isRawJson, isTime } from "./endpoints.ts";
import type { Entry, Value } from "./message-tree.ts";

/** Items that were leased, or an item that is known to be there. */
export interface Focus {
  readonly queue: string;
  readonly partition: number;
  readonly ids: readonly string[];
}

/** What the fuzzer knows of the server's state. */
export interface World {
  /** Queues that are there, or were. */
  readonly queues: readonly string[];
  /** The last items seen; those leased are no longer leased once they were completed. */
  readonly seen: Focus[];
  /** What dead letters have in common, and redrives, as replies have told of them. */
  readonly names: readonly Named[];
}

/** A fingerprint, or the id of a redrive, of a dead queue. */
export interface Named {
  readonly kind: "fingerprint" | "redrive";
  readonly queue: string;
  readonly name: string;
}

/** A name with what JSON must escape and what UTF-8 needs four bytes for. */
export const ODD_QUEUE = 'ü"\\\u{1f600}';

/** The queues of a fresh world; the first has two partitions, the second is its dead queue. */
export const BASE_QUEUES = ["jobs", "dead", "empty", ODD_QUEUE] as const;
/** Names that requests create and delete, so that the base queues mostly survive. */
export const PASSING_QUEUES = ["passing", "constructor", "__proto__", "toString"] as const;

const SCALAR = { DOUBLE: 1, STRING: 9, BYTES: 12, BOOL: 8 } as const;

/** A message of which most fields are given. */
export function validMessage(desc: DescMessage, world: World, random: Random): Entry[] {
  const isNamed = NAMED.has(desc.name);
  const seen = world.seen.length > 0 && (desc.name.startsWith("Item") || !random.oneIn(3));
  const some = seen
    ? random.pick(world.seen)
    : { queue: random.pick(random.oneIn(4) ? world.queues : BASE_QUEUES), partition: 0, ids: [] };
  const named = random.pickIfAny(world.names.filter(({ kind }) => kind === NAMED.get(desc.name)));
  // Of a redrive all but the last is of the dead queue.
  const focus = isNamed ? { ...some, queue: named?.queue ?? "dead" } : some;
  return entriesFor(desc, { desc, within: desc, focus, name: named?.name ?? "", random }, 0);
}

// What takes one of the names that replies have told.
const NAMED: ReadonlyMap<string, Named["kind"]> = new Map([
  ["RedriveRequest", "redrive"],
  ["QueueRedriveRequest", "fingerprint"],
]);

interface Context {
  /** The whole message. */
  readonly desc: DescMessage;
  /** The message in it that a field is of. */
  readonly within: DescMessage;
  readonly focus: Focus;
  readonly name: string;
  readonly random: Random;
}

function entriesFor(desc: DescMessage, outer: Context, depth: number): Entry[] {
  const { random } = outer;
  const context = { ...outer, within: desc };
  // Of those that say the same in other ways one is given, mostly.
  const left = ALTERNATIVES.flatMap((names) => {
    const given = names.filter((name) => desc.fields.some(({ jsonName }) => jsonName === name));
    return given.length < 2 || random.oneIn(30) ? [] : without(given, random.pick(given));
  });
  // What goes only with a unique key, of what has none, and what cannot be had at all there.
  if (!random.oneIn(3) || outer.desc.name === "QueueCompleteRequest") left.push(...UNIQUE);
  // Beside it there is a field that means the same.
  if (desc.name === "RetryPolicy" && !random.oneIn(6)) left.push("max_attempts");
  // What a page does not ask for by chance leaves it with something in it.
  if (desc.name === "ItemsListRequest" && !random.oneIn(3)) left.push(...FILTERS);
  // What is required stands first in each message; of the rest some are left out.
  const fields = desc.fields.filter(
    (field) =>
      !left.includes(field.jsonName) && (isRequired(field, desc, depth) || !random.oneIn(3)),
  );
  return fields.map((field) => ({
    name: random.oneIn(4) ? field.name : field.jsonName,
    number: field.number,
    value: valueFor(field, context, depth),
  }));
}

// Of items of /v2; under /v1 there is no json.
const ALTERNATIVES = [
  ["json", "utf8", "bytes"],
  ["at", "delay"],
  ["enqueue_at", "delay"],
  ["unique_while", "unique_for"],
  ["queue_name", "queue_names"],
  ["ids", "fingerprint"],
] as const;

const UNIQUE = ["unique_key", "unique_while", "unique_for", "on_duplicate"];
const FILTERS = ["kind", "reference", "error_type", "older_than", "newer_than"];

function without(names: readonly string[], name: string): readonly string[] {
  return names.filter((each) => each !== name);
}

function isRequired({ jsonName }: DescField, { name }: DescMessage, depth: number): boolean {
  if (depth > 0)
    return /^(lease_id|for|unique_key|reason|queue_name)$/.test(jsonName) || IN_LIST.has(name);
  return /^id$|queue_name|timeout|items|ids|leases|queues|client|size|partition/.test(jsonName);
}

// Of these all fields are given: without a name there is nothing.
const IN_LIST: ReadonlySet<string> = new Set(["QueueCompleteProduce"]);

function valueFor(field: DescField, context: Context, depth: number): Value {
  if (field.fieldKind !== "list") return singleFor(field, context, depth);
  const { random } = context;
  const known = field.jsonName === "ids" ? context.focus.ids.length : 0;
  const most = SHORT.has(field.jsonName) ? 1 : 8;
  const count = known > 0 ? 1 + random.below(known) : 1 + random.length(most);
  return {
    kind: "list",
    values: Array.from({ length: count }, () => singleFor(field, context, depth)),
  };
}

// What must not be the same twice, or goes to one place.
const SHORT: ReadonlySet<string> = new Set(["queues", "produce"]);

function singleFor(field: DescField, context: Context, depth: number): Value {
  const { random } = context;
  if (isTime(field)) return timeFor(random);
  if (isRawJson(field)) return { kind: "json", text: random.pick(JSONS) };
  if (field.fieldKind === "map") return { kind: "map", pairs: random.pick(MAPS) };
  const message = innerMessage(field);
  if (message !== undefined) {
    return { kind: "message", entries: entriesFor(message, context, depth + 1) };
  }
  switch (field.scalar as number | undefined) {
    case SCALAR.STRING:
      return { kind: "text", text: textFor(field.jsonName, context) };
    case SCALAR.BYTES:
      return { kind: "bytes", bytes: random.bytes(random.length(200)) };
    case SCALAR.BOOL:
      return { kind: "bool", bool: random.oneIn(2) };
    case SCALAR.DOUBLE:
      return { kind: "double", double: random.pick(DOUBLES[field.jsonName] ?? [0, 0.1, 2]) };
    default:
      return { kind: "int", int: numberFor(field.jsonName, context) };
  }
}

const STATES = ["", "waiting", "leased", "scheduled", "completed", "cancelled", "rejected", "dead"];
const DOUBLES: Readonly<Record<string, readonly number[]>> = {
  factor: [1, 1.5, 2, 100],
  jitter: [0, 0.2, 1],
  stop_at_failure_ratio: [0, 0.5, 1],
};
const JSONS = ['{"a": [1, null]}', '"text"', "12.50", "[]", "null", '{"ü":"\\n"}'];
const MAPS: readonly (readonly [string, string][])[] = [
  [],
  [["a", "b"]],
  [
    ["ü", ""],
    ["1", "2"],
  ],
];

// Far ahead, or past: what happens soon would change the state while it is being compared.
function timeFor(random: Random): Value {
  const now = Math.floor(Date.now() / 1000);
  const seconds = random.pick([now + 3_600, now + 86_400 * 30, now - 3_600, 1, 0]);
  return { kind: "time", seconds, nanos: random.pick([0, 1_000_000, 123_456_000, 999_999_999]) };
}

function numberFor(name: string, { focus, random }: Context): number {
  switch (name) {
    case "partition":
      return random.oneIn(8) ? random.below(3) : focus.partition;
    case "batch_size":
      return 1 + random.below(4);
    case "requested_partitions":
      return 1 + random.below(3);
    case "limit":
      return random.below(20);
    case "keep_max":
      return 1 + random.below(5);
    // Slower ones would go on while nothing may change.
    case "rate":
      return random.pick([0, 1_000, 100_000]);
    default:
      return random.below(5);
  }
}

function textFor(name: string, context: Context): string {
  const { desc, within, focus, random } = context;
  switch (name) {
    case "queue_name":
    case "queue_names":
      return queueFor(desc, focus, random);
    case "to":
      return random.pick(["", "", "jobs", "empty"]);
    case "fingerprint":
      return context.name;
    case "request_timeout":
      return random.pick(["10ms", "25ms", "0.02s", "30ms"]);
    case "lease_timeout":
      return random.pick(["1m", "1m30s", "2h"]);
    case "expire_timeout":
      return random.pick(["24h", "48h0m0s"]);
    case "client_id":
      return `client-${random.below(1_000_000)}`;
    case "dead_queue":
      return random.pick(["", "", "dead"]);
    case "namespace":
      return random.pick(["", "_system"]);
    case "expire_in":
      return random.pick(["", "24h", "48h"]);
    case "max_delay":
      return random.pick(["2h", "24h"]);
    case "older_than":
      return random.pick(["", "0s", "1ms"]);
    case "newer_than":
      return random.pick(["", "1h", "24h"]);
    case "on_lease_end":
      return random.pick(["retry_now", "retry_delayed", "reject"]);
    case "keep_completed":
      return random.pick(["0s", "1h", "24h"]);
    case "if_state":
      return random.pick(["", "", "waiting", "scheduled", "dead"]);
    case "order":
      return random.pick(["", "oldest", "newest"]);
    case "kinds":
      return random.pick(["k", "k", "text/plain", "ünïcode"]);
    case "kind":
      return random.pick(["k", "k", "", "text/plain"]);
    case "reason":
      return random.pick(["attempts", "expired", "rejected"]);
    case "id":
      if (desc.name === "RedriveRequest") return context.name;
      // Of what is imported mostly a new one.
      if (within.name === "DeadSource" || (within.name === "Item" && !random.oneIn(6))) return "";
      return focus.ids.length > 0 ? random.pick(focus.ids) : "";
    case "ids":
    case "lease_id":
      return focus.ids.length > 0 ? random.pick(focus.ids) : "";
    case "for":
      return random.pick(["1m", "30m", "12h"]);
    case "state":
      return random.pick(within.name === "Item" ? STATES.slice(0, 4) : STATES);
    case "cursor":
      return "";
    case "delay":
      return random.pick(within.name === "RetryPolicy" ? ["0s", "30m"] : ["", "0s", "1h0.5s"]);
    case "unique_key":
      return random.pick(["key-a", "key-b", "ünïque"]);
    case "unique_while":
      return random.pick(["", "pending", "waiting"]);
    case "unique_for":
      return random.pick(["1h", "8760h"]);
    case "on_duplicate":
      return random.pick(["", "return", "reject", "replace", "extend", "keep_latest"]);
    case "traceparent":
      return random.pick(["", `00-${"a".repeat(32)}-${"b".repeat(16)}-01`]);
    case "tracestate": // there may be no trace
      return "";
    case "pivot":
      return focus.ids.length > 0 && random.oneIn(2) ? random.pick(focus.ids) : "";
    case "source_id":
      return random.pick(["", `source-${random.below(50)}`]);
    default:
      return random.pick(["", "a", "text/plain", "ünïcode \u2028", "\u{1f600}".repeat(5)]);
  }
}

function queueFor(desc: DescMessage, focus: Focus, random: Random): string {
  // What deletes or makes queues mostly works on those that nothing else needs.
  const deletes = desc.name === "QueuesDeleteRequest";
  const makes = /^(QueueInfo|Queues(Create|Update|Apply)Request)$/.test(desc.name);
  // An item is found by the queue that has given its id as well.
  if (/^Item(?!s)/.test(desc.name) && random.oneIn(3)) return "";
  if (deletes ? !random.oneIn(8) : makes && random.oneIn(2)) {
    return random.pick(PASSING_QUEUES);
  }
  return random.oneIn(10) ? random.pick([...BASE_QUEUES, ...PASSING_QUEUES]) : focus.queue;
}

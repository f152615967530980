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
  const seen = world.seen.length > 0 && !random.oneIn(3);
  const focus = seen
    ? random.pick(world.seen)
    : { queue: random.pick(world.queues), partition: 0, ids: [] };
  return entriesFor(desc, { desc, focus, random }, 0);
}

interface Context {
  readonly desc: DescMessage;
  readonly focus: Focus;
  readonly random: Random;
}

function entriesFor(desc: DescMessage, context: Context, depth: number): Entry[] {
  const { random } = context;
  // Of those that say the same in other ways one is given, mostly.
  const left = ALTERNATIVES.flatMap((names) => {
    const given = names.filter((name) => desc.fields.some(({ jsonName }) => jsonName === name));
    return given.length < 2 || random.oneIn(10) ? [] : without(given, random.pick(given));
  });
  // What is required stands first in each message; of the rest some are left out.
  const fields = desc.fields.filter(
    (field) => isRequired(field, depth) || !(random.oneIn(3) || left.includes(field.jsonName)),
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
] as const;

function without(names: readonly string[], name: string): readonly string[] {
  return names.filter((each) => each !== name);
}

function isRequired(field: DescField, depth: number): boolean {
  return (
    depth === 0 && /queue_name|timeout|items|ids|leases|client|size|partition/.test(field.jsonName)
  );
}

function valueFor(field: DescField, context: Context, depth: number): Value {
  if (field.fieldKind !== "list") return singleFor(field, context, depth);
  const { random } = context;
  const known = field.jsonName === "ids" ? context.focus.ids.length : 0;
  const count = known > 0 ? 1 + random.below(known) : 1 + random.length(8);
  return {
    kind: "list",
    values: Array.from({ length: count }, () => singleFor(field, context, depth)),
  };
}

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
      return { kind: "double", double: random.pick([0, 0.1, 0.5, 1, 2, 10]) };
    default:
      return { kind: "int", int: numberFor(field.jsonName, context) };
  }
}

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
    default:
      return random.below(5);
  }
}

function textFor(name: string, { desc, focus, random }: Context): string {
  switch (name) {
    case "queue_name":
      return queueFor(desc, focus, random);
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
    case "id":
    case "ids":
    case "lease_id":
      return focus.ids.length > 0 ? random.pick(focus.ids) : "";
    case "for":
      return random.pick(["1m", "30m", "12h"]);
    case "state":
      return random.pick(["", "waiting", "leased", "scheduled"]);
    case "cursor":
      return "";
    case "delay":
      return random.pick(["", "0s", "30m", "1h0.5s"]);
    case "unique_key":
      return random.pick(["key-a", "key-b", "ünïque"]);
    case "unique_while":
      return random.pick(["", "pending", "waiting"]);
    case "unique_for":
      return random.pick(["1h", "8760h"]);
    case "on_duplicate":
      return random.pick(["", "return", "reject", "replace", "extend", "keep_latest"]);
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
  const makes = ["QueueInfo", "QueuesCreateRequest", "QueuesUpdateRequest"].includes(desc.name);
  if (deletes ? !random.oneIn(8) : makes && random.oneIn(2)) {
    return random.pick(PASSING_QUEUES);
  }
  return random.oneIn(10) ? random.pick([...BASE_QUEUES, ...PASSING_QUEUES]) : focus.queue;
}

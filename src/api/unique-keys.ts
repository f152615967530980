// The unique keys of items that are produced, from the fields that ask for them.

import type { QueueProduceItemSchema } from "../codec/gen/querator/v2/queue_pb.ts";
import type { Decoded } from "../codec/message.ts";
import { DURATION_PATTERN, formatDuration } from "../duration.ts";
import { invalidField } from "../errors.ts";
import {
  ON_DUPLICATE,
  UNIQUE_FOR_MAX,
  UNIQUE_FOR_MIN,
  UNIQUE_KEY_BYTES_MAX,
  type UniqueWish,
} from "../queue/queue.ts";
import { readDuration } from "../registry/settings.ts";
import type { Notes } from "./openapi/fields.ts";

type Given = Pick<
  Decoded<typeof QueueProduceItemSchema>,
  "uniqueKey" | "uniqueWhile" | "uniqueFor" | "onDuplicate"
>;

const UNIQUE_WHILE = ["pending", "waiting"] as const;

/** What items ask for, by index; undefined if none of them asks for a key. */
export function readUniqueKeys(
  items: readonly Given[],
): readonly (UniqueWish | undefined)[] | undefined {
  let wishes: (UniqueWish | undefined)[] | undefined;
  for (let index = 0; index < items.length; index++) {
    const item = items[index]!;
    if (item.uniqueKey === undefined) {
      checkAlone(item, `items[${index}]`);
      continue;
    }
    wishes ??= new Array(items.length).fill(undefined);
    wishes[index] = wishOf(item, item.uniqueKey, `items[${index}]`);
  }
  return wishes;
}

// What says how a key is meant says nothing without one.
function checkAlone({ uniqueWhile, uniqueFor, onDuplicate }: Given, path: string): void {
  const name =
    (uniqueWhile !== "" && "unique_while") ||
    (uniqueFor !== "" && "unique_for") ||
    (onDuplicate !== "" && "on_duplicate");
  if (name === false) return;
  throw invalidField(`${path}.${name}`, `${path}.${name} is invalid; there is no unique_key`);
}

function wishOf(item: Given, key: string, path: string): UniqueWish {
  const { uniqueFor } = item;
  checkKey(key, `${path}.unique_key`);
  const onDuplicate = oneOf(ON_DUPLICATE, item.onDuplicate || "return", `${path}.on_duplicate`);
  const until = oneOf(UNIQUE_WHILE, item.uniqueWhile || "pending", `${path}.unique_while`);
  if (onDuplicate === "keep_latest" && until === "waiting") {
    const field = `${path}.unique_while`;
    const text =
      "keep_latest lets one run and one wait, and a key of 'waiting' is free while its item runs; replace does the same for that";
    throw invalidField(field, `${field} is invalid; ${text}`);
  }
  if (uniqueFor === "") return { key, while: until, for: 0, onDuplicate };
  const field = `${path}.unique_for`;
  if (item.uniqueWhile !== "") {
    throw invalidField(field, `${field} is invalid; give either 'unique_while' or 'unique_for'`);
  }
  if (onDuplicate === "keep_latest") {
    const text =
      "keep_latest lets one run and one wait, and a key for a time may be free while its item runs, or taken when none does";
    throw invalidField(field, `${field} is invalid; ${text}`);
  }
  const period = Math.trunc(
    readDuration(uniqueFor, { field, called: field, examples: "30s, 5m or 1h" }),
  );
  if (period < UNIQUE_FOR_MIN || period > UNIQUE_FOR_MAX) {
    const [min, max] = [formatDuration(UNIQUE_FOR_MIN), formatDuration(UNIQUE_FOR_MAX)];
    throw invalidField(
      field,
      `${field} is invalid; '${uniqueFor}' is not between ${min} and ${max}`,
    );
  }
  return { key, while: "period", for: period, onDuplicate };
}

function checkKey(key: string, field: string): void {
  if (key === "") {
    throw invalidField(
      field,
      `${field} is invalid; it is empty: leave it out for an item without one`,
    );
  }
  if (Buffer.byteLength(key) > UNIQUE_KEY_BYTES_MAX) {
    const max = `cannot be greater than '${UNIQUE_KEY_BYTES_MAX}' bytes`;
    throw invalidField(field, `${field} is invalid; ${max}`);
  }
  // Two keys that storage could not tell apart would be one.
  if (!key.isWellFormed() || key.includes("\0")) {
    throw invalidField(field, `${field} is invalid; it is not a text of Unicode characters`);
  }
}

function oneOf<T extends string>(values: readonly T[], given: string, field: string): T {
  const value = values.find((each) => each === given);
  if (value !== undefined) return value;
  const quoted = given.slice(0, 64);
  throw invalidField(field, `${field} is invalid; '${quoted}' is not one of ${values.join(", ")}`);
}

/** What the fields mean. */
export const UNIQUE_NOTES: Notes[string] = {
  unique_key: {
    text: `A name of which the queue has one item at a time, over all its partitions: from 1 to ${UNIQUE_KEY_BYTES_MAX} bytes.`,
    request: { minLength: 1, maxLength: UNIQUE_KEY_BYTES_MAX },
  },
  unique_while: {
    text: "Until when the key is taken: pending (until the item has ended, however it ends) or waiting (until it is leased for the first time). pending if it is not set.",
    request: { enum: UNIQUE_WHILE },
    accepted: { enum: ["", ...UNIQUE_WHILE] },
  },
  unique_for: {
    text: `In place of unique_while: for so long from now on, also after the end of the item. From 1ms to ${formatDuration(UNIQUE_FOR_MAX)}.`,
    request: { pattern: DURATION_PATTERN },
    accepted: { pattern: `^$|${DURATION_PATTERN}` },
  },
  on_duplicate: {
    text: "What to do if the key is taken: return answers the item that has it; reject refuses with unique_key_taken; replace gives that item, if it waits or is scheduled, the new payload and time; extend does that too, and without a time of its own begins the delay of the item anew; keep_latest lets the one that is leased go on and has one wait behind it. return if it is not set.",
    request: { enum: ON_DUPLICATE },
    accepted: { enum: ["", ...ON_DUPLICATE] },
  },
};

// Single values of JSON, checked and converted to what a message holds: what both readers of JSON have in
// common, so that a large body means what a small one does.

import { type Complaints, join, shown } from "./complaints.ts";
import { ENTRIES_MAX, type Field, type FieldType } from "./message.ts";
import { parseTimestamp } from "./timestamp.ts";

/** What is wrong with a list or a map that has more than ENTRIES_MAX. */
export const TOO_MANY_ENTRIES = `has more than ${ENTRIES_MAX} entries`;

/** Refuses an entry of a map that is not from text to text. */
export function checkEntry(
  key: string,
  entry: unknown,
  path: string,
  complaints: Complaints,
): asserts entry is string {
  if (typeof entry !== "string") throw complaints.wrong(join(path, key), "a string", shown(entry));
  if (key.isWellFormed() && entry.isWellFormed()) return;
  throw complaints.wrong(join(path, key), "valid Unicode", shown(entry));
}

/** Checks and converts a value that is neither a message nor a map; `escapes`: a text may be no Unicode. */
export function convert(
  field: Field,
  value: unknown,
  escapes: boolean,
  path: string,
  key: string | number,
  complaints: Complaints,
): unknown {
  switch (field.type) {
    case "string":
      if (typeof value !== "string") break;
      if (escapes && !value.isWellFormed()) {
        throw complaints.wrong(join(path, key), "valid Unicode", shown(value));
      }
      return value;
    case "int32": {
      const number = typeof value === "string" ? parseNumber(value) : value;
      if (typeof number !== "number" || (number | 0) !== number) break;
      return number | 0;
    }
    case "int64": {
      const number = typeof value === "string" ? parseNumber(value) : value;
      if (!Number.isSafeInteger(number)) break;
      return (number as number) + 0; // of -0, 0
    }
    case "double": {
      const number = typeof value === "string" ? parseNumber(value) : value;
      if (!Number.isFinite(number)) break;
      return (number as number) + 0;
    }
    case "bool":
      if (typeof value !== "boolean") break;
      return value;
    case "bytes": {
      const bytes = decodeBase64(value);
      if (bytes === undefined) break;
      return bytes;
    }
    case "timestamp": {
      const time = typeof value === "string" ? parseTimestamp(value) : undefined;
      if (time === undefined) break;
      return time;
    }
  }
  throw complaints.wrong(join(path, key), expectedOf(field), shown(value));
}

/** What a value of a field must be, for messages. */
export function expectedOf({ type }: Field): string {
  return EXPECTED[type];
}

const EXPECTED = {
  string: "a string",
  int32: "a whole number of 32 bits",
  int64: "a whole number of at most 2^53 - 1",
  double: "a number",
  bool: "true or false",
  bytes: "base64",
  timestamp: "a time as in RFC 3339",
  json: "a value",
  map: "an object",
  message: "an object",
} as const satisfies Record<FieldType, string>;

function parseNumber(text: string): number | undefined {
  return /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(text) ? Number(text) : undefined;
}

// Buffer.from passes over what is no base64, so a result that is too short shows it.
function decodeBase64(value: unknown): Buffer | undefined {
  if (typeof value !== "string") return undefined;
  let digits = value.length;
  while (digits > 0 && value.length - digits < 2 && value[digits - 1] === "=") digits--;
  if (digits % 4 === 1 || (digits < value.length && value.length % 4 !== 0)) return undefined;
  const bytes = Buffer.from(value, "base64");
  return bytes.length === Math.floor((digits * 3) / 4) ? bytes : undefined;
}

// Items to produce as lines of JSON, with the names that the API has for them. What is not known is
// refused, so that a slip in a name is not an item without it.

import type { ProduceItem } from "@querator/client";
import { moment } from "./arguments.ts";
import { CommandError } from "./failure.ts";

const TEXTS = ["utf8", "bytes", "encoding", "kind", "reference", "enqueue_at"];
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** Reads one line; the place is where it stands, as messages say it. */
export function itemOfLine(line: string, place: string): ProduceItem {
  const fail = (why: string): CommandError => new CommandError(`${place}: ${why}`);
  const members = objectOfLine(line, place);
  const texts = new Map<string, string>();
  for (const [name, value] of Object.entries(members)) {
    if (!TEXTS.includes(name)) throw fail(`'${name}' is unknown; use ${TEXTS.join(", ")}`);
    if (typeof value !== "string") throw fail(`'${name}' must be a text`);
    if (!value.isWellFormed()) throw fail(`'${name}' must be valid Unicode`);
    texts.set(name, value);
  }
  const bytes = texts.get("bytes");
  const utf8 = texts.get("utf8");
  if (bytes !== undefined && utf8 !== undefined) throw fail("give either 'utf8' or 'bytes'");
  if (bytes !== undefined && !isBase64(bytes)) throw fail("'bytes' must be base64");
  const at = texts.get("enqueue_at");
  let enqueueAt: Date | undefined;
  try {
    enqueueAt = at === undefined ? undefined : moment(at);
  } catch {
    throw fail(`'enqueue_at' must be a time such as 2030-01-31T12:00:00Z`);
  }
  const payload = bytes === undefined ? utf8 : Buffer.from(bytes, "base64");
  const item: ProduceItem = {
    payload,
    encoding: texts.get("encoding"),
    kind: texts.get("kind"),
    reference: texts.get("reference"),
    enqueueAt,
  };
  // What is left out must not hide what the options say for all.
  return Object.fromEntries(Object.entries(item).filter(([, value]) => value !== undefined));
}

// Of either alphabet, with padding or without, as the server takes it. Of anything else Buffer reads
// what it can, and leaves out the rest.
function isBase64(text: string): boolean {
  if (!BASE64.test(text)) return false;
  const start = text.indexOf("=");
  return start === -1 ? text.length % 4 !== 1 : text.length % 4 === 0 && start % 4 !== 1;
}

/** Reads one line as an object. */
export function objectOfLine(line: string, place: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // Told below.
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new CommandError(`${place}: this is not the JSON of an item`);
}

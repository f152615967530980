// Items to produce as lines of JSON, with the names that the API has for them. What is not known is
// refused, so that a slip in a name is not an item without it.

import { exactJson, type ProduceItem } from "@querator/client";
import { duration, moment } from "./arguments.ts";
import { CommandError } from "./failure.ts";

const TEXTS = ["utf8", "bytes", "encoding", "kind", "reference", "enqueue_at", "delay"];
const NAMES = ["json", ...TEXTS, "headers"];
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** Reads one line; the place is where it stands, as messages say it. */
export function itemOfLine(line: string, place: string): ProduceItem {
  const fail = (why: string): CommandError => new CommandError(`${place}: ${why}`);
  const members = objectOfLine(line, place);
  const texts = new Map<string, string>();
  for (const [name, value] of Object.entries(members)) {
    if (!NAMES.includes(name)) throw fail(`'${name}' is unknown; use ${NAMES.join(", ")}`);
    if (!TEXTS.includes(name)) continue;
    if (typeof value !== "string") throw fail(`'${name}' must be a text`);
    if (!value.isWellFormed()) throw fail(`'${name}' must be valid Unicode`);
    texts.set(name, value);
  }
  const bytes = texts.get("bytes");
  const utf8 = texts.get("utf8");
  const { json, headers } = members;
  if ([json, bytes, utf8].filter((each) => each !== undefined).length > 1) {
    throw fail("give one of 'json', 'utf8' and 'bytes'");
  }
  if (headers !== undefined && !isHeaders(headers)) throw fail("'headers' must be texts by name");
  if (bytes !== undefined && !isBase64(bytes)) throw fail("'bytes' must be base64");
  const at = texts.get("enqueue_at");
  let enqueueAt: Date | undefined;
  try {
    enqueueAt = at === undefined ? undefined : moment(at);
  } catch {
    throw fail(`'enqueue_at' must be a time such as 2030-01-31T12:00:00Z`);
  }
  const delay = texts.get("delay");
  if (delay !== undefined && enqueueAt !== undefined) throw fail("give either a time or a 'delay'");
  const payload = bytes === undefined ? utf8 : Buffer.from(bytes, "base64");
  const item: ProduceItem = {
    payload,
    json,
    headers,
    delay: delay === undefined ? undefined : delayOf(delay, fail),
    encoding: texts.get("encoding"),
    kind: texts.get("kind"),
    reference: texts.get("reference"),
    enqueueAt,
  };
  // What is left out must not hide what the options say for all.
  return Object.fromEntries(Object.entries(item).filter(([, value]) => value !== undefined));
}

function delayOf(text: string, fail: (why: string) => CommandError): string {
  try {
    return duration(text);
  } catch {
    throw fail("'delay' must be a duration such as 30s");
  }
}

function isHeaders(value: unknown): value is Readonly<Record<string, string>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((each) => typeof each === "string");
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
    value = exactJson(line);
  } catch {
    // Told below.
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new CommandError(`${place}: this is not the JSON of an item`);
}

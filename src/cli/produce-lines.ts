// Items to produce as lines of JSON, with the names that the API has for them. What is not known is
// refused, so that a slip in a name is not an item without it.

import { exactJson, type ProduceItem, type RetrySettings } from "@querator/client";
import { anyDuration, duration, moment } from "./arguments.ts";
import { CommandError } from "./failure.ts";

/** Until when a key is taken, and what to do if it is. */
export const UNIQUE_WHILE = ["pending", "waiting"] as const;
export const ON_DUPLICATE = ["return", "reject", "replace", "extend", "keep_latest"] as const;

const PLAIN = ["utf8", "bytes", "encoding", "kind", "reference", "enqueue_at", "delay"];
const UNIQUE = ["unique_key", "unique_while", "unique_for", "on_duplicate"];
const TEXTS = [...PLAIN, ...UNIQUE, "expire_in"];
const NAMES = ["json", ...TEXTS, "headers", "max_attempts", "retry"];
const RETRY_NAMES = ["delay", "factor", "max_delay", "jitter", "max_attempts"];
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

type Fail = (why: string) => CommandError;

/** Reads one line; the place is where it stands, as messages say it. */
export function itemOfLine(line: string, place: string): ProduceItem {
  return itemOf(objectOfLine(line, place), place);
}

/** The same of an item that is to follow others, in the queue that it names, or in theirs. */
export function nextOfLine(
  line: string,
  place: string,
): { readonly queueName: string | undefined; readonly item: ProduceItem } {
  const { queue_name: queueName, ...members } = objectOfLine(line, place);
  if (queueName !== undefined && typeof queueName !== "string") {
    throw new CommandError(`${place}: 'queue_name' must be a text`);
  }
  return { queueName, item: itemOf(members, place) };
}

function itemOf(members: Readonly<Record<string, unknown>>, place: string): ProduceItem {
  const fail: Fail = (why) => new CommandError(`${place}: ${why}`);
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
  const { json, headers, max_attempts: maxAttempts, retry } = members;
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
  const durationOf = (name: string): string | undefined =>
    readDuration(texts.get(name), { name, fail, read: duration });
  const delay = durationOf("delay");
  if (delay !== undefined && enqueueAt !== undefined) throw fail("give either a time or a 'delay'");
  const payload = bytes === undefined ? utf8 : Buffer.from(bytes, "base64");
  const item: ProduceItem = {
    payload,
    json,
    headers,
    delay,
    encoding: texts.get("encoding"),
    kind: texts.get("kind"),
    reference: texts.get("reference"),
    enqueueAt,
    uniqueKey: texts.get("unique_key"),
    uniqueWhile: choiceOf(texts, { name: "unique_while", choices: UNIQUE_WHILE, fail }),
    uniqueFor: durationOf("unique_for"),
    onDuplicate: choiceOf(texts, { name: "on_duplicate", choices: ON_DUPLICATE, fail }),
    maxAttempts: numberOf(maxAttempts, "max_attempts", fail),
    expireIn: durationOf("expire_in"),
    retry: retryOf(retry, fail),
  };
  // What is left out must not hide what the options say for all.
  return Object.fromEntries(Object.entries(item).filter(([, value]) => value !== undefined));
}

function readDuration(
  given: unknown,
  how: { readonly name: string; readonly fail: Fail; readonly read: (text: string) => string },
): string | undefined {
  if (given === undefined) return undefined;
  try {
    if (typeof given === "string") return how.read(given);
  } catch {
    // Told below.
  }
  throw how.fail(`'${how.name}' must be a duration such as 30s`);
}

function choiceOf<T extends string>(
  texts: ReadonlyMap<string, string>,
  how: { readonly name: string; readonly choices: readonly T[]; readonly fail: Fail },
): T | undefined {
  const given = texts.get(how.name);
  const choice = how.choices.find((each) => each === given);
  if (choice !== undefined || given === undefined) return choice;
  throw how.fail(`'${how.name}' must be one of ${how.choices.join(", ")}`);
}

function numberOf(given: unknown, name: string, fail: Fail): number | undefined {
  if (given === undefined || typeof given === "number") return given;
  throw fail(`'${name}' must be a number`);
}

function retryOf(given: unknown, fail: Fail): RetrySettings | undefined {
  if (given === undefined) return undefined;
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw fail("'retry' must be an object");
  }
  const members = given as Readonly<Record<string, unknown>>;
  const odd = Object.keys(members).find((name) => !RETRY_NAMES.includes(name));
  if (odd !== undefined) throw fail(`'retry.${odd}' is unknown; use ${RETRY_NAMES.join(", ")}`);
  const durationOf = (name: string): string | undefined =>
    readDuration(members[name], { name: `retry.${name}`, fail, read: anyDuration });
  const number = (name: string): number | undefined =>
    numberOf(members[name], `retry.${name}`, fail);
  return {
    delay: durationOf("delay"),
    factor: number("factor"),
    maxDelay: durationOf("max_delay"),
    jitter: number("jitter"),
    maxAttempts: number("max_attempts"),
  };
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

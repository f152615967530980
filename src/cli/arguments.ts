// How options and arguments are read that several commands have: numbers, durations, times, and ids
// that stand in a file. A value that cannot be meant is refused before anything is sent.

import type { RetrySettings } from "@querator/client";
import { type Command, InvalidArgumentError, Option } from "commander";
import { HOUR, MILLISECOND } from "../clock.ts";
import { DURATION_PATTERN, DurationError, formatDuration, parseDuration } from "../duration.ts";
import { EXIT, usage } from "./failure.ts";
import { linesOf, placeOf, textOf } from "./lines.ts";

/** The longest duration, in whole hours. */
export const DURATION_MAX = "2562047h";
/** The longest that a lease can last from now on, and the shortest of a new one, as the server has them. */
const EXTENSION_MS_MAX = (12 * HOUR) / MILLISECOND;
const LEASE_MS_MIN = 10;
const DURATION = new RegExp(DURATION_PATTERN);

/** Reads a whole number within bounds. */
export function whole(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (/^\d+$/.test(text) && number >= least && number <= most) return number;
    const bounds = most === Number.MAX_SAFE_INTEGER ? `${least} or more` : `${least} to ${most}`;
    throw new InvalidArgumentError(`Use a whole number, ${bounds}.`);
  };
}

/** Reads a duration such as `1m30s`; answers it as the server writes it. */
export function duration(text: string): string {
  return formatDuration(micros(text));
}

/** Reads a duration, which may be 0. */
export function anyDuration(text: string): string {
  return /^\+?0+[a-zµ]*$/.test(text) ? "0s" : duration(text);
}

/** Reads how long something is to wait, which may be 0 for at once; answers milliseconds. */
export function wait(text: string): number {
  return anyDuration(text) === "0s" ? 0 : milliseconds(text);
}

/** Reads a number within bounds. */
export function decimal(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (/^\d+(\.\d+)?$/.test(text) && number >= least && number <= most) return number;
    throw new InvalidArgumentError(`Use a number, ${least} to ${most}.`);
  };
}

/** Reads how long items may stay: a duration, or `never`. */
export function expiry(text: string): string {
  return text === "never" ? text : formatDuration(micros(text, ", or never"));
}

/** Reads names, of which an option may hold several, with commas between them, and which may be there several times. */
export function list(text: string, before: readonly string[] = []): readonly string[] {
  const names = text.split(",").map((each) => each.trim());
  if (!names.includes("")) return [...before, ...names];
  throw new InvalidArgumentError("Use names such as mail,sms.");
}

/** Reads a duration; answers milliseconds. */
export function milliseconds(text: string): number {
  return micros(text) / 1_000;
}

/** Reads how long a lease is to be kept, within the bounds of the server; answers milliseconds. */
export function extension(text: string): number {
  return leaseTime(text, 1);
}

function leaseTime(text: string, least: number): number {
  const ms = milliseconds(text);
  if (ms >= least && ms <= EXTENSION_MS_MAX) return ms;
  throw new InvalidArgumentError(`Use a duration from ${least}ms to 12h.`);
}

function micros(text: string, more = ""): number {
  try {
    const value = parseDuration(text);
    if (value > 0) return value;
  } catch (error) {
    if (!(error instanceof DurationError)) throw error;
    if (DURATION.test(text))
      throw new InvalidArgumentError(`It is too long; ${DURATION_MAX} is the most.`);
  }
  throw new InvalidArgumentError(`Use a duration above 0, such as 500ms, 30s or 1h30m${more}.`);
}

/** Reads a moment in RFC 3339, of the years 1 to 9999 in UTC. */
export function moment(text: string): Date {
  const date = new Date(text);
  const [, day] =
    /^(\d{4}-\d\d-\d\d)[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.exec(text) ?? [];
  if (day !== undefined && isDay(day) && /^(?!0000)\d{4}-/.test(isoOf(date))) return date;
  throw new InvalidArgumentError("Use a time such as 2030-01-31T12:00:00Z.");
}

// Date takes February 30 for March 2.
function isDay(day: string): boolean {
  return isoOf(new Date(`${day}T00:00:00Z`)).startsWith(day);
}

// "" of one that is none.
function isoOf(date: Date): string {
  return Number.isNaN(date.getTime()) ? "" : date.toISOString();
}

/** An option that is a duration in milliseconds, with a default. */
export function durationOption(flags: string, description: string, standard: string): Option {
  return new Option(flags, description)
    .argParser(milliseconds)
    .default(milliseconds(standard), standard);
}

/** The options for what is leased, and for how long. */
export function leaseOptions(command: Command): Command {
  return command
    .option("--kinds <kinds>", "only items of these kinds, such as mail,sms; 16 at most", list)
    .option("--lease-timeout <time>", "how long a lease lasts, not as its queue says", (text) =>
      leaseTime(text, LEASE_MS_MIN),
    );
}

export interface LeaseChoice {
  readonly kinds?: readonly string[];
  /** In milliseconds. */
  readonly leaseTimeout?: number;
}

/** What options say of retries. */
export interface RetryFlags {
  readonly retryDelay?: string;
  readonly retryFactor?: number;
  readonly retryMaxDelay?: string;
  readonly retryJitter?: number;
}

/** A retry policy as options say it; undefined if none does. */
export function retryOf(flags: RetryFlags): RetrySettings | undefined {
  const { retryDelay: delay, retryFactor, retryMaxDelay, retryJitter: jitter } = flags;
  const said = { delay, factor: retryFactor, maxDelay: retryMaxDelay, jitter };
  return Object.values(said).every((each) => each === undefined) ? undefined : said;
}

/** The option for how long the server may take. */
export function timeoutOption(): Option {
  return new Option("--timeout <time>", "how long the server may take")
    .argParser(duration)
    .default("30s");
}

export function partitionOption(): Option {
  return new Option("-p, --partition <n>", "the partition").argParser(whole(0));
}

export function yesOption(): Option {
  return new Option("-y, --yes", "do it without asking");
}

/**
 * The ids of the arguments, and those of a file: one a line, or JSON as `lease` and `items list` write it with
 * `--output ndjson`, which has them under the name of a member. One that is named twice is there once.
 */
export async function namesOf(
  ids: readonly string[],
  {
    file,
    signal,
    member,
  }: {
    readonly file: string | undefined;
    readonly signal: AbortSignal;
    readonly member: "id" | "lease_id";
  },
): Promise<string[]> {
  const names = new Set(ids);
  if (file !== undefined) {
    let number = 0;
    for await (const line of linesOf(file, signal)) {
      const place = placeOf(file, ++number);
      const text = textOf(line, place, EXIT.usage).trim(); // nothing has been done yet
      if (text !== "") names.add(text.startsWith("{") ? parsed(text, place, member) : text);
    }
  }
  if (names.size === 0) throw usage("no ids are given; name some, or give --file (- for stdin)");
  return [...names];
}

function parsed(text: string, place: string, member: string): string {
  try {
    const { [member]: id } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    if (typeof id === "string") return id;
  } catch {
    // Told below.
  }
  throw usage(`${place}: this is neither an id nor the JSON of an item with '${member}'`);
}

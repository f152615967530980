// Durations: a number of milliseconds, or text such as `1h30m`. The server reads the same text. Checks
// what it is given at once, so that a slip is an error at the call and not a time-out later.

import { InvalidRequestError } from "./errors.ts";

/** Milliseconds, or a text of numbers with the units ms, s, m, h: `"250ms"`, `"1h30m"`. */
export type Duration = number | string;

/** A hundred years, which are as good as ever. */
export const NEVER = "876000h0m0s";

const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "\u00b5s": 1e-3,
  "\u03bcs": 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

const known = new Map<string, number>();

/** A duration in milliseconds; throws an InvalidRequestError that names `what` if it is none. */
export function toMs(duration: Duration, what: string): number {
  if (typeof duration === "number") {
    if (Number.isFinite(duration)) return duration;
    throw wrong(duration, what);
  }
  let ms = known.get(duration);
  if (ms === undefined) {
    ms = parse(duration, what);
    if (known.size < 1_000) known.set(duration, ms);
  }
  return ms;
}

/** The text of a duration as the server reads it; throws like `toMs`. */
export function toText(duration: Duration, what: string): string {
  const ms = toMs(duration, what);
  return typeof duration === "string" ? duration : `${Math.round(ms * 1_000)}us`;
}

/** How long something may live, as every server reads it: a duration, or `never`, which is a hundred years. */
export function lifetimeText(lifetime: Duration | "never", what: string): string {
  return lifetime === "never" ? NEVER : toText(lifetime, what);
}

/** The milliseconds of a duration that the server wrote; also `-5m0s`. */
export function fromText(text: string): number {
  return text === "" ? 0 : parse(text, "duration");
}

function parse(text: string, what: string): number {
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)$/.exec(text);
  if (match === null) {
    if (text === "0") return 0;
    throw wrong(text, what);
  }
  let ms = 0;
  for (const [, number, unit] of match[2]!.matchAll(/([\d.]+)([^\d.]+)/g)) {
    ms += Number(number) * UNITS[unit!]!;
  }
  return match[1] === "-" ? -ms : ms;
}

function wrong(duration: Duration, what: string): InvalidRequestError {
  const form = 'use milliseconds or a text such as "500ms", "30s" or "1h30m"';
  return new InvalidRequestError("invalid", `${what} is invalid; got '${duration}', ${form}`);
}

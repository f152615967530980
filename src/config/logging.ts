// The options that are about the log: what is logged, in which form, and from when on something is so slow that it is.

import { HOUR, MILLISECOND } from "../clock.ts";
import { DurationError, parseDuration } from "../duration.ts";
import type { LogFormat, LogLevel } from "../log.ts";
import type { SlowTimes } from "../slow.ts";
import { LOG_FORMATS, LOG_LEVELS } from "./choices.ts";
import type { Section } from "./section.ts";

const SLOW_MIN = MILLISECOND;
const SLOW_MAX = HOUR;
const SLOW_DEFAULT = "1s";

/** The keys under `logging` in the file. */
export const LOGGING_KEYS = ["level", "handler", "slow-request", "slow-turn", "slow-commit"];

interface LoggingConfig {
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly slow: SlowTimes;
}

export function readLogging(given: Section, env: Section, file: Section): LoggingConfig {
  const logging = file.section("logging");
  logging.only(LOGGING_KEYS);
  const slow = (what: "Request" | "Turn" | "Commit"): number => {
    const name = `slow${what}`;
    return (
      readSlow(given, name, name) ??
      readSlow(env, name, `QUERATOR_SLOW_${what.toUpperCase()}`) ??
      readSlow(logging, `slow-${what.toLowerCase()}`, `slow-${what.toLowerCase()}`) ??
      parseDuration(SLOW_DEFAULT)
    );
  };
  return {
    logLevel:
      given.oneOf("logLevel", LOG_LEVELS) ??
      env.oneOf("logLevel", LOG_LEVELS, "QUERATOR_LOG_LEVEL") ??
      logging.oneOf("level", LOG_LEVELS) ??
      "info",
    logFormat:
      given.oneOf("logFormat", LOG_FORMATS) ??
      env.oneOf("logFormat", LOG_FORMATS, "QUERATOR_LOG_FORMAT") ??
      logging.oneOf("handler", LOG_FORMATS) ??
      "color",
    slow: { request: slow("Request"), turn: slow("Turn"), commit: slow("Commit") },
  };
}

// In microseconds; 0 for never.
function readSlow(section: Section, key: string, shown: string): number | undefined {
  const text = section.isZero(key) ? "0" : section.text(key, shown);
  if (text === undefined) return undefined;
  const time = microsOf(text);
  if (time === 0 || (time >= SLOW_MIN && time <= SLOW_MAX)) return time;
  throw section.error(shown, `"${text}" is not allowed; use a time from 1ms to 1h, or 0`);
}

// -1 of what is none.
function microsOf(text: string): number {
  try {
    return parseDuration(text);
  } catch (error) {
    if (error instanceof DurationError) return -1;
    throw error;
  }
}

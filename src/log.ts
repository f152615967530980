// The log of the server, on standard output. `json` writes an object on each line, for programs; `text` and
// `color` write a line for people. Nothing that a client sent is logged, and an expected error is logged
// with its message, not its stack.

import { pino, stdSerializers } from "pino";
import { printable } from "./printable.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFormat = "text" | "json" | "color";
export type Logger = Pick<pino.Logger, "debug" | "info" | "warn" | "error">;

/** Where lines go: anything with a `write`. */
export interface LogDestination {
  write(line: string): unknown;
  readonly isTTY?: boolean;
}

const COLORS: Readonly<Record<string, string>> = {
  debug: "\u001b[90m",
  info: "\u001b[32m",
  warn: "\u001b[33m",
  error: "\u001b[31m",
};

/** A logger; without a destination it writes to standard output. */
export function createLogger(options: {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly destination?: LogDestination;
}): Logger {
  const destination: LogDestination = options.destination ?? process.stdout;
  const color = options.format === "color" && destination.isTTY === true;
  const stream =
    options.format === "json"
      ? destination
      : { write: (line: string) => destination.write(toText(line, color)) };
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: (error: unknown) => serialize(error, options.level) },
    },
    stream as pino.DestinationStream,
  );
}

function serialize(error: unknown, level: LogLevel): unknown {
  if (level === "debug") return stdSerializers.err(error as Error);
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return `${error.name}: ${error.message}${cause}`;
}

function toText(line: string, color: boolean): string {
  const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const label = String(level).toUpperCase().padEnd(5);
  const shown = color ? `${COLORS[String(level)] ?? ""}${label}\u001b[0m` : label;
  const pairs = Object.entries(fields).map(([key, value]) => ` ${key}=${toValue(value)}`);
  return `${String(time)} ${shown} ${printable(String(msg))}${pairs.join("")}\n`;
}

function toValue(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return printable(/^[^\s"=]+$/.test(text) ? text : JSON.stringify(text));
}

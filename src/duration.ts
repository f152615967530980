// Durations as the Go language writes them, which is how clients write them: `1h30m`, `250ms`,
// `1.5s`. Inside the program a duration is a number of microseconds; a fraction of one stands for
// nanoseconds. The grammar and the error texts are those of Go's package time (ParseDuration and
// Duration.String), because clients see them.

const UNITS: Readonly<Record<string, number>> = {
  ns: 0.001,
  us: 1,
  "\u00b5s": 1,
  "\u03bcs": 1,
  ms: 1_000,
  s: 1_000_000,
  m: 60_000_000,
  h: 3_600_000_000,
};

// 2^63 nanoseconds, the longest duration that Go knows, in microseconds.
const DURATION_MAX = 2 ** 63 / 1000;

/** Says in Go's words why a text is no duration. */
export class DurationError extends Error {}

/**
 * Parses an optional sign and one or more pairs of a decimal and a unit, or `0`.
 * Answers microseconds; throws a DurationError.
 */
export function parseDuration(text: string): number {
  const invalid = (): DurationError => new DurationError(`time: invalid duration ${quote(text)}`);
  const negative = text.startsWith("-");
  let rest = negative || text.startsWith("+") ? text.slice(1) : text;
  if (rest === "0") return 0;
  if (rest === "") throw invalid();
  let total = 0;
  while (rest !== "") {
    const number = /^(?:\d+\.?\d*|\.\d+)/.exec(rest)?.[0];
    if (number === undefined) throw invalid();
    rest = rest.slice(number.length);
    const unit = /^[^.\d]*/.exec(rest)![0];
    if (unit === "") throw new DurationError(`time: missing unit in duration ${quote(text)}`);
    rest = rest.slice(unit.length);
    if (!Object.hasOwn(UNITS, unit)) {
      throw new DurationError(`time: unknown unit ${quote(unit)} in duration ${quote(text)}`);
    }
    total += scale(number, unit);
    if (total > DURATION_MAX) throw invalid();
  }
  return negative ? -total : total;
}

// Whole nanoseconds, as Go keeps them; the division last, so that 0.1ms is exactly 100.
function scale(number: string, unit: string): number {
  if (unit === "ns") return Math.trunc(Number(number)) / 1000;
  const micros = Number(number) * UNITS[unit]!;
  return Number.isInteger(micros) ? micros : Math.trunc(micros * 1000 + 1e-6) / 1000;
}

/** Writes a duration of microseconds in Go's way: `1m0s`, `24h0m0s`, `1.5s`, `100ms`, `1µs`, `0s`. */
export function formatDuration(micros: number): string {
  const sign = micros < 0 ? "-" : "";
  const nanos = Math.round(Math.abs(micros) * 1000);
  if (nanos === 0) return "0s";
  if (nanos < 1_000) return `${sign}${nanos}ns`;
  if (nanos < 1_000_000) return `${sign}${decimal(nanos, 1_000)}\u00b5s`;
  if (nanos < 1_000_000_000) return `${sign}${decimal(nanos, 1_000_000)}ms`;
  const seconds = Math.floor(nanos / 1_000_000_000);
  const fraction = nanos - seconds * 1_000_000_000;
  const minutes = Math.floor(seconds / 60);
  const text = `${decimal((seconds % 60) * 1_000_000_000 + fraction, 1_000_000_000)}s`;
  if (minutes === 0) return sign + text;
  const hours = Math.floor(minutes / 60);
  return `${sign}${hours === 0 ? "" : `${hours}h`}${minutes % 60}m${text}`;
}

function decimal(nanos: number, unit: number): string {
  const whole = Math.floor(nanos / unit);
  const digits = String(unit).length - 1;
  const fraction = String(nanos - whole * unit)
    .padStart(digits, "0")
    .replace(/0+$/, "");
  return fraction === "" ? String(whole) : `${whole}.${fraction}`;
}

// As Go's time package quotes: bytes outside printable ASCII become \x escapes.
function quote(text: string): string {
  let quoted = "";
  for (const byte of Buffer.from(text)) {
    const character = String.fromCharCode(byte);
    if (character === '"' || character === "\\") quoted += `\\${character}`;
    else if (byte < 0x20 || byte >= 0x7f) quoted += `\\x${byte.toString(16).padStart(2, "0")}`;
    else quoted += character;
  }
  return `"${quoted}"`;
}

// Durations as the Go language writes them, which is how clients write them: `1h30m`, `250ms`,
// `1.5s`. Inside the program a duration is a number of microseconds; a fraction of one stands for
// nanoseconds. The grammar and the error texts are those of Go's package time (ParseDuration and
// Duration.String), because clients see them.

// Nanoseconds.
const UNITS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  "\u00b5s": 1_000n,
  "\u03bcs": 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

/** What a duration that is not negative looks like, as a pattern for the API's document. */
export const DURATION_PATTERN =
  "^\\+?(0|(([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)$";

// The longest duration that Go knows, in nanoseconds.
const DURATION_MAX = 2n ** 63n - 1n;

// No duration needs as many letters; reading a number takes the square of its digits.
const LETTERS_MAX = 1_024;

// Letters of a text that are quoted in an error.
const QUOTED_MAX = 256;

/** Says in Go's words why a text is no duration. */
export class DurationError extends Error {}

/**
 * Parses an optional sign and one or more pairs of a decimal and a unit, or `0`.
 * Answers microseconds; throws a DurationError.
 */
export function parseDuration(text: string): number {
  const invalid = (): DurationError => new DurationError(`time: invalid duration ${quote(text)}`);
  if (text.length > LETTERS_MAX) throw invalid();
  const negative = text.startsWith("-");
  let rest = negative || text.startsWith("+") ? text.slice(1) : text;
  if (rest === "0") return 0;
  if (rest === "") throw invalid();
  let nanos = 0n;
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
    const [whole, fraction = ""] = number.split(".");
    nanos += BigInt(whole!) * UNITS[unit]!;
    nanos += (BigInt(fraction) * UNITS[unit]!) / 10n ** BigInt(fraction.length);
    if (nanos > DURATION_MAX) throw invalid();
  }
  const micros = Number(nanos / 1_000n) + Number(nanos % 1_000n) / 1_000;
  return negative ? -micros : micros;
}

/** Writes a duration of microseconds in Go's way: `1m0s`, `24h0m0s`, `1.5s`, `100ms`, `1µs`, `0s`. */
export function formatDuration(micros: number): string {
  const whole = Math.trunc(micros);
  const signed = BigInt(whole) * 1_000n + BigInt(Math.round((micros - whole) * 1_000));
  const sign = signed < 0n ? "-" : "";
  const nanos = signed < 0n ? -signed : signed;
  if (nanos === 0n) return "0s";
  if (nanos < 1_000n) return `${sign}${nanos}ns`;
  if (nanos < 1_000_000n) return `${sign}${decimal(nanos, 1_000n)}\u00b5s`;
  if (nanos < 1_000_000_000n) return `${sign}${decimal(nanos, 1_000_000n)}ms`;
  const minutes = nanos / 60_000_000_000n;
  const text = `${decimal(nanos % 60_000_000_000n, 1_000_000_000n)}s`;
  if (minutes === 0n) return sign + text;
  const hours = minutes / 60n;
  return `${sign}${hours === 0n ? "" : `${hours}h`}${minutes % 60n}m${text}`;
}

function decimal(nanos: bigint, unit: bigint): string {
  const digits = String(unit).length - 1;
  const fraction = String(nanos % unit)
    .padStart(digits, "0")
    .replace(/0+$/, "");
  return fraction === "" ? String(nanos / unit) : `${nanos / unit}.${fraction}`;
}

// As Go's time package quotes: bytes outside printable ASCII become \x escapes.
function quote(text: string): string {
  let quoted = "";
  for (const byte of Buffer.from(text.slice(0, QUOTED_MAX))) {
    const character = String.fromCharCode(byte);
    if (character === '"' || character === "\\") quoted += `\\${character}`;
    else if (byte < 0x20 || byte >= 0x7f) quoted += `\\x${byte.toString(16).padStart(2, "0")}`;
    else quoted += character;
  }
  return `"${quoted}${text.length > QUOTED_MAX ? "..." : ""}"`;
}

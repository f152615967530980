// Times on the wire: RFC 3339 in JSON, seconds and nanoseconds in Protobuf, and inside the program
// microseconds since 1970 as a number. What is finer than a microsecond is cut off. 0 stands for a
// time that is not set.

/** 0001-01-01T00:00:00Z: how the wire writes a time that the server never set. */
export const ZERO_TIME = -62_135_596_800 * 1_000_000;

// From year 1 to year 9999.
const SECONDS_MIN = -62_135_596_800;
const SECONDS_MAX = 253_402_300_799;
// So far off, a number holds only every 32nd microsecond.
const MICROS_MAX = (SECONDS_MAX + 1) * 1_000_000 - 32;

/** Whether a time of so many seconds since 1970 can be written. */
export function isWritable(seconds: number): boolean {
  return seconds >= SECONDS_MIN && seconds <= SECONDS_MAX;
}

/** The microseconds since 1970 of a time that can be written, as exact as a number is. */
export function toMicros(seconds: number, micros: number): number {
  return Math.min(seconds * 1_000_000 + micros, MICROS_MAX);
}

/** What a time looks like, as a pattern for the API's document: RFC 3339 also has other forms. */
export const TIMESTAMP_PATTERN =
  "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$";

const TIMESTAMP =
  /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))$/;

/** Parses RFC 3339 with `Z` or an offset, years 0001 to 9999; undefined if it is none. */
export function parseTimestamp(text: string): number | undefined {
  const match = TIMESTAMP.exec(text);
  if (match === null) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const exists = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  if (!exists || hour > 23 || minute > 59 || second > 59) return undefined;
  let seconds = date.getTime() / 1000 + hour * 3600 + minute * 60 + second;
  if (match[8] !== undefined) {
    const [hours, minutes] = [Number(match[9]), Number(match[10])];
    if (hours > 23 || minutes > 59) return undefined;
    seconds += (match[8] === "-" ? 1 : -1) * (hours * 3600 + minutes * 60);
  }
  if (year < 1 || !isWritable(seconds)) return undefined;
  return toMicros(seconds, Number((match[7] ?? "").padEnd(6, "0").slice(0, 6)));
}

// The last second that was written: items of one batch mostly share it.
let cachedSecond = Number.NaN;
let cachedText = "";

/** Writes RFC 3339 in UTC with no, three or six digits of a fraction. */
export function formatTimestamp(micros: number): string {
  const second = Math.floor(micros / 1_000_000);
  if (second !== cachedSecond) {
    cachedText = new Date(second * 1000).toISOString().slice(0, -5);
    cachedSecond = second;
  }
  const fraction = Math.floor(micros - second * 1_000_000);
  if (fraction === 0) return `${cachedText}Z`;
  if (fraction % 1000 === 0) return `${cachedText}.${String(fraction / 1000).padStart(3, "0")}Z`;
  return `${cachedText}.${String(fraction).padStart(6, "0")}Z`;
}

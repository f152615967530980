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

const TIMESTAMP = new RegExp(TIMESTAMP_PATTERN);
const TIMESTAMP_LENGTH_MAX = 35;
const DAY_SECONDS = 86_400;

/** Parses RFC 3339 with `Z` or an offset, years 0001 to 9999; undefined if it is none. */
export function parseTimestamp(text: string): number | undefined {
  if (text.length > TIMESTAMP_LENGTH_MAX || !TIMESTAMP.test(text)) return undefined;
  const days = dayOf(number(text, 0, 4), number(text, 5, 7), number(text, 8, 10));
  const hour = number(text, 11, 13);
  const minute = number(text, 14, 16);
  if (days === undefined || hour > 23 || minute > 59) return undefined;
  let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + number(text, 17, 19);
  let end = text.length - 1;
  if (!text.endsWith("Z")) {
    end -= 5;
    const hours = number(text, end + 1, end + 3);
    const minutes = number(text, end + 4, end + 6);
    if (hours > 23 || minutes > 59) return undefined;
    seconds += (text[end] === "-" ? 1 : -1) * (hours * 3600 + minutes * 60);
  }
  if (!isWritable(seconds)) return undefined;
  let micros = 0;
  for (let at = 20; at < 26; at++) micros = micros * 10 + (at < end ? number(text, at, at + 1) : 0);
  return toMicros(seconds, micros);
}

// The number that the digits of a part of a text say.
function number(text: string, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at++) value = value * 10 + text.charCodeAt(at) - 0x30;
  return value;
}

// The day of a date since 1970; undefined if there is none. Years are counted from March on, so that
// a leap day is the last.
function dayOf(year: number, month: number, day: number): number | undefined {
  if (year < 1 || month < 1 || month > 12 || day < 1) return undefined;
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  if (day > (month === 2 && isLeap ? 29 : MONTH_DAYS[month - 1]!)) return undefined;
  const years = month < 3 ? year - 1 : year;
  const leapDays = Math.floor(years / 4) - Math.floor(years / 100) + Math.floor(years / 400);
  const monthDays = Math.floor((153 * ((month + 9) % 12) + 2) / 5);
  return years * 365 + leapDays + monthDays + day - DAYS_TO_1970;
}

const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
// From the first of March of the year 0.
const DAYS_TO_1970 = 719_469;

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

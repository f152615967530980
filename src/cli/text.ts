// Texts on a terminal: control characters that somebody put into an item or a name must never reach
// it, for they could move the cursor or change what is shown; and what is wide is cut to fit.

import { createRequire } from "node:module";
import type stringWidth from "string-width";
import { printable } from "../printable.ts";

// Its expressions for all that is an emoji take longer to compile than the rest of a command takes to
// load, so it is loaded when a text is there that needs it.
const load = createRequire(import.meta.url);
let widthOfAny: typeof stringWidth | undefined;

/** How many columns a text takes. */
export function width(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length;
  widthOfAny ??= (load("string-width") as { readonly default: typeof stringWidth }).default;
  return widthOfAny(text);
}

/** A text cut to some columns, with an ellipsis if something was cut off. */
export function fit(text: string, columns: number): string {
  if (width(text) <= columns) return text;
  let cut = "";
  let used = 1;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    used += width(segment);
    if (used > columns) break;
    cut += segment;
  }
  return `${cut}…`;
}

/** A name cut to some columns, in its middle: it is known by both of its ends. */
export function fitName(name: string, columns: number): string {
  if (width(name) <= columns) return name;
  const letters = Array.from(new Intl.Segmenter().segment(name), ({ segment }) => segment);
  const take = (from: Iterable<string>, room: number): string[] => {
    const taken: string[] = [];
    let used = 0;
    for (const letter of from) {
      used += width(letter);
      if (used > room) break;
      taken.push(letter);
    }
    return taken;
  };
  const start = take(letters, Math.ceil((columns - 1) / 2)).join("");
  const end = take(letters.toReversed(), columns - 1 - width(start));
  return `${start}…${end.reverse().join("")}`;
}

// More of a payload than any terminal shows is not looked at.
const PREVIEW_BYTES = 1_000;

/** The beginning of a payload: its text, or what kind of bytes it is. */
export function preview(payload: Uint8Array, columns = 40): string {
  const start = payload.subarray(0, PREVIEW_BYTES);
  try {
    const isWhole = start.length === payload.length;
    const text = new TextDecoder("utf-8", { fatal: true }).decode(start, { stream: !isWhole });
    return fit(printable(text), columns);
  } catch {
    return `<${payload.length} bytes>`;
  }
}

/** A number with commas. */
export function count(number: number): string {
  return number.toLocaleString("en-GB");
}

/** A number with its noun: `1 item`, `1,234 items`. */
export function plural(number: number, noun: string): string {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** What is said of a number of items of which some are scheduled. */
export function scheduledNote(scheduled: number): string {
  return scheduled === 0 ? "" : ` (${count(scheduled)} scheduled)`;
}

/** A time as people read it, in UTC; nothing for none. */
export function time(date: Date | string | undefined): string {
  if (date === undefined || (typeof date === "string" && date.startsWith("0001-"))) return "";
  return new Date(date)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z/, "Z");
}

/** How long something took, which may be short: `40µs`, `1.2ms`, and from 10 ms on as ages are. */
export function took(ms: number): string {
  if (ms >= 10) return age(ms);
  return ms < 1 ? `${Math.round(ms * 1_000)}µs` : `${Math.round(ms * 10) / 10}ms`;
}

/** How many a second: `0.05`, `1.5`, `1,234`. */
export function perSecond(rate: number): string {
  const unit = rate < 1 ? 100 : rate < 10 ? 10 : 1;
  return (Math.round(rate * unit) / unit).toLocaleString("en-GB");
}

/** A duration of milliseconds as people read it: `250ms`, `1.5s`, `3m20s`, `2h5m`, `3d4h`. */
export function age(ms: number): string {
  if (ms < 0) return `-${age(-ms)}`;
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${Math.floor(ms / 100) / 10}s`;
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h${Math.floor(seconds / 60) % 60}m`;
  return `${Math.floor(seconds / 86_400)}d${Math.floor(seconds / 3_600) % 24}h`;
}

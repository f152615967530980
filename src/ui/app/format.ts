// Numbers, spans, sizes and times as they are shown. Numbers are exact: they are grouped, never rounded to "1.2M".

import { signal } from "@preact/signals";
import { now } from "./time.ts";

const UTC = "querator.utc";
const DURATION = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;
const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Whether times are shown in UTC, else in the zone of the browser. */
export const utc = signal(localStorage.getItem(UTC) !== "no");

export function setUtc(on: boolean): void {
  localStorage.setItem(UTC, on ? "yes" : "no");
  utc.value = on;
}

/** 1234567 as 1,234,567; numbers that JSON tells as texts as well. Nothing for what is not known. */
export function count(value: number | string | undefined | null): string {
  if (value === undefined || value === null || value === "") return "–";
  return String(value).replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
}

/** So many a second, with as many digits as tell something. */
export function rate(value: number | undefined | null): string {
  if (value === undefined || value === null) return "–";
  if (value === 0) return "0";
  if (value < 0.01) return "< 0.01";
  return count(value >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
}

/** The milliseconds of a duration as the server writes it, such as "1m30s"; undefined if it is none. */
export function toMs(text: string | undefined | null): number | undefined {
  if (!text) return undefined;
  let sum: number | undefined;
  for (const [, number, unit] of text.matchAll(DURATION)) {
    sum = (sum ?? 0) + Number(number) * UNIT_MS[unit!]!;
  }
  return sum;
}

/** A span in its two largest units: "2h 5m". Takes milliseconds, or a duration of the server. */
export function span(value: number | string | undefined | null): string {
  const ms = typeof value === "string" ? toMs(value) : value;
  if (ms === undefined || ms === null) return "–";
  if (ms < 1) return "0";
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${Number((ms / 1_000).toPrecision(3))} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return pair(minutes, "m", Math.floor(ms / 1_000) % 60, "s");
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return pair(hours, "h", minutes % 60, "m");
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

function pair(a: number, unitA: string, b: number, unitB: string): string {
  return b === 0 ? `${count(a)}${unitA}` : `${count(a)}${unitA} ${b}${unitB}`;
}

/** A size: exact below 1 KiB, then with three digits; put the exact one into a title. */
export function bytes(value: number | undefined | null): string {
  if (value === undefined || value === null) return "–";
  if (value < 1_024) return `${value} B`;
  const step = Math.min(Math.floor(Math.log2(value) / 10), 4);
  return `${Number((value / 1_024 ** step).toPrecision(3))} ${["", "KiB", "MiB", "GiB", "TiB"][step]}`;
}

/** A time of the server, or milliseconds, to the second; in UTC or local time, as was chosen. */
export function time(value: string | number | undefined | null): string {
  if (value === undefined || value === null || value === "") return "–";
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return String(value);
  const shifted = utc.value ? date : new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return `${shifted.toISOString().slice(0, 19).replace("T", " ")}${utc.value ? "Z" : ""}`;
}

/** How long ago, or in how long: "5m ago", "in 5m". */
export function ago(value: string | number | undefined | null): string {
  if (value === undefined || value === null || value === "") return "–";
  const ms = now() - new Date(value).getTime();
  return ms >= 0 ? `${span(ms)} ago` : `in ${span(-ms)}`;
}

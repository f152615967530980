// What a reply tells of each item of a call. Mostly that is nothing but that it was done, and then nothing
// is parsed.

import { checkForm, parseReply } from "./call.ts";
import type { ItemResult } from "./errors.ts";

const ITEMS_MAX = 1_000;
const OK = '{"ok":true},';
const ALL_OK = OK.repeat(ITEMS_MAX);

/** Of a call of which nothing is to be told. */
export const ALL_DONE: readonly ItemResult[] = [];

/** The results of so many items, in order; none if all are done, and that is all. */
export function readResults(body: string, count: number): readonly ItemResult[] {
  const isLong = body.length === 13 + count * OK.length && count <= ITEMS_MAX;
  if (isLong && body === `{"results":[${ALL_OK.slice(0, count * OK.length - 1)}]}`) return ALL_DONE;
  const reply = parseReply<{ readonly results?: readonly ItemResult[] }>(body);
  const { results } = reply;
  const isWhole = Array.isArray(results) && results.length === count;
  checkForm(isWhole && results.every(isResult), reply);
  return results!;
}

function isResult(result: ItemResult | null | undefined): boolean {
  if (typeof result !== "object" || result === null) return false;
  return result.ok === true || typeof result.code === "string" || typeof result.status === "string";
}

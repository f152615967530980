// Where a page of a list ended, as clients carry it: a text that means nothing to them, and that must never
// be trusted when it comes back. One of a list that has filters tells which they were (`listPrint`): elsewhere it would pass
// over what it was never asked for.

import { createHash } from "node:crypto";
import { invalidField } from "../errors.ts";

type Part = string | number;

/** The cursor of a place. */
export function toCursor(place: readonly Part[]): string {
  return Buffer.from(JSON.stringify(place)).toString("base64url");
}

/** What tells a list from others by all that it was asked for, but for how much of it; to be a part of its cursors. */
export function listPrint(asked: readonly (Part | undefined)[]): string {
  return createHash("sha256").update(JSON.stringify(asked)).digest("base64url").slice(0, 8);
}

/** The place of a cursor, of so many parts, whose meaning is still to be checked. */
export function readCursor(cursor: string, parts: number): readonly Part[] {
  try {
    const place: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString());
    const isPlace =
      Array.isArray(place) &&
      place.length === parts &&
      place.every((part) => typeof part === "string" || typeof part === "number");
    if (isPlace) return place;
  } catch {
    // Nothing that this server has made.
  }
  throw invalidField("cursor", "cursor is invalid; it is none of this list");
}

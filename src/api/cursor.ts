// Where a page of a list ended, as clients carry it: a text that means nothing to them, and that must never
// be trusted when it comes back.

import { invalidField } from "../errors.ts";

type Part = string | number;

/** The cursor of a place. */
export function toCursor(place: readonly Part[]): string {
  return Buffer.from(JSON.stringify(place)).toString("base64url");
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

// Trails of items that came from another storage. Their copy is written first, and their original removed then; if
// that is not done before the server ends, they are sent again. As long as the copy is there it is known by its
// source; once it has gone it is known by its trail, for a day after it came. What a redrive brings leaves its trail
// when it comes, as it is there to be done at once; what has died when it goes, as that is rarely done.

import { HOUR } from "../clock.ts";
import type { KeyEntry, StoredItem } from "../storage/storage.ts";
import { attributesOf } from "./attributes.ts";
import { KEY } from "./keys.ts";

const TRAIL_KEPT = 24 * HOUR;

/** The name of a trail. No Idempotency-Key has such a letter. */
export function trailOf(source: string): string {
  return `\tredriven ${source}`;
}

/** The trail of what has come from this source at a time. */
export function trailFrom(source: string, at: number): KeyEntry {
  const until = at + TRAIL_KEPT;
  return { kind: KEY.idempotency, key: trailOf(source), seq: 0, until, value: "" };
}

/** What an item leaves that goes; undefined if nothing, as for nearly all. */
export function trailLeftBy(
  { attributes, createdAt }: Pick<StoredItem, "attributes" | "createdAt">,
  now: number,
): KeyEntry | undefined {
  const { isApart, source } = attributesOf(attributes);
  if (!isApart) return undefined;
  const trail = trailFrom(source, createdAt);
  return trail.until > now ? trail : undefined;
}

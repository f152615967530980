// Events as they are sent: one message of server-sent events for each, whose data is JSON on one line.

import { formatTimestamp } from "../codec/timestamp.ts";
import { HAPPENINGS, IdSpace } from "../queue/queue.ts";
import { nameOf, namespaceOf, SYSTEM_NAMESPACE } from "../registry/names.ts";
import { concerns, type Interest } from "./hub.ts";
import type { Entry } from "./ring.ts";

/** What of an interest a listener wants to be told. */
export interface Wish {
  readonly interest: Interest;
  /** Places in `HAPPENINGS`; undefined: all. */
  readonly what: ReadonlySet<number> | undefined;
  /** An item; "": all. */
  readonly item: string;
}

/** What a listener is sent, and the position behind it. */
export interface Chunk {
  readonly text: string;
  readonly end: number;
}

// A chunk ends with the event that makes it longer.
const CHUNK_CHARS = 65_536;

export const cursorOf = (run: string, position: number): string => `${run}.${position}`;

export const CURSOR_PATTERN = /^[0-9a-f]{8}\.\d{1,15}$/;

/** The position in a cursor, if it is of this run of the server. */
export function positionOf(cursor: string, run: string): number | undefined {
  const [of, position] = cursor.split(".");
  return of === run ? Number(position) : undefined;
}

/** What of these entries is wished for, from a position on; `end` is where the entries end. */
export function chunkOf(
  entries: readonly Entry[],
  { wish, run, from, end }: { wish: Wish; run: string; from: number; end: number },
): Chunk {
  let text = "";
  const { interest, what, item } = wish;
  for (const { first, happened } of entries) {
    const { queue } = happened;
    if (!concerns(interest, queue)) continue;
    const ids = new IdSpace(happened.prefix);
    const heads: (string | undefined)[] = [];
    for (let i = Math.max(from - first, 0); i < happened.ids.length; i++) {
      const code = happened.what[i]!;
      if (what !== undefined && !what.has(code)) continue;
      const known = happened.ids[i]!;
      const id = typeof known === "number" ? ids.id(known) : known;
      if (item !== "" && id !== item) continue;
      heads[code] ??= headOf(happened, code);
      const position = first + i + 1;
      text += `id: ${run}.${position}${heads[code]}`;
      text +=
        id === "" ? moreOf(happened) : `,"id":"${id}","attempts":${happened.attempts[i]}}\n\n`;
      if (text.length > CHUNK_CHARS) return { text, end: position };
    }
  }
  return { text, end };
}

// What all events of one kind that have happened with one commit have in common.
function headOf({ at, queue, partition, prefix }: Entry["happened"], code: number): string {
  const { type, reason } = HAPPENINGS[code]!;
  const namespace = namespaceOf(queue);
  const data = JSON.stringify({
    type,
    time: formatTimestamp(at),
    ...(nameOf(queue) !== "" && { queue_name: nameOf(queue) }),
    ...(namespace !== SYSTEM_NAMESPACE && { namespace }),
    ...(prefix !== "" && { partition }),
    ...(reason !== "" && { reason }),
  });
  return `\nevent: ${type}\ndata: ${data.slice(0, -1)}`;
}

function moreOf({ more }: Entry["happened"]): string {
  return more === undefined ? "}\n\n" : `,${JSON.stringify(more).slice(1)}\n\n`;
}

/** A message that is of no commit. */
export function messageOf(cursor: string, type: string, data: object): string {
  return `id: ${cursor}\nevent: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
}

/** Nothing but the cursor: who reads it knows that the connection lives, and where to go on. */
export function heartbeatOf(cursor: string): string {
  return `: \nid: ${cursor}\n\n`;
}

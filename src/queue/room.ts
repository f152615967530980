// Whether what is to come has room in the namespace of its queue. It is reserved before it is written, for the partition
// that will have it: so never more is acknowledged than the quota, and what is refused changes nothing. What comes from
// another queue of the namespace was let in there, and needs no room: no dead letter is lost for a quota.

import type { QueueError } from "../errors.ts";
import { sizeIn } from "./attributes.ts";
import type { Item } from "./item.ts";
import type { Partition } from "./partition.ts";

/** So much of a partition. */
export interface Some {
  readonly of: Partition;
  readonly items: number;
  readonly bytes: number;
}

/** New items of a partition. */
export function newIn(of: Partition, items: readonly Item[]): Some {
  let bytes = 0;
  if (of.share !== undefined) for (const { record } of items) bytes += record.size;
  return { of, items: items.length, bytes };
}

/** Items of a partition that end. */
export function endingIn(of: Partition, items: readonly (Item | undefined)[]): Some {
  let [count, bytes] = [0, 0];
  for (const item of items) {
    if (item === undefined) continue;
    count++;
    bytes += sizeIn(item.attributes);
  }
  return { of, items: count, bytes };
}

/** Reserves room for new items in a partition; else why there is none. */
export function roomFor(of: Partition, items: readonly Item[]): QueueError | undefined {
  if (of.share === undefined) return undefined;
  const { bytes } = newIn(of, items);
  return of.share.reserve(items.length, bytes);
}

/**
 * Reserves room for all of what comes, or for none of it. What ends in the same write makes room: then only what is
 * more than that needs some.
 */
export function roomForAll(coming: readonly Some[], ending?: Some): QueueError | undefined {
  if (coming.every(({ of }) => of.share === undefined)) return undefined;
  let [items, bytes] = [ending?.items ?? 0, ending?.bytes ?? 0];
  const undo: (() => void)[] = [];
  for (const { of, ...needed } of coming) {
    const share = of.share!;
    const freed = Math.min(items, needed.items);
    const freedBytes = Math.min(bytes, needed.bytes);
    const [more, moreBytes] = [needed.items - freed, needed.bytes - freedBytes];
    const refused = share.reserve(more, moreBytes);
    if (refused !== undefined) {
      for (const each of undo) each();
      return refused;
    }
    const from = ending?.of.share;
    from?.give(share, freed, freedBytes);
    items -= freed;
    bytes -= freedBytes;
    undo.push(() => {
      from?.give(share, -freed, -freedBytes);
      share.reserve(-more, -moreBytes);
    });
  }
  return undefined;
}

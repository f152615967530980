// Takes an item out of its partition, wherever it lies.

import type { ItemTable, StoredItem } from "../storage/storage.ts";
import { COUNT } from "./counts.ts";
import type { Ending } from "./history.ts";
import type { PartitionBatch } from "./partition-batch.ts";

/** Removes an item whether it waits, is leased or is scheduled. */
export function takeOut(
  part: PartitionBatch,
  table: ItemTable,
  item: StoredItem,
  how: Ending,
): void {
  const leased = table === "items" ? part.of.leased.get(item.seq) : undefined;
  if (leased !== undefined) {
    // Whatever ends a lease has claimed its item; this one's has ended by itself.
    if (!leased.ending) part.tally(COUNT.leaseEnds);
    part.claim(leased);
    part.remove(leased, how, "", item);
  } else if (table === "items") {
    part.removeWaiting(item, how);
  } else {
    part.removeScheduled(item, how);
  }
}

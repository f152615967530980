// What one batch says of the items that leave a partition for good: those who wait for them are told, and what the
// queue keeps of items that have ended is written down. Nobody waits, and nothing is kept, of most.

import type { ItemRecord, KeyEntry, StoredItem } from "../storage/storage.ts";
import { type Ending, entryOfEnded, type Leaving } from "./history.ts";
import { idOf } from "./keys.ts";
import type { Partition } from "./partition.ts";
import type { Told } from "./watchers.ts";

/** An item that leaves. */
export type Left = Leaving & Pick<StoredItem, "seq" | "record">;

export class Departures {
  readonly #of: Partition;
  readonly #now: number;
  #told: [id: string, told: Told][] | undefined;

  constructor(partition: Partition, now: number) {
    this.#of = partition;
    this.#now = now;
  }

  /** Notes that an item leaves. Answers the entry that keeps how; `records` are those that memory does not hold. */
  note(
    item: Left,
    ending: Ending,
    result: string,
    records: ReadonlyMap<number, ItemRecord> | undefined,
  ): KeyEntry | undefined {
    const { watchers, ids, keeping, number } = this.#of;
    if (watchers !== undefined && watchers.size > 0) {
      const { how, reason } = ending;
      const { seq, createdAt, attempts, attributes } = item;
      const was = { partition: number, seq, createdAt, attempts, attributes };
      this.#told ??= [];
      this.#told.push([idOf(ids, item), { how, reason, at: this.#now, result, ...was }]);
    }
    if (keeping === undefined) return undefined;
    const record = records?.get(item.seq) ?? item.record;
    return entryOfEnded(idOf(ids, item), item, {
      ending,
      record,
      result,
      keeping,
      now: this.#now,
    });
  }

  /** The commit has succeeded: tells those who wait. */
  apply(): void {
    for (const [id, told] of this.#told ?? []) this.#of.watchers?.tell(id, told);
  }
}

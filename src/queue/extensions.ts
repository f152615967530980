// The leases that one batch extends in one partition. An extended item is held by a lease of its own from
// then on, or by one with its neighbours that were extended with it, under a mark that stands over the one
// with which it was leased (see LeaseMark). Planned, marked and applied as PartitionBatch says; a batch
// that extends nothing has none of this. No two marks begin at one number: that is what this must keep.

import type { LeaseMark } from "../storage/storage.ts";
import { Grant, type Item } from "./item.ts";
import { holdFrom } from "./lease-ends.ts";
import type { Partition } from "./partition.ts";

/** What marks are written into, and when. */
interface Part {
  readonly of: Partition;
  readonly now: number;
  readonly leases: LeaseMark[];
  readonly releases: number[];
}

interface Extension {
  readonly grant: Grant;
  readonly items: Item[];
}

export class Extensions {
  readonly #deadlines = new Map<Item, number>();
  // What the deadlines come to.
  readonly #made: Extension[] = [];
  // Leases that go on without the item at which their mark began, and where it begins then.
  readonly #rebased: { readonly grant: Grant; readonly first: number }[] = [];

  has(item: Item): boolean {
    return this.#deadlines.has(item);
  }

  /** Gives the lease of an item a new deadline; of several the last stands. */
  set(item: Item, deadline: number): void {
    this.#deadlines.set(item, deadline);
  }

  /** The deadline that an item is given; undefined if it is given none. */
  deadlineOf(item: Item): number | undefined {
    return this.#deadlines.get(item);
  }

  /** Writes the marks, once it is known what else leaves the leases that lose items here. */
  mark(part: Part): void {
    // Later than any extension before it, whatever the wall clock shows.
    const extendedAt = Math.max(part.now, part.of.extendedAt + 1);
    let last: Extension | undefined;
    for (const item of [...this.#deadlines.keys()].sort((a, b) => a.seq - b.seq)) {
      this.#rebase(item.grant!, item.seq, part);
      const deadline = this.#deadlines.get(item)!;
      const { leasedAt, heldSince } = item.grant!;
      if (last === undefined || !joins(item, last, { deadline, leasedAt })) {
        const grant = new Grant(deadline, leasedAt, extendedAt, deadline - part.now);
        grant.mark = item.seq;
        grant.heldSince = heldSince;
        last = { grant, items: [] };
        this.#made.push(last);
      }
      last.items.push(item);
    }
    for (const { grant, items } of this.#made) {
      part.leases.push(markOf(grant, items[0]!.seq, items.at(-1)!.seq));
    }
  }

  // A mark that loses the item at which it begins is written again, from the first that it still holds. One
  // that loses all is released anyway.
  #rebase(grant: Grant, lost: number, { releases, leases }: Part): void {
    if (grant.mark !== lost || grant.ending === grant.remaining) return;
    const stays = (item: Item): boolean => item.grant === grant && !item.ending;
    const first = grant.items.find(stays)!.seq;
    releases.push(lost);
    leases.push(markOf(grant, first, grant.items.findLast(stays)!.seq));
    this.#rebased.push({ grant, first });
  }

  /** The commit has succeeded, at this steady time. */
  apply(partition: Partition, steady: number): void {
    for (const { grant, first } of this.#rebased) grant.mark = first;
    for (const { grant, items } of this.#made) {
      for (const item of items) partition.regrant(item, grant);
      partition.extendedAt = grant.extendedAt;
      holdFrom(grant, steady);
      partition.leaseEnds.add(grant);
    }
  }

  /** Clients were told so long after `apply`. */
  noteReplies(late: number): void {
    for (const { grant } of this.#made) grant.heldUntil += late;
  }

  /** The items, whose leases are as they were if the commit fails. */
  get items(): Iterable<Item> {
    return this.#deadlines.keys();
  }
}

/** The mark of a lease, over these numbers. */
export function markOf(
  { deadline, leasedAt, extendedAt }: Grant,
  first: number,
  last: number,
): LeaseMark {
  return { first, last, deadline, leasedAt, extendedAt };
}

// Items that lie together and are held alike share a mark.
function joins(
  { seq }: Item,
  { grant, items }: Extension,
  { deadline, leasedAt }: Pick<Grant, "deadline" | "leasedAt">,
): boolean {
  const isNext = seq === items.at(-1)!.seq + 1;
  return isNext && grant.deadline === deadline && grant.leasedAt === leasedAt;
}

// Which lease holds an item, as the lease marks of storage say it. Marks come in any order and may
// overlap: one that was extended stands over the one with which its items were leased. Read when a
// partition is loaded; nothing here is kept afterwards.

import type { LeaseMark, SeqRange, StoredItem } from "../storage/storage.ts";
import { Grant } from "./item.ts";

interface Marked {
  readonly mark: LeaseMark;
  readonly grant: Grant;
}

/** The leases of a partition, asked for by one item after another, in ascending order of their numbers. */
export class StoredLeases {
  readonly #marked: readonly Marked[];
  #next = 0;
  // Those that cover the item at hand, in order of their `first`: few, whatever there is.
  #covering: Marked[] = [];
  // Items that carry a deadline themselves, and have no mark, share one lease as long as it is the same.
  #own: Grant | undefined;

  constructor(marks: readonly LeaseMark[]) {
    this.#marked = marks
      .map((mark) => {
        const grant = new Grant(mark.deadline, mark.leasedAt, mark.extendedAt);
        grant.mark = mark.first;
        return { mark, grant };
      })
      .sort((a, b) => a.mark.first - b.mark.first);
  }

  /** The lease that holds an item; undefined if none does. */
  of({ seq, leaseDeadline, createdAt }: StoredItem): Grant | undefined {
    const covering = this.#advance(seq);
    let extended: Marked | undefined;
    let plain: Marked | undefined;
    for (const each of covering) {
      const { extendedAt } = each.mark;
      if (extendedAt === 0) plain = each;
      else if (extendedAt >= (extended?.mark.extendedAt ?? 0)) extended = each;
    }
    if (extended !== undefined) return extended.grant;
    if (leaseDeadline === 0) return plain?.grant;
    // Leased as it was produced, or imported: then it has a mark of its own.
    if (plain !== undefined && plain.mark.first === plain.mark.last) return plain.grant;
    if (this.#own?.deadline !== leaseDeadline) this.#own = new Grant(leaseDeadline, createdAt);
    return this.#own;
  }

  #advance(seq: number): readonly Marked[] {
    const isOver = this.#covering.some(({ mark }) => mark.last < seq);
    if (isOver) this.#covering = this.#covering.filter(({ mark }) => mark.last >= seq);
    for (; this.#next < this.#marked.length; this.#next++) {
      const marked = this.#marked[this.#next]!;
      if (marked.mark.first > seq) break;
      if (marked.mark.last >= seq) this.#covering.push(marked);
    }
    return this.#covering;
  }
}

/** What marks cover from a number on, each number once. */
export function coveredFrom(marks: readonly LeaseMark[], from: number): readonly SeqRange[] {
  const ranges: { first: number; last: number }[] = [];
  const ahead = marks.filter(({ last }) => last >= from).sort((a, b) => a.first - b.first);
  for (const mark of ahead) {
    const first = Math.max(mark.first, from);
    const range = ranges.at(-1);
    if (range === undefined || first > range.last + 1) ranges.push({ first, last: mark.last });
    else range.last = Math.max(range.last, mark.last);
  }
  return ranges;
}

// Numbers of single items as the ranges in which storage is told of them.

import type { SeqRange } from "../storage/storage.ts";

/** Numbers in any order, none twice, as ascending ranges that are as long as can be. */
export function toRanges(seqs: readonly number[]): readonly SeqRange[] {
  if (seqs.length === 0) return [];
  if (seqs.length === 1) return [{ first: seqs[0]!, last: seqs[0]! }];
  const sorted = Float64Array.from(seqs).sort();
  const ranges: SeqRange[] = [];
  let first = sorted[0]!;
  let last = first;
  for (let i = 1; i < sorted.length; i++) {
    const seq = sorted[i]!;
    if (seq === last + 1) {
      last = seq;
      continue;
    }
    ranges.push({ first, last });
    first = seq;
    last = seq;
  }
  ranges.push({ first, last });
  return ranges;
}

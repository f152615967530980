// The row of a partition: what it counts, its lanes, and the sum over all of it.

import { sumOfRow } from "../rows/checksum.ts";
import { countsOf, packCounts } from "../rows/counts.ts";
import { lanesOf, packLanes } from "../rows/lanes.ts";
import { type Counters, NEW_COUNTERS } from "../storage.ts";

/** In the order of a CountersRow, the sum first. */
export const COUNTERS =
  "sum, head, tail, total, scheduled, held, created_sum, dropped_attempts, dropped_expired, dropped_rejected, lanes, counts";

/** A row of COUNTERS, without its sum. */
export type CountersRow = [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  string,
  string,
];

/** Sets COUNTERS of the partition under a key, which is the last value. */
export const UPDATE_COUNTERS = `UPDATE partitions SET ${COUNTERS.replaceAll(",", " = ?,")} = ? WHERE key = ?`;

export function countersOf(row: CountersRow): Counters {
  const [head, tail, total, scheduled, held, createdSum, attempts, expired, rejected, ...texts] =
    row;
  const dropped = { attempts, expired, rejected };
  const [lanes, counts] = [lanesOf(texts[0]), countsOf(texts[1])];
  return { head, tail, total, scheduled, held, createdSum, dropped, lanes, counts };
}

/** The values of COUNTERS. */
export function countersRow(counters: Readonly<Counters>): [number, ...CountersRow] {
  const { head, tail, total, scheduled, held, createdSum, dropped } = counters;
  const lanes = packLanes(counters.lanes);
  const counts = packCounts(counters.counts);
  return [
    sumOf(counters, lanes, counts),
    head,
    tail,
    total,
    scheduled,
    held,
    createdSum,
    dropped.attempts,
    dropped.expired,
    dropped.rejected,
    lanes,
    counts,
  ];
}

export function sumOfCounters(counters: Readonly<Counters>): number {
  return sumOf(counters, packLanes(counters.lanes), packCounts(counters.counts));
}

export const SUM_OF_NEW = sumOfCounters(NEW_COUNTERS);

// What came to be counted later is in the sum only if there is any, so that sums of before stay as they are.
function sumOf(counters: Readonly<Counters>, lanes: string, counts: string): number {
  const { head, tail, total, scheduled, held, createdSum } = counters;
  const { attempts, expired, rejected } = counters.dropped;
  const first = [head, tail, total, scheduled, createdSum];
  if (counts !== "") {
    return sumOfRow(...first, attempts, expired, rejected, held, lanes, counts);
  }
  if (held !== 0 || lanes !== "") {
    return sumOfRow(...first, attempts, expired, rejected, held, lanes);
  }
  if (attempts + expired + rejected === 0) return sumOfRow(...first);
  return sumOfRow(...first, attempts, expired, rejected);
}

// What `/health` says of partitions that fail.

import type { Failing } from "../registry/homes.ts";

/** How well it goes, and why not better. */
export function judge(failing: Failing): ["pass" | "warn" | "fail", string] {
  const { partitions, total, storages, troubles } = failing;
  if (partitions === 0) return [troubles.length === 0 ? "pass" : "warn", troubles.join("; ")];
  const output = `${partitions} of ${total} partitions are failing, in ${storages.join(", ")}`;
  return [partitions === total ? "fail" : "warn", [output, ...troubles].join("; ")];
}

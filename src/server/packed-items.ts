// Lists of items as they travel between threads. A record that is cloned takes the whole buffer along in
// which it lies, so the records of a list travel packed beside what else there is of its items. What is no
// list of items travels as it is.

import { type PackedRecords, packRecords, unpackRecords } from "../storage/rows/records.ts";
import { ItemRecord } from "../storage/storage.ts";

interface WithRecord {
  readonly record: ItemRecord;
}

interface PackedItems {
  readonly itemsWithout: readonly object[];
  readonly records: PackedRecords;
}

export function packItems(value: unknown): unknown {
  if (!isList(value)) return value;
  const packed: PackedItems = {
    itemsWithout: value.map(({ record: _, ...rest }) => rest),
    records: packRecords(value.map(({ record }) => record)),
  };
  return packed;
}

export function unpackItems(value: unknown): unknown {
  if (!isPacked(value)) return value;
  const records = unpackRecords(value.records);
  return value.itemsWithout.map((rest, i) => ({ ...rest, record: records[i]! }));
}

function isList(value: unknown): value is readonly WithRecord[] {
  return Array.isArray(value) && (value[0] as WithRecord | undefined)?.record instanceof ItemRecord;
}

function isPacked(value: unknown): value is PackedItems {
  return typeof value === "object" && value !== null && "itemsWithout" in value;
}

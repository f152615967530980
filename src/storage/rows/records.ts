// Many records as three values: their texts as one string, their payloads as one run of bytes, and
// where each payload ends. What is cloned between threads or written to a database costs by the
// value far more than by the byte. A text has no line break; so that separates texts,
// and there is none if all records have the same.

import { ItemRecord } from "../storage.ts";

export interface PackedRecords {
  readonly texts: string;
  readonly payloads: Uint8Array;
  /** Where each payload ends. */
  readonly ends: Uint32Array;
}

/** Packs records from `start` to, not including, `end`; their payloads are copied. */
export function packRecords(
  records: readonly ItemRecord[],
  start = 0,
  end = records.length,
): PackedRecords {
  const ends = new Uint32Array(end - start);
  let length = 0;
  let hasOneText = true;
  for (let i = start; i < end; i++) {
    const record = records[i]!;
    length += record.end - record.start;
    ends[i - start] = length;
    hasOneText &&= record.text === records[start]!.text;
  }
  let texts = start < end ? records[start]!.text : "";
  if (!hasOneText) for (let i = start + 1; i < end; i++) texts += `\n${records[i]!.text}`;
  const payloads = new Uint8Array(length);
  for (let i = start, at = 0; i < end; ) {
    const first = records[i]!;
    // Those of one request mostly lie one behind the other already.
    let upTo = first.end;
    for (i++; i < end && records[i]!.bytes === first.bytes && records[i]!.start === upTo; i++) {
      upTo = records[i]!.end;
    }
    payloads.set(first.bytes.subarray(first.start, upTo), at);
    at += upTo - first.start;
  }
  return { texts, payloads, ends };
}

/** Unpacks records; their payloads share one run of bytes. */
export function unpackRecords({ texts, payloads, ends }: PackedRecords): ItemRecord[] {
  const bytes = Buffer.from(payloads.buffer, payloads.byteOffset, payloads.length);
  const records: ItemRecord[] = new Array(ends.length);
  const all = texts.includes("\n") ? texts.split("\n") : undefined;
  for (let i = 0, from = 0; i < ends.length; i++) {
    records[i] = new ItemRecord(all === undefined ? texts : all[i]!, bytes, from, ends[i]);
    from = ends[i]!;
  }
  return records;
}

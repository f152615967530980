// Many records as three values: their texts as one string, their payloads as one run of bytes, and
// where each payload ends. What is cloned between threads or written to a database costs by the
// value far more than by the byte. A text is JSON, which has no line break; so that separates texts,
// and there is none if all records have the same.

import type { ItemRecord } from "./storage.ts";

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
  let bytes = 0;
  let isSame = true;
  for (let i = start; i < end; i++) {
    bytes += records[i]!.payload.length;
    ends[i - start] = bytes;
    isSame &&= records[i]!.text === records[start]!.text;
  }
  const payloads = new Uint8Array(bytes);
  let texts = "";
  let at = 0;
  for (let i = start; i < end; i++) {
    const { text, payload } = records[i]!;
    if (i === start) texts = text;
    else if (!isSame) texts += `\n${text}`;
    payloads.set(payload, at);
    at += payload.length;
  }
  return { texts, payloads, ends };
}

/** Unpacks records; their payloads share one run of bytes. */
export function unpackRecords({ texts, payloads, ends }: PackedRecords): ItemRecord[] {
  const bytes = Buffer.from(payloads.buffer, payloads.byteOffset, payloads.length);
  const records: ItemRecord[] = new Array(ends.length);
  const all = texts.includes("\n") ? texts.split("\n") : undefined;
  let from = 0;
  for (let i = 0; i < ends.length; i++) {
    records[i] = {
      text: all === undefined ? texts : all[i]!,
      payload: bytes.subarray(from, ends[i]),
    };
    from = ends[i]!;
  }
  return records;
}

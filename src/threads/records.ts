// Records on their way between threads. What is cloned costs by the object, so the records of a
// request travel as three: their texts as one string, their payloads as one run of bytes, and
// where each payload ends. A text is JSON, which has no line break; so that separates them.

import type { ItemRecord } from "../storage/storage.ts";

export interface PackedRecords {
  readonly texts: string;
  readonly payloads: Uint8Array;
  /** Where each payload ends. */
  readonly ends: Uint32Array;
}

/** Packs records; their payloads are copied. */
export function packRecords(records: readonly ItemRecord[]): PackedRecords {
  const ends = new Uint32Array(records.length);
  let bytes = 0;
  for (let i = 0; i < records.length; i++) {
    bytes += records[i]!.payload.length;
    ends[i] = bytes;
  }
  const payloads = new Uint8Array(bytes);
  let texts = "";
  for (let i = 0; i < records.length; i++) {
    const { text, payload } = records[i]!;
    texts += i === 0 ? text : `\n${text}`;
    payloads.set(payload, ends[i]! - payload.length);
  }
  return { texts, payloads, ends };
}

/** Unpacks records; their payloads share one run of bytes. */
export function unpackRecords({ texts, payloads, ends }: PackedRecords): ItemRecord[] {
  const bytes = Buffer.from(payloads.buffer, payloads.byteOffset, payloads.length);
  const records: ItemRecord[] = new Array(ends.length);
  let textStart = 0;
  let start = 0;
  for (let i = 0; i < ends.length; i++) {
    const textEnd = texts.indexOf("\n", textStart);
    const text = textEnd === -1 ? texts.slice(textStart) : texts.slice(textStart, textEnd);
    textStart = textEnd + 1;
    const end = ends[i]!;
    records[i] = { text, payload: bytes.subarray(start, end) };
    start = end;
  }
  return records;
}

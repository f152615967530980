// Many records as three values: their texts as one string, their payloads as one run of bytes, and
// where each payload ends. What is cloned between threads or written to a database costs by the
// value far more than by the byte.

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
  const first = start < end ? records[start]!.text : "";
  const texts = hasOneText
    ? packOneText(first)
    : packTexts(records.slice(start, end).map(({ text }) => text));
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
  const all = unpackTexts(texts);
  for (let i = 0, from = 0; i < ends.length; i++) {
    const text = typeof all === "string" ? all : (all[i] ?? "");
    records[i] = new ItemRecord(text, bytes, from, ends[i]);
    from = ends[i]!;
  }
  return records;
}

// Texts of one line are separated by line breaks. Where one has more lines than one they are separated by,
// and begin with, what no text has in it, as JSON has neither.
const LINE = "\n";
const RECORD = "\u001e";

/** Many texts as one: only once, if all are the same. */
export function packTexts(texts: readonly string[]): string {
  const [first = ""] = texts;
  if (texts.every((text) => text === first)) return packOneText(first);
  const hasLines = texts.some((text) => text.includes(LINE));
  return hasLines ? RECORD + texts.join(RECORD) : texts.join(LINE);
}

function packOneText(text: string): string {
  return text.includes(LINE) ? RECORD + text : text;
}

/** The texts that were packed; one for all if they are the same. */
export function unpackTexts(packed: string): string | readonly string[] {
  if (packed.startsWith(RECORD)) {
    const texts = packed.slice(1).split(RECORD);
    return texts.length === 1 ? texts[0]! : texts;
  }
  return packed.includes(LINE) ? packed.split(LINE) : packed;
}

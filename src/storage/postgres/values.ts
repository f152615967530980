// How values travel to PostgreSQL and back. Arrays and bytes go there in the binary format, as a
// text of them would cost twice the bytes and a parse; rows come back as text, which is what the
// library reads. Texts of users are `bytea` in the tables: PostgreSQL's own texts cannot hold a NUL.

const ARRAY_HEADER = 20;
const OID = { int8: 20, bytea: 17 } as const;
const TWO_32 = 2 ** 32;

/** A parameter of a statement: a Buffer is in the binary format of its type, the rest is text. */
export type Value = string | number | Buffer | null;

function startArray(oid: number, length: number, bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(ARRAY_HEADER + bytes);
  buffer.writeInt32BE(length === 0 ? 0 : 1, 0); // dimensions
  buffer.writeInt32BE(0, 4); // no NULL in it
  buffer.writeInt32BE(oid, 8);
  buffer.writeInt32BE(length, 12);
  buffer.writeInt32BE(1, 16); // the index of the first
  return length === 0 ? buffer.subarray(0, 12) : buffer;
}

/** An `int8[]`. */
export function int8s(numbers: readonly number[]): Buffer {
  const buffer = startArray(OID.int8, numbers.length, numbers.length * 12);
  let at = ARRAY_HEADER;
  for (const number of numbers) {
    buffer.writeInt32BE(8, at);
    const high = Math.floor(number / TWO_32);
    buffer.writeInt32BE(high, at + 4);
    buffer.writeUInt32BE(number - high * TWO_32, at + 8);
    at += 12;
  }
  return buffer;
}

/** A `bytea[]`. */
export function byteas(values: readonly (Uint8Array | string)[]): Buffer {
  const all = values.map((each) => (typeof each === "string" ? Buffer.from(each) : each));
  const bytes = all.reduce((sum, each) => sum + 4 + each.length, 0);
  const buffer = startArray(OID.bytea, all.length, bytes);
  let at = ARRAY_HEADER;
  for (const each of all) {
    buffer.writeInt32BE(each.length, at);
    buffer.set(each, at + 4);
    at += 4 + each.length;
  }
  return buffer;
}

/** A `bytea`. */
export function bytea(value: string): Buffer {
  return Buffer.from(value);
}

/** An array of texts that need no quotes inside. */
export function plainArray(values: readonly string[]): string {
  return `{${values.map((each) => `"${each}"`).join(",")}}`;
}

/** The bytes of a `bytea` that came back. */
export function bytesOf(text: string | null | undefined): Buffer {
  return Buffer.from((text ?? "").slice(2), "hex");
}

/** The text that was stored as `bytea`. */
export function textOf(text: string | null | undefined): string {
  return bytesOf(text).toString("utf8");
}

// A message as the fuzzer thinks of it: a tree of fields and values that can be written as JSON and
// as Protobuf, also wrongly: fields given twice, fields nobody knows, values of a wrong type, raw
// bytes in place of a value. The writers are not those of the server, so that both sides of an
// agreement cannot be wrong together.

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

export type Value =
  | { readonly kind: "text"; readonly text: string }
  /** A value of JSON, as its text. */
  | { readonly kind: "json"; readonly text: string }
  | { readonly kind: "map"; readonly pairs: readonly (readonly [key: string, value: string])[] }
  | { readonly kind: "int"; readonly int: number }
  | { readonly kind: "double"; readonly double: number }
  | { readonly kind: "bool"; readonly bool: boolean }
  | { readonly kind: "bytes"; readonly bytes: Buffer }
  | { readonly kind: "time"; readonly seconds: number; readonly nanos: number }
  | { readonly kind: "message"; readonly entries: Entry[] }
  | { readonly kind: "list"; readonly values: Value[] }
  | Odd;

/** What no writer would write; it has no meaning that both formats share. */
export interface Odd {
  readonly kind: "odd";
  readonly json: Buffer;
  readonly wireType: WireType;
  readonly wire: Buffer;
}

export interface Entry {
  /** The name of the field in JSON; both that it has are tried. */
  readonly name: string;
  readonly number: number;
  value: Value;
}

/** A value for each format that no writer would write. */
export function odd(json: string | Buffer, wireType: WireType, wire: Buffer | string = ""): Odd {
  return { kind: "odd", json: Buffer.from(json), wireType, wire: Buffer.from(wire) };
}

/** All entries of a tree that hold a value, also those of messages within. */
export function entriesOf(entries: readonly Entry[]): readonly Entry[] {
  return entries.flatMap((entry) => {
    const { value } = entry;
    if (value.kind === "message") return [entry, ...entriesOf(value.entries)];
    if (value.kind !== "list") return [entry];
    const inner = value.values.flatMap((each) =>
      each.kind === "message" ? entriesOf(each.entries) : [],
    );
    return [entry, ...inner];
  });
}

// --- JSON ---

export interface JsonStyle {
  /** Every character as an escape, where JSON allows it. */
  readonly escapes: boolean;
  /** White space wherever it may stand. */
  readonly spaces: boolean;
}

/** As usual clients write it. */
export const PLAIN: JsonStyle = { escapes: false, spaces: false };

/** Writes a message as JSON. */
export function toJson(entries: readonly Entry[], style: JsonStyle = PLAIN): Buffer {
  const pieces: Buffer[] = [];
  writeObject(entries, style, pieces);
  return Buffer.concat(pieces);
}

function writeObject(entries: readonly Entry[], style: JsonStyle, pieces: Buffer[]): void {
  const space = style.spaces ? " \n\t\r" : "";
  let before = "{";
  for (const { name, value } of entries) {
    pieces.push(Buffer.from(`${before}${space}${quote(name, style)}${space}:${space}`));
    writeJson(value, style, pieces);
    before = ",";
  }
  pieces.push(Buffer.from(before === "{" ? "{}" : `${space}}`));
}

function writeJson(value: Value, style: JsonStyle, pieces: Buffer[]): void {
  switch (value.kind) {
    case "text":
      pieces.push(Buffer.from(quote(value.text, style)));
      break;
    case "json":
      pieces.push(Buffer.from(value.text));
      break;
    case "map": {
      const pairs = value.pairs.map(([key, each]) => `${quote(key, style)}:${quote(each, style)}`);
      pieces.push(Buffer.from(`{${pairs.join(",")}}`));
      break;
    }
    case "int":
      pieces.push(Buffer.from(String(value.int)));
      break;
    case "double":
      pieces.push(Buffer.from(String(value.double)));
      break;
    case "bool":
      pieces.push(Buffer.from(String(value.bool)));
      break;
    case "bytes":
      pieces.push(Buffer.from(`"${value.bytes.toString("base64")}"`));
      break;
    case "time":
      pieces.push(Buffer.from(`"${timeText(value.seconds, value.nanos)}"`));
      break;
    case "message":
      writeObject(value.entries, style, pieces);
      break;
    case "list":
      for (const [i, each] of value.values.entries()) {
        pieces.push(Buffer.from(i === 0 ? "[" : ","));
        writeJson(each, style, pieces);
      }
      pieces.push(Buffer.from(value.values.length === 0 ? "[]" : "]"));
      break;
    case "odd":
      pieces.push(value.json);
      break;
  }
}

function quote(text: string, { escapes }: JsonStyle): string {
  if (!escapes) return JSON.stringify(text);
  const escaped = Array.from({ length: text.length }, (_, i) => text.charCodeAt(i))
    .map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`)
    .join("");
  return `"${escaped}"`;
}

function timeText(seconds: number, nanos: number): string {
  const whole = new Date(seconds * 1000).toISOString().slice(0, -5);
  return nanos === 0 ? `${whole}Z` : `${whole}.${String(nanos).padStart(9, "0")}Z`;
}

// --- Protobuf ---

/** Writes a message as binary Protobuf. */
export function toProtobuf(entries: readonly Entry[]): Buffer {
  const writer = new BinaryWriter();
  writeFields(entries, writer);
  return Buffer.from(writer.finish());
}

function writeFields(entries: readonly Entry[], writer: BinaryWriter): void {
  for (const { number, value } of entries) {
    if (value.kind !== "list") writeField(number, value, writer);
    else for (const each of value.values) writeField(number, each, writer);
  }
}

function writeField(number: number, value: Value, writer: BinaryWriter): void {
  switch (value.kind) {
    case "text":
    case "json":
      writer.tag(number, WireType.LengthDelimited).string(value.text);
      break;
    case "map":
      for (const [key, each] of value.pairs) {
        writer.tag(number, WireType.LengthDelimited).fork();
        writer.tag(1, WireType.LengthDelimited).string(key);
        writer.tag(2, WireType.LengthDelimited).string(each);
        writer.join();
      }
      break;
    case "int":
      writer.tag(number, WireType.Varint).int32(value.int);
      break;
    case "double":
      writer.tag(number, WireType.Bit64).double(value.double);
      break;
    case "bool":
      writer.tag(number, WireType.Varint).bool(value.bool);
      break;
    case "bytes":
      writer.tag(number, WireType.LengthDelimited).bytes(value.bytes);
      break;
    case "time":
      writer.tag(number, WireType.LengthDelimited).fork();
      writer.tag(1, WireType.Varint).int64(value.seconds);
      writer.tag(2, WireType.Varint).int32(value.nanos);
      writer.join();
      break;
    case "message":
      writer.tag(number, WireType.LengthDelimited).fork();
      writeFields(value.entries, writer);
      writer.join();
      break;
    case "list":
      throw new Error("a list within a list has no Protobuf");
    case "odd":
      writer.tag(number, value.wireType);
      if (value.wireType === WireType.LengthDelimited) writer.bytes(value.wire);
      else writer.raw(value.wire);
      break;
  }
}

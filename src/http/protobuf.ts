// Binary Protobuf over the library's reader and writer, driven by the same tables as JSON. Fields
// that are not known are passed over; text that is not UTF-8 is an error.

import { isUtf8 } from "node:buffer";
import type { DescMessage } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { QueueError } from "../errors.ts";
import {
  type Decoded,
  ENTRIES_MAX,
  type Encodable,
  type Field,
  type Table,
  tableOf,
  tooManyEntries,
} from "./message.ts";
import { isWritable, toMicros } from "./timestamp.ts";

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Decodes a message; throws a QueueError (455). An empty body is a message with nothing set. */
export function decodeProtobuf<Desc extends DescMessage>(
  schema: Desc,
  body: Buffer,
): Decoded<Desc> {
  try {
    return decodeMessage(tableOf(schema), new BinaryReader(body), body.length) as Decoded<Desc>;
  } catch (error) {
    if (error instanceof QueueError) throw error;
    throw new QueueError("content", `proto: cannot parse the body: ${(error as Error).message}`);
  }
}

function decodeMessage(table: Table, reader: BinaryReader, end: number): Record<string, unknown> {
  const message: Record<string, unknown> = { ...table.defaults };
  while (reader.pos < end) {
    const [number, wireType] = reader.tag();
    const field = table.byNumber.get(number);
    if (field === undefined || wireType !== wireTypeOf(field)) {
      reader.skip(wireType, number);
      continue;
    }
    const value = decodeValue(field, reader);
    if (!field.repeated) {
      message[field.name] = value;
    } else {
      const list = message[field.name] as unknown[];
      if (list.length === ENTRIES_MAX) throw tooManyEntries(field);
      if (list.length === 0) message[field.name] = [value];
      else list.push(value);
    }
  }
  if (reader.pos > end) throw new Error("a field is longer than what holds it");
  return message;
}

function decodeValue(field: Field, reader: BinaryReader): unknown {
  switch (field.type) {
    case "string":
      return decodeText(field, reader);
    case "int32":
      return reader.int32();
    case "bool":
      return reader.bool();
    case "bytes":
      return Buffer.from(reader.bytes()); // a copy: it outlives the body, which may be far larger
    case "timestamp":
      return decodeTimestamp(field, reader, endOf(reader));
    case "message":
      return decodeMessage(field.table!, reader, endOf(reader));
  }
}

// What is not UTF-8 is decoded with the replacement character: only a text that has it may be wrong.
function decodeText(field: Field, reader: BinaryReader): string {
  const bytes = reader.bytes();
  const text = utf8.decode(bytes);
  if (text.includes("\ufffd") && !isUtf8(bytes)) {
    throw new QueueError("content", `proto: field ${field.jsonName} is not valid UTF-8`);
  }
  return text;
}

function endOf(reader: BinaryReader): number {
  const length = reader.uint32();
  const end = reader.pos + length;
  if (end > reader.len) throw new Error("a field is longer than the body");
  return end;
}

function decodeTimestamp(field: Field, reader: BinaryReader, end: number): number {
  let seconds = 0;
  let nanos = 0;
  while (reader.pos < end) {
    const [number, wireType] = reader.tag();
    if (number === 1 && wireType === WireType.Varint) seconds = Number(reader.int64());
    else if (number === 2 && wireType === WireType.Varint) nanos = reader.int32();
    else reader.skip(wireType, number);
  }
  if (reader.pos > end) throw new Error("a field is longer than what holds it");
  const valid = isWritable(seconds) && nanos >= 0 && nanos < 1e9;
  if (!valid) throw new QueueError("content", `proto: field ${field.jsonName} is not a valid time`);
  return toMicros(seconds, Math.floor(nanos / 1000));
}

function wireTypeOf(field: Field): WireType {
  return field.type === "int32" || field.type === "bool"
    ? WireType.Varint
    : WireType.LengthDelimited;
}

/** Encodes a message; defaults are left out. */
export function encodeProtobuf<Desc extends DescMessage>(
  schema: Desc,
  message: Encodable<Desc>,
): Uint8Array {
  const writer = new BinaryWriter();
  encodeMessage(tableOf(schema), writer, message as Record<string, unknown>);
  return writer.finish();
}

function encodeMessage(table: Table, writer: BinaryWriter, message: Record<string, unknown>): void {
  for (const field of table.fields) {
    const value = message[field.name];
    if (value === undefined) continue;
    if (field.repeated)
      for (const each of value as unknown[]) encodeValue(field, writer, each, true);
    else encodeValue(field, writer, value, false);
  }
}

function encodeValue(field: Field, writer: BinaryWriter, value: unknown, always: boolean): void {
  if (!always && isDefault(value)) return;
  writer.tag(field.number, wireTypeOf(field));
  switch (field.type) {
    case "string":
      writer.string(value as string);
      break;
    case "int32":
      writer.int32(value as number);
      break;
    case "bool":
      writer.bool(value as boolean);
      break;
    case "bytes":
      writer.bytes(value as Uint8Array);
      break;
    case "timestamp": {
      const seconds = Math.floor((value as number) / 1_000_000);
      const nanos = Math.round((value as number) - seconds * 1_000_000) * 1000;
      writer.fork();
      if (seconds !== 0) writer.tag(1, WireType.Varint).int64(seconds);
      if (nanos !== 0) writer.tag(2, WireType.Varint).int32(nanos);
      writer.join();
      break;
    }
    case "message":
      writer.fork();
      encodeMessage(field.table!, writer, value as Record<string, unknown>);
      writer.join();
      break;
  }
}

function isDefault(value: unknown): boolean {
  return (
    value === 0 ||
    value === "" ||
    value === false ||
    (value instanceof Uint8Array && value.length === 0)
  );
}

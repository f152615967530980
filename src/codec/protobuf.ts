// Binary Protobuf over the library's reader and writer, driven by the same tables as JSON. Fields
// that are not known are passed over under /v1, and refused under /v2; text that is not UTF-8 is an error.

import { isUtf8 } from "node:buffer";
import type { DescMessage } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { QueueError } from "../errors.ts";
import { join } from "./complaints.ts";
import { expectedOf, TOO_MANY_ENTRIES } from "./convert.ts";
import { isJson } from "./json-text.ts";
import {
  type Decoded,
  ENTRIES_MAX,
  type Encodable,
  type Field,
  NO_ENTRIES,
  putEntry,
  type Table,
  tableOf,
} from "./message.ts";
import { isWritable, toMicros } from "./timestamp.ts";

// As the library has it.
const GROUPS_MAX = 100;
// Far more than one needs, with fields that we do not know.
const TIME_BYTES_MAX = 4_096;

const NO_JSON = "must be the text of one value in JSON, with no space before or behind it";

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Decodes a message; throws a QueueError (455). An empty body is a message with nothing set. */
export function decodeProtobuf<Desc extends DescMessage>(
  schema: Desc,
  body: Buffer,
): Decoded<Desc> {
  const table = tableOf(schema);
  try {
    return decodeMessage(table, new BinaryReader(body), body.length) as Decoded<Desc>;
  } catch (error) {
    throw toQueueError(error, table);
  }
}

/** The same in pieces: yields whenever so many more bytes have been read. */
export function* readProtobuf<Desc extends DescMessage>(
  schema: Desc,
  body: Buffer,
  pieceBytes: number,
): Generator<undefined, Decoded<Desc>> {
  const reader = new BinaryReader(body);
  const table = tableOf(schema);
  try {
    return (yield* readMessage(table, reader, body.length, pieceBytes)) as Decoded<Desc>;
  } catch (error) {
    throw toQueueError(error, table);
  }
}

// A field that is not known, in a message where that is an error.
class UnknownField extends Error {
  path: string;

  constructor(number: number) {
    super("unknown field");
    this.path = String(number);
  }
}

// What is wrong with one field, whose path grows while the error leaves the messages that hold it.
class BadField extends Error {
  path: string;

  constructor({ jsonName }: Field, what: string) {
    super(what);
    this.path = jsonName;
  }
}

function toQueueError(error: unknown, { complaints }: Table): QueueError {
  if (error instanceof BadField) return complaints.bad(error.path, error.message);
  if (error instanceof UnknownField) return complaints.unknownNumber!(error.path);
  return complaints.unreadable(`cannot parse the body: ${(error as Error).message}`);
}

// The same error, seen from the message that holds the field.
function within(error: unknown, field: Field, message: Record<string, unknown>): unknown {
  if (error instanceof BadField || error instanceof UnknownField) {
    const list = message[field.name];
    const place = field.repeated
      ? join(field.jsonName, (list as unknown[]).length)
      : field.jsonName;
    error.path = join(place, error.path);
  }
  return error;
}

function decodeMessage(table: Table, reader: BinaryReader, end: number): Record<string, unknown> {
  const message: Record<string, unknown> = { ...table.defaults };
  let entries = 0;
  while (reader.pos < end) {
    const [number, wireType] = reader.tag();
    const field = table.byNumber.get(number);
    if (field !== undefined && wireType === wireTypeOf(field)) {
      if (field.type !== "map") put(message, field, decodeField(field, reader, message));
      else decodeEntry(message, field, reader, ++entries);
    } else {
      checkPassable(table, number);
      if (wireType !== WireType.StartGroup) reader.skip(wireType, number);
      else finish(passGroup(reader, number, end, end));
    }
  }
  if (reader.pos > end) throw new Error("a field is longer than what holds it");
  return message;
}

function* readMessage(
  table: Table,
  reader: BinaryReader,
  end: number,
  pieceBytes: number,
): Generator<undefined, Record<string, unknown>> {
  const message: Record<string, unknown> = { ...table.defaults };
  let pieceEnd = reader.pos + pieceBytes;
  let entries = 0;
  while (reader.pos < end) {
    if (reader.pos >= pieceEnd) {
      yield;
      pieceEnd = reader.pos + pieceBytes;
    }
    const [number, wireType] = reader.tag();
    const field = table.byNumber.get(number);
    if (field === undefined || wireType !== wireTypeOf(field)) {
      checkPassable(table, number);
      if (wireType !== WireType.StartGroup) reader.skip(wireType, number);
      else yield* passGroup(reader, number, end, pieceBytes);
    } else if (field.type === "map") {
      decodeEntry(message, field, reader, ++entries);
    } else if (field.type !== "message") {
      put(message, field, decodeValue(field, reader));
    } else {
      const at = reader.pos;
      const fieldEnd = endOf(reader);
      if (fieldEnd - reader.pos <= pieceBytes) {
        reader.pos = at;
        put(message, field, decodeField(field, reader, message));
        continue;
      }
      try {
        put(message, field, yield* readMessage(field.table!, reader, fieldEnd, pieceBytes));
      } catch (error) {
        throw within(error, field, message);
      }
    }
  }
  if (reader.pos > end) throw new Error("a field is longer than what holds it");
  return message;
}

// A known field whose bytes are of another kind is as good as unknown: a later version may have changed it.
function checkPassable({ complaints }: Table, number: number): void {
  if (complaints.unknownNumber !== undefined) throw new UnknownField(number);
}

// Passes over the rest of a group, an old form of message that ends with a tag of its own. The
// library would go on past the end of what holds the group.
function* passGroup(
  reader: BinaryReader,
  number: number,
  end: number,
  pieceBytes: number,
): Generator<undefined, void> {
  const open = [number];
  let pieceEnd = reader.pos + pieceBytes;
  while (open.length > 0) {
    if (reader.pos >= end) throw new Error("a group has no end");
    if (reader.pos >= pieceEnd) {
      yield;
      pieceEnd = reader.pos + pieceBytes;
    }
    const [inner, wireType] = reader.tag();
    if (wireType === WireType.StartGroup) {
      if (open.push(inner) > GROUPS_MAX) throw new Error("groups are nested too deeply");
    } else if (wireType !== WireType.EndGroup) reader.skip(wireType, inner);
    else if (open.pop() !== inner) throw new Error("a group ends that has not begun");
  }
}

function finish(reading: Generator<undefined, void>): void {
  while (reading.next().done !== true);
}

function put(message: Record<string, unknown>, field: Field, value: unknown): void {
  if (!field.repeated) {
    message[field.name] = value;
    return;
  }
  const list = message[field.name] as unknown[];
  if (list.length === ENTRIES_MAX) throw new BadField(field, TOO_MANY_ENTRIES);
  if (list.length === 0) message[field.name] = [value];
  else list.push(value);
}

// One value, also of a message, whose errors come with the path that leads into it.
function decodeField(
  field: Field,
  reader: BinaryReader,
  message: Record<string, unknown>,
): unknown {
  if (field.type !== "message") return decodeValue(field, reader);
  try {
    return decodeMessage(field.table!, reader, endOf(reader));
  } catch (error) {
    throw within(error, field, message);
  }
}

function decodeValue(field: Field, reader: BinaryReader): unknown {
  switch (field.type) {
    case "string":
      return decodeText(field, reader);
    case "json": {
      const text = decodeText(field, reader);
      if (text !== "" && !isJson(text)) throw new BadField(field, NO_JSON);
      return text;
    }
    case "int32":
      return reader.int32();
    case "double": {
      const number = reader.double();
      if (!Number.isFinite(number)) throw new BadField(field, "is not a number");
      return number + 0;
    }
    case "int64": {
      const number = Number(reader.int64());
      if (!Number.isSafeInteger(number)) throw new BadField(field, `must be ${expectedOf(field)}`);
      return number;
    }
    case "bool":
      return reader.bool();
    case "bytes":
      return Buffer.from(reader.bytes()); // a copy: it outlives the body, which may be far larger
    case "timestamp":
      return decodeTimestamp(field, reader, endOf(reader));
  }
}

// One entry of a map is a message with a key and a value; of several with one key the last counts.
function decodeEntry(
  message: Record<string, unknown>,
  field: Field,
  reader: BinaryReader,
  entries: number,
): void {
  if (entries > ENTRIES_MAX) throw new BadField(field, TOO_MANY_ENTRIES);
  const end = endOf(reader);
  let [key, value] = ["", ""];
  while (reader.pos < end) {
    const [number, wireType] = reader.tag();
    if (number === 1 && wireType === WireType.LengthDelimited) key = decodeText(field, reader);
    else if (number === 2 && wireType === WireType.LengthDelimited)
      value = decodeText(field, reader);
    else if (wireType !== WireType.StartGroup) reader.skip(wireType, number);
    else finish(passGroup(reader, number, end, end));
  }
  if (reader.pos > end) throw new Error("a field is longer than what holds it");
  if (message[field.name] === NO_ENTRIES) message[field.name] = {};
  putEntry(message[field.name] as Record<string, string>, key, value);
}

// What is not UTF-8 is decoded with the replacement character: only a text that has it may be wrong.
function decodeText(field: Field, reader: BinaryReader): string {
  const bytes = reader.bytes();
  const text = utf8.decode(bytes);
  if (text.includes("\ufffd") && !isUtf8(bytes)) {
    throw new BadField(field, "is not valid UTF-8");
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
  if (end - reader.pos > TIME_BYTES_MAX) throw new Error("a time takes too many bytes");
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
  if (!valid) throw new BadField(field, "is not a valid time");
  return toMicros(seconds, Math.floor(nanos / 1000));
}

function wireTypeOf(field: Field): WireType {
  if (field.type === "double") return WireType.Bit64;
  return field.type === "int32" || field.type === "int64" || field.type === "bool"
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
    if (field.repeated) encodeList(field, writer, value as unknown[]);
    else if (field.type === "map") encodeEntries(field, writer, value as Record<string, string>);
    else encodeValue(field, writer, value, field.isOptional);
  }
}

// Numbers stand behind each other, with one tag for all, as proto3 has it.
function encodeList(field: Field, writer: BinaryWriter, list: readonly unknown[]): void {
  if (wireTypeOf(field) === WireType.LengthDelimited) {
    for (const each of list) encodeValue(field, writer, each, true);
    return;
  }
  if (list.length === 0) return;
  writer.tag(field.number, WireType.LengthDelimited).fork();
  for (const each of list) encodeScalar(field, writer, each);
  writer.join();
}

function encodeScalar({ type }: Field, writer: BinaryWriter, value: unknown): void {
  switch (type) {
    case "int32":
      writer.int32(value as number);
      break;
    case "int64":
      writer.int64(value as number);
      break;
    case "double":
      writer.double(value as number);
      break;
    default:
      writer.bool(value as boolean);
  }
}

function encodeValue(field: Field, writer: BinaryWriter, value: unknown, always: boolean): void {
  if (!always && isDefault(value)) return;
  writer.tag(field.number, wireTypeOf(field));
  switch (field.type) {
    case "string":
    case "json":
      writer.string(value as string);
      break;
    case "int32":
    case "int64":
    case "double":
    case "bool":
      encodeScalar(field, writer, value);
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

function encodeEntries(field: Field, writer: BinaryWriter, map: Record<string, string>): void {
  for (const [key, value] of Object.entries(map)) {
    writer.tag(field.number, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string(key);
    writer.tag(2, WireType.LengthDelimited).string(value);
    writer.join();
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

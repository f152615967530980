// Messages to and from JSON, in the form that Protobuf defines (the protojson mapping) and strictly: unknown
// fields, fields given twice and values of the wrong type are errors, for a client that is misunderstood must
// hear of it. Two things differ from protojson: numbers of 64 bits are JSON numbers, as far as JavaScript has
// them, and a field that is `raw_json` in proto/ takes any value, which is kept as its text.
//
// A body is parsed by JSON.parse, all at once; one pass over the result checks and converts it. Bodies that
// this cannot do are left to json-reader.ts: large ones, which would hold up everybody else, and those with
// a `raw_json` value, of which JSON.parse does not tell the text.

import { isUtf8 } from "node:buffer";
import type { DescMessage } from "@bufbuild/protobuf";
import { type Complaints, join, shown } from "./complaints.ts";
import { checkEntry, convert, TOO_MANY_ENTRIES } from "./convert.ts";
import { readJsonAtOnce } from "./json-reader.ts";
import {
  type Decoded,
  ENTRIES_MAX,
  type Encodable,
  type Field,
  putEntry,
  Seen,
  type Table,
  tableOf,
} from "./message.ts";
import { formatTimestamp } from "./timestamp.ts";

/** Decodes a message; throws a QueueError that names the field. */
export function decodeJson<Desc extends DescMessage>(schema: Desc, body: Buffer): Decoded<Desc> {
  const table = tableOf(schema);
  const { complaints } = table;
  if (!isUtf8(body)) throw complaints.unreadable("the body is not valid UTF-8");
  const text = body.toString();
  // The name may stand there for something else, which is then read in a way that takes longer.
  if (table.hasJson && body.includes(JSON_MEMBER)) return readJsonAtOnce(schema, text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw complaints.unreadable(
      body.length === 0 ? "the body is empty" : `syntax error: ${(error as Error).message}`,
    );
  }
  const decoder = new Decoder(complaints, text.includes("\\"));
  const message = decoder.message(table, value, "");
  if (decoder.hasJson) return readJsonAtOnce(schema, text);
  // JSON.parse keeps the last of several members with the same name and is silent about it. There
  // are none if what was decoded accounts for every character; else the members are counted.
  if (decoder.length !== text.length && decoder.members !== countMembers(body)) {
    throw complaints.twice("");
  }
  return message as Decoded<Desc>;
}

// What begins a member that is kept as its text, unless its name is written with escapes.
const JSON_MEMBER = '"json"';

class Decoder {
  /** Members of objects seen so far. */
  members = 0;
  /** The fewest characters that can say what was seen so far. */
  length = 0;
  /** Whether there was a value that is kept as its text. */
  hasJson = false;
  readonly #complaints: Complaints;
  readonly #escapes: boolean;

  constructor(complaints: Complaints, escapes: boolean) {
    this.#complaints = complaints;
    this.#escapes = escapes;
  }

  message(table: Table, value: unknown, path: string): Record<string, unknown> {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw this.#complaints.wrong(path, "an object", shown(value));
    }
    const message: Record<string, unknown> = { ...table.defaults };
    // In bits, as nearly all messages have few fields: an object for each message would be felt.
    let seen = 0;
    let others: Seen | undefined;
    let isFirst = true;
    this.length += BRACKETS;
    for (const key in value) {
      const field = table.byName.get(key);
      if (field === undefined) throw this.#complaints.unknownField(table, path, key);
      const bit = field.index < 32 ? 1 << field.index : 0;
      if (bit === 0) others ??= new Seen();
      const isTwice = bit === 0 ? others!.add(field) : (seen & bit) !== 0;
      if (isTwice) throw this.#complaints.twice(join(path, key));
      seen |= bit;
      // A comma after the first, the quotes and the colon.
      this.length += (isFirst ? 3 : 4) + key.length;
      isFirst = false;
      this.members++;
      const given = (value as Record<string, unknown>)[key];
      if (field.type === "json") this.hasJson = true;
      else if (given === null) this.length += 4;
      else if (field.repeated) message[field.name] = this.#list(field, given, join(path, key));
      else message[field.name] = this.#value(field, given, path, key);
    }
    return message;
  }

  #list(field: Field, value: unknown, path: string): unknown[] {
    if (!Array.isArray(value)) throw this.#complaints.wrong(path, "a list", shown(value));
    if (value.length > ENTRIES_MAX) throw this.#complaints.bad(path, TOO_MANY_ENTRIES);
    this.length += BRACKETS + Math.max(value.length - 1, 0);
    const list: unknown[] = new Array(value.length);
    for (let i = 0; i < value.length; i++) list[i] = this.#value(field, value[i], path, i);
    return list;
  }

  #value(field: Field, value: unknown, path: string, key: string | number): unknown {
    // Numbers have shorter forms than their own, so only digits that cannot be said shorter count.
    if (typeof value === "string") this.length += value.length + 2;
    else if (typeof value === "boolean") this.length += value ? 4 : 5;
    else if (typeof value === "number") this.length += digits(value);
    if (field.type === "message") return this.message(field.table!, value, join(path, key));
    if (field.type === "map") return this.#map(value, join(path, key));
    return convert(field, value, this.#escapes, path, key, this.#complaints);
  }

  #map(value: unknown, path: string): Record<string, string> {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw this.#complaints.wrong(path, "an object", shown(value));
    }
    const map: Record<string, string> = {};
    this.length += BRACKETS;
    let entries = 0;
    for (const key in value) {
      const entry = (value as Record<string, unknown>)[key];
      checkEntry(key, entry, path, this.#complaints);
      if (++entries > ENTRIES_MAX) throw this.#complaints.bad(path, TOO_MANY_ENTRIES);
      this.length += (entries === 1 ? 5 : 6) + key.length + entry.length;
      this.members++;
      putEntry(map, key, entry);
    }
    return map;
  }
}

// The digits of a small number; of any other at least as many characters as it must have.
function digits(number: number): number {
  return number >= 0 && number < 1_000 ? String(number).length : 1;
}

const BRACKETS = 2;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

// The members of all objects in a valid JSON text, by their colons.
function countMembers(body: Buffer): number {
  let members = 0;
  for (let i = 0; i < body.length; i++) {
    const byte = body[i]!;
    if (byte === COLON) members++;
    else if (byte === QUOTE) i = endOfText(body, i + 1);
  }
  return members;
}

// Where the text ends that goes on at `from`: at its last quote, or at the end of all. A long one is
// passed over natively from quote to quote; looking for backslashes in the same way, far ahead, would
// make all texts together cost the square of their number.
function endOfText(body: Buffer, from: number): number {
  const near = Math.min(from + 64, body.length);
  for (let i = from; i < near; i++) {
    if (body[i] === QUOTE) return i;
    if (body[i] === BACKSLASH) return endOfEscaped(body, i);
  }
  const end = body.indexOf(QUOTE, near);
  if (end === -1) return body.length;
  return body[end - 1] === BACKSLASH ? endOfEscaped(body, near) : end;
}

// The same of a text in which there are escapes, or may be.
function endOfEscaped(body: Buffer, from: number): number {
  let i = from;
  for (; i < body.length && body[i] !== QUOTE; i++) if (body[i] === BACKSLASH) i++;
  return Math.min(i, body.length);
}

/**
 * Encodes a message: fields in order of their numbers, defaults left out. Of /v2 a list that is given is there also
 * if it is empty, so that clients find it in every reply that has one.
 */
export function encodeJson<Desc extends DescMessage>(
  schema: Desc,
  message: Encodable<Desc>,
): string {
  return encodeMessage(tableOf(schema), message as Record<string, unknown>);
}

function encodeMessage(table: Table, message: Record<string, unknown>): string {
  let text = "";
  for (const field of table.fields) {
    const value = message[field.name];
    if (value === undefined) continue;
    const encoded = field.repeated
      ? encodeList(field, value as unknown[])
      : encodeValue(field, value);
    if (encoded !== "") text += `${text === "" ? "" : ","}"${field.jsonName}":${encoded}`;
  }
  return `{${text}}`;
}

function encodeList(field: Field, list: readonly unknown[]): string {
  if (list.length === 0) return field.saysEmpty ? "[]" : "";
  if (field.type !== "message") return JSON.stringify(list);
  return `[${list.map((each) => encodeMessage(field.table!, each as Record<string, unknown>)).join(",")}]`;
}

// "" for a default, which is left out.
function encodeValue(field: Field, value: unknown): string {
  switch (field.type) {
    case "string":
      return value === "" && !field.isOptional ? "" : JSON.stringify(value);
    case "int32":
    case "int64":
    case "double":
      return value === 0 && !field.isOptional ? "" : String(value);
    case "bool":
      return value === true || field.isOptional ? String(value) : "";
    case "json":
      return value as string;
    case "map": {
      const entries = JSON.stringify(value);
      return entries === "{}" ? "" : entries;
    }
    case "bytes":
      return (value as Uint8Array).length === 0 ? "" : `"${base64(value as Uint8Array)}"`;
    case "timestamp":
      return value === 0 ? "" : `"${formatTimestamp(value as number)}"`;
    case "message":
      return encodeMessage(field.table!, value as Record<string, unknown>);
  }
}

// Standard base64 with padding.
function base64(bytes: Uint8Array): string {
  const buffer = Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return buffer.toString("base64");
}

// JSON as Protobuf defines it (the protojson mapping), strictly: unknown fields, fields given
// twice and values of the wrong type are errors, for a client that is misunderstood must hear of
// it. Parsing is native; one pass over the result checks and converts it. That is for bodies that are
// not large, for it is done in one go: larger ones are for json-reader.ts.

import { isUtf8 } from "node:buffer";
import type { DescMessage } from "@bufbuild/protobuf";
import { QueueError, queueError } from "../errors.ts";
import {
  type Decoded,
  ENTRIES_MAX,
  type Encodable,
  type Field,
  type FieldType,
  type Table,
  tableOf,
  tooManyEntries,
} from "./message.ts";
import { formatTimestamp, parseTimestamp } from "./timestamp.ts";

/** Decodes a message; throws a QueueError (455) that names the field. */
export function decodeJson<Desc extends DescMessage>(schema: Desc, body: Buffer): Decoded<Desc> {
  if (!isUtf8(body)) throw problem("the body is not valid UTF-8");
  const text = body.toString();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw problem(
      body.length === 0 ? "the body is empty" : `syntax error: ${(error as Error).message}`,
    );
  }
  const decoder = new Decoder(body.includes(BACKSLASH));
  const message = decoder.message(tableOf(schema), value, "");
  // JSON.parse keeps the last of several members with the same name and is silent about it. There
  // are none if what was decoded accounts for every character; else the members are counted.
  if (decoder.length !== text.length && decoder.members !== countMembers(body)) {
    throw problem("a field is given more than once");
  }
  return message as Decoded<Desc>;
}

class Decoder {
  /** Members of objects seen so far. */
  members = 0;
  /** The fewest characters that can say what was seen so far. */
  length = 0;
  readonly #escapes: boolean;

  constructor(escapes: boolean) {
    this.#escapes = escapes;
  }

  message(table: Table, value: unknown, path: string): Record<string, unknown> {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw wrong(path, "an object", value);
    }
    const message: Record<string, unknown> = { ...table.defaults };
    let seen = 0;
    this.length += BRACKETS;
    for (const key in value) {
      const field = table.byName.get(key);
      if (field === undefined) throw unknownField(show(join(path, key)));
      if ((seen & (1 << field.index)) !== 0) {
        throw problem(`field ${join(path, key)} is given more than once`);
      }
      // A comma after the first, the quotes and the colon.
      this.length += (seen === 0 ? 3 : 4) + key.length;
      seen |= 1 << field.index;
      this.members++;
      const given = (value as Record<string, unknown>)[key];
      if (given === null) {
        this.length += 4;
        continue;
      }
      message[field.name] = field.repeated
        ? this.#list(field, given, join(path, key))
        : this.#value(field, given, path, key);
    }
    return message;
  }

  #list(field: Field, value: unknown, path: string): unknown[] {
    if (!Array.isArray(value)) throw wrong(path, "a list", value);
    if (value.length > ENTRIES_MAX) throw tooManyEntries(field);
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
    return convert(field, value, this.#escapes, path, key);
  }
}

/** Checks and converts a value that is no message; `escapes` tells whether it may be no Unicode. */
export function convert(
  field: Field,
  value: unknown,
  escapes: boolean,
  path: string,
  key: string | number,
): unknown {
  switch (field.type) {
    case "string":
      if (typeof value !== "string") break;
      if (escapes && !value.isWellFormed()) throw wrong(join(path, key), "valid Unicode", value);
      return value;
    case "int32": {
      const number = typeof value === "string" ? parseNumber(value) : value;
      if (typeof number !== "number" || (number | 0) !== number) break;
      return number | 0;
    }
    case "bool":
      if (typeof value !== "boolean") break;
      return value;
    case "bytes": {
      const bytes = decodeBase64(value);
      if (bytes === undefined) break;
      return bytes;
    }
    case "timestamp": {
      const time = typeof value === "string" ? parseTimestamp(value) : undefined;
      if (time === undefined) break;
      return time;
    }
  }
  throw wrong(join(path, key), expectedOf(field), value);
}

/** What a value of a field must be, for messages. */
export function expectedOf({ type }: Field): string {
  return EXPECTED[type];
}

const EXPECTED = {
  string: "a string",
  int32: "a whole number of 32 bits",
  bool: "true or false",
  bytes: "base64",
  timestamp: "a time as in RFC 3339",
  message: "an object",
} as const satisfies Record<FieldType, string>;

function parseNumber(text: string): number | undefined {
  return /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(text) ? Number(text) : undefined;
}

// Buffer.from passes over what is no base64, so a result that is too short shows it.
function decodeBase64(value: unknown): Buffer | undefined {
  if (typeof value !== "string") return undefined;
  let digits = value.length;
  while (digits > 0 && value.length - digits < 2 && value[digits - 1] === "=") digits--;
  if (digits % 4 === 1 || (digits < value.length && value.length % 4 !== 0)) return undefined;
  const bytes = Buffer.from(value, "base64");
  return bytes.length === Math.floor((digits * 3) / 4) ? bytes : undefined;
}

// The digits of a small number; of any other at least as many characters as it must have.
function digits(number: number): number {
  return number >= 0 && number < 1_000 ? String(number).length : 1;
}

const SHOWN_MAX = 100;
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

/** Encodes a message: fields in order of their numbers, defaults left out. */
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
  if (list.length === 0) return "";
  if (field.type !== "message") return JSON.stringify(list);
  return `[${list.map((each) => encodeMessage(field.table!, each as Record<string, unknown>)).join(",")}]`;
}

// "" for a default, which is left out.
function encodeValue(field: Field, value: unknown): string {
  switch (field.type) {
    case "string":
      return value === "" ? "" : JSON.stringify(value);
    case "int32":
      return value === 0 ? "" : String(value);
    case "bool":
      return value === true ? "true" : "";
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

// --- errors ---

export function problem(text: string): QueueError {
  return new QueueError("content", `proto: ${text.toWellFormed()}`); // it may quote what was sent
}

export function unknownField(field: string): QueueError {
  return queueError("unknown_field", { field: field.toWellFormed() });
}

export function wrong(path: string, expected: string, value: unknown): QueueError {
  // No more than is shown of it.
  const shown = typeof value === "string" ? value.slice(0, SHOWN_MAX + 1) : value;
  return wrongText(path, expected, JSON.stringify(shown) ?? "nothing");
}

export function wrongText(path: string, expected: string, text: string): QueueError {
  const where = path === "" ? "the body" : `field ${show(path)}`;
  return problem(`${where} must be ${expected}, not ${show(text)}`);
}

export function join(path: string, key: string | number): string {
  if (typeof key === "number") return `${path}[${key}]`;
  return path === "" ? key : `${path}.${key}`;
}

export function show(text: string): string {
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}...` : text;
}

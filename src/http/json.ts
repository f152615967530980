// JSON as Protobuf defines it (the protojson mapping), strictly: unknown fields, fields given
// twice and values of the wrong type are errors, for a client that is misunderstood must hear of
// it. Parsing is native; one pass over the result checks and converts it.

import { isUtf8 } from "node:buffer";
import type { DescMessage } from "@bufbuild/protobuf";
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
import { formatTimestamp, parseTimestamp } from "./timestamp.ts";

/** Decodes a message; throws a QueueError (455) that names the field. */
export function decodeJson<Desc extends DescMessage>(schema: Desc, body: Buffer): Decoded<Desc> {
  if (!isUtf8(body)) throw problem("the body is not valid UTF-8");
  // Each takes far more memory than the two bytes that it may have here.
  if (body.length > VALUES_MAX && scan(body).values > VALUES_MAX) {
    throw problem("the body has too many objects and lists");
  }
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
  if (decoder.length !== text.length && decoder.members !== scan(body).members) {
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
      if (field === undefined) throw problem(`unknown field ${show(join(path, key))}`);
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
    switch (field.type) {
      case "string":
        if (typeof value !== "string") throw wrong(join(path, key), "a string", value);
        if (this.#escapes && !value.isWellFormed()) {
          throw wrong(join(path, key), "valid Unicode", value);
        }
        return value;
      case "int32": {
        const number = typeof value === "string" ? parseNumber(value) : value;
        if (typeof number !== "number" || (number | 0) !== number) {
          throw wrong(join(path, key), "a whole number of 32 bits", value);
        }
        return number | 0;
      }
      case "bool":
        if (typeof value !== "boolean") throw wrong(join(path, key), "true or false", value);
        return value;
      case "bytes":
        return decodeBase64(value) ?? fail(wrong(join(path, key), "base64", value));
      case "timestamp": {
        const time = typeof value === "string" ? parseTimestamp(value) : undefined;
        return time ?? fail(wrong(join(path, key), "a time as in RFC 3339", value));
      }
      case "message":
        return this.message(field.table!, value, join(path, key));
    }
  }
}

function fail(error: QueueError): never {
  throw error;
}

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

const BRACKETS = 2;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
// `{`, and with the bit in which they differ `[` too.
const OPENING = 0x7b;
const VALUES_MAX = 2 * ENTRIES_MAX;

interface Scan {
  /** The members of all objects, by their colons. */
  readonly members: number;
  /** Objects and lists, by how they begin. */
  readonly values: number;
}

// Looks at a JSON text before it is parsed; what it finds in one that is not valid means nothing.
function scan(body: Buffer): Scan {
  let members = 0;
  let values = 0;
  let escapes = false;
  for (let i = 0; i < body.length; i++) {
    const byte = body[i]!;
    if (byte === COLON) {
      members++;
    } else if ((byte | 0x20) === OPENING) {
      values++;
    } else if (byte === QUOTE) {
      i++;
      for (let step = 0; i < body.length && body[i] !== QUOTE; step++) {
        if (body[i] === BACKSLASH) {
          escapes = true;
          i++;
        }
        i++;
        // A long string is skipped natively, up to the next quote that may end it.
        if (step === 64 && !escapes) {
          const end = body.indexOf(QUOTE, i);
          if (end === -1) break;
          const backslash = body.indexOf(BACKSLASH, i);
          i = backslash === -1 || backslash > end ? end : backslash;
        }
      }
    }
  }
  return { members, values };
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

function problem(text: string): QueueError {
  return new QueueError("content", `proto: ${text.toWellFormed()}`); // it may quote what was sent
}

function wrong(path: string, expected: string, value: unknown): QueueError {
  const where = path === "" ? "the body" : `field ${show(path)}`;
  return problem(`${where} must be ${expected}, not ${show(JSON.stringify(value) ?? "nothing")}`);
}

function join(path: string, key: string | number): string {
  if (typeof key === "number") return `${path}[${key}]`;
  return path === "" ? key : `${path}.${key}`;
}

function show(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}

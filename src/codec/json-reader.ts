// JSON of large bodies, read in pieces: what JSON.parse makes of one keeps the thread for as long as
// it takes, whatever it holds. This reader is driven by the table of the message, so that it stops at
// the first thing that does not belong there, and it can be left after every entry of a list, and gone
// on with. It answers exactly what decodeJson does, and refuses exactly what that refuses (a property
// test holds it); only the words of some errors differ. Its time is linear in the bytes.

import type { DescMessage } from "@bufbuild/protobuf";
import type { QueueError } from "../errors.ts";
import { type Complaints, join, shown } from "./complaints.ts";
import { checkEntry, convert, expectedOf, TOO_MANY_ENTRIES } from "./convert.ts";
import { JsonText } from "./json-text.ts";
import {
  type Decoded,
  ENTRIES_MAX,
  type Field,
  putEntry,
  Seen,
  type Table,
  tableOf,
} from "./message.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const SPACE = /[ \t\n\r]*/y;
// Up to the end of a text, or the first escape in it.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what JSON does not allow
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const LITERALS: readonly (readonly [text: string, value: boolean | null])[] = [
  ["null", null],
  ["true", true],
  ["false", false],
];

// A piece of a longer text is kept by V8 together with the whole of it; from this length on.
const COPIED_LENGTH = 13;

/** Reads a message; yields after every entry of a list with which so many more letters have been read. */
export function* readJson<Desc extends DescMessage>(
  schema: Desc,
  text: string,
  pieceLength: number,
): Generator<undefined, Decoded<Desc>> {
  const table = tableOf(schema);
  const reader = new Reader(text, pieceLength, table.complaints);
  return (yield* reader.whole(table)) as Decoded<Desc>;
}

/** Reads a message in one go. */
export function readJsonAtOnce<Desc extends DescMessage>(
  schema: Desc,
  text: string,
): Decoded<Desc> {
  return finish(readJson(schema, text, text.length + 1));
}

class Reader {
  readonly #text: string;
  readonly #pieceLength: number;
  readonly #complaints: Complaints;
  #at = 0;
  #pieceEnd: number;
  /** Whether the text that was read last had an escape in it. */
  #isEscaped = false;

  constructor(text: string, pieceLength: number, complaints: Complaints) {
    this.#text = text;
    this.#pieceLength = pieceLength;
    this.#complaints = complaints;
    this.#pieceEnd = pieceLength;
  }

  *whole(table: Table): Generator<undefined, Record<string, unknown>> {
    this.#space();
    if (this.#at === this.#text.length) throw this.#complaints.unreadable("the body is empty");
    const message = yield* this.#message(table, "");
    this.#space();
    if (this.#at < this.#text.length) throw this.#broken("the end");
    return message;
  }

  *#message(table: Table, path: string): Generator<undefined, Record<string, unknown>> {
    const message = this.#open(table, path);
    const seen = new Seen();
    for (let isFirst = true; this.#hasMember(isFirst); isFirst = false) {
      const field = this.#field(table, path, seen);
      if (field.type === "json") {
        message[field.name] = yield* this.#json();
      } else if (field.repeated) {
        if (this.#isNull()) continue;
        message[field.name] = yield* this.#list(field, join(path, field.jsonName));
      } else if (field.table?.hasJson === true) {
        if (this.#isNull()) continue;
        message[field.name] = yield* this.#message(field.table, join(path, field.jsonName));
      } else this.#member(message, field, path);
    }
    return message;
  }

  // A value that is kept as its text.
  *#json(): Generator<undefined, string> {
    const from = this.#at;
    const value = new JsonText(this.#text, from);
    let state = value.read(this.#pieceEnd);
    while (state === "more") {
      yield;
      this.#pieceEnd = value.at + this.#pieceLength;
      state = value.read(this.#pieceEnd);
    }
    this.#at = value.at;
    if (state === "broken") throw this.#broken(value.expected);
    return this.#text.slice(from, value.at);
  }

  *#list(field: Field, path: string): Generator<undefined, unknown[]> {
    if (this.#next() !== OPEN_LIST) throw this.#wrongHere(path, "a list");
    this.#at++;
    const list: unknown[] = [];
    this.#space();
    if (this.#next() === CLOSE_LIST) {
      this.#at++;
      return list;
    }
    for (;;) {
      if (list.length === ENTRIES_MAX) throw this.#complaints.bad(path, TOO_MANY_ENTRIES);
      const entry =
        field.table?.hasJson === true
          ? yield* this.#message(field.table, join(path, list.length))
          : this.#value(field, path, list.length);
      list.push(entry);
      this.#space();
      const next = this.#next();
      if (next !== COMMA && next !== CLOSE_LIST) throw this.#broken("',' or ']'");
      this.#at++;
      if (next === CLOSE_LIST) return list;
      this.#space();
      if (this.#at < this.#pieceEnd) continue;
      yield;
      this.#pieceEnd = this.#at + this.#pieceLength;
    }
  }

  // An entry of a list: it has few members, each of which is read natively, or ends the reading. None of
  // them is kept as its text.
  #entry(table: Table, path: string): Record<string, unknown> {
    const message = this.#open(table, path);
    const seen = new Seen();
    for (let isFirst = true; this.#hasMember(isFirst); isFirst = false) {
      const field = this.#field(table, path, seen);
      if (!field.repeated) this.#member(message, field, path);
      else if (!this.#isNull()) {
        message[field.name] = finish(this.#list(field, join(path, field.jsonName)));
      }
    }
    return message;
  }

  #open(table: Table, path: string): Record<string, unknown> {
    if (this.#next() !== OPEN_OBJECT) throw this.#wrongHere(path, "an object");
    this.#at++;
    return { ...table.defaults };
  }

  // Goes to the name of the next member; past the end of the object if there is none.
  #hasMember(isFirst: boolean): boolean {
    this.#space();
    const next = this.#next();
    if (next === CLOSE_OBJECT) {
      this.#at++;
      return false;
    }
    if (isFirst) return true;
    if (next !== COMMA) throw this.#broken("',' or '}'");
    this.#at++;
    this.#space();
    return true;
  }

  // Reads the name of a member; goes to its value.
  #field(table: Table, path: string, seen: Seen): Field {
    const key = this.#name();
    const field = table.byName.get(key);
    if (field === undefined) throw this.#complaints.unknownField(table, path, key);
    if (seen.add(field)) throw this.#complaints.twice(join(path, key));
    return field;
  }

  #name(): string {
    if (this.#next() !== QUOTE) throw this.#broken("the name of a field");
    const key = this.#string();
    this.#space();
    if (this.#next() !== COLON) throw this.#broken("':'");
    this.#at++;
    this.#space();
    return key;
  }

  #member(message: Record<string, unknown>, field: Field, path: string): void {
    if (!this.#isNull()) message[field.name] = this.#value(field, path, field.jsonName);
  }

  #value(field: Field, path: string, key: string | number): unknown {
    if (field.type === "message") return this.#entry(field.table!, join(path, key));
    if (field.type === "map") return this.#map(join(path, key));
    const next = this.#next();
    if (next === QUOTE) {
      const text = this.#string();
      return convert(field, text, this.#isEscaped, path, key, this.#complaints);
    }
    const value = this.#numberOrLiteral();
    if (value === undefined) throw this.#wrongHere(join(path, key), expectedOf(field));
    return convert(field, value, false, path, key, this.#complaints);
  }

  #map(path: string): Record<string, string> {
    if (this.#next() !== OPEN_OBJECT) throw this.#wrongHere(path, "an object");
    this.#at++;
    const map: Record<string, string> = {};
    let entries = 0;
    while (this.#hasMember(entries === 0)) {
      if (++entries > ENTRIES_MAX) throw this.#complaints.bad(path, TOO_MANY_ENTRIES);
      const key = this.#name();
      if (Object.hasOwn(map, key)) throw this.#complaints.twice(join(path, key));
      const entry = this.#next() === QUOTE ? this.#string() : this.#numberOrLiteral();
      if (entry === undefined) throw this.#wrongHere(join(path, key), "a string");
      checkEntry(key, entry, path, this.#complaints);
      putEntry(map, key, entry);
    }
    return map;
  }

  #isNull(): boolean {
    if (!this.#text.startsWith("null", this.#at)) return false;
    this.#at += 4;
    return true;
  }

  #numberOrLiteral(): number | boolean | null | undefined {
    for (const [text, value] of LITERALS) {
      if (!this.#text.startsWith(text, this.#at)) continue;
      this.#at += text.length;
      return value;
    }
    const from = this.#at;
    NUMBER.lastIndex = from;
    if (!NUMBER.test(this.#text)) return undefined;
    this.#at = NUMBER.lastIndex;
    return Number(this.#text.slice(from, this.#at));
  }

  // Reads a text, from its first quote to after its last.
  #string(): string {
    const text = this.#text;
    const from = this.#at;
    PLAIN.lastIndex = from + 1;
    PLAIN.test(text);
    let end = PLAIN.lastIndex;
    this.#isEscaped = text.charCodeAt(end) === BACKSLASH;
    if (this.#isEscaped) end = endOfEscaped(text, end);
    if (text.charCodeAt(end) !== QUOTE) {
      this.#at = end;
      throw this.#broken("the end of a text");
    }
    this.#at = end + 1;
    if (!this.#isEscaped && end - from < COPIED_LENGTH) return text.slice(from + 1, end);
    try {
      return JSON.parse(text.slice(from, end + 1)) as string;
    } catch {
      this.#at = from;
      throw this.#broken("a text with valid escapes");
    }
  }

  #space(): void {
    // Most often there is none.
    if (this.#next() > 0x20) return;
    SPACE.lastIndex = this.#at;
    SPACE.test(this.#text);
    this.#at = SPACE.lastIndex;
  }

  // NaN at the end.
  #next(): number {
    return this.#text.charCodeAt(this.#at);
  }

  #broken(expected: string): QueueError {
    const isEnd = this.#at >= this.#text.length;
    const found = isEnd
      ? "the end"
      : `'${String.fromCodePoint(this.#text.codePointAt(this.#at)!)}'`;
    const text = `syntax error: expected ${expected} at position ${this.#at}, found ${found}`;
    return this.#complaints.unreadable(text);
  }

  // The error for a value of the wrong type, or for something that is no value at all.
  #wrongHere(path: string, expected: string): QueueError {
    const start = this.#next();
    const isValue = start === QUOTE || start === OPEN_LIST || start === OPEN_OBJECT;
    if (isValue) {
      return this.#complaints.wrong(path, expected, this.#text.slice(this.#at, this.#at + 201));
    }
    const value = this.#numberOrLiteral();
    if (value === undefined) return this.#broken("a value");
    return this.#complaints.wrong(path, expected, shown(value));
  }
}

function finish<T>(reading: Generator<undefined, T>): T {
  for (;;) {
    const { done, value } = reading.next();
    if (done === true) return value;
  }
}

// Where a text with escapes ends: at its last quote, or at the end of all.
function endOfEscaped(text: string, from: number): number {
  let at = from;
  for (; at < text.length; at++) {
    const letter = text.charCodeAt(at);
    if (letter === QUOTE) break;
    if (letter === BACKSLASH) at++;
  }
  return at;
}

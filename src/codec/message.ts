// What the codecs know of each message: a table of its fields, made once from the descriptor that
// is generated from proto/. Decoded messages are plain objects with every field set: times are
// microseconds, 0 if they are not given; numbers of 64 bits are numbers; a field that is `optional` in
// proto/ is undefined if it is not given; everything else has the default of Protobuf.

import {
  type DescField,
  type DescMessage,
  getOption,
  type Message,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { type Complaints, complaintsOf } from "./complaints.ts";
import { raw_json } from "./gen/querator/v2/options_pb.ts";

type PlainField<V> = V extends Timestamp
  ? number
  : V extends bigint
    ? number
    : V extends Uint8Array
      ? Uint8Array
      : V extends readonly (infer E)[]
        ? PlainField<E>[]
        : V extends Message
          ? Plain<V>
          : V;

// What a field may be beside its value: of messages too it is undefined if it is not given, but of times 0.
type Unset<V> = undefined extends V
  ? Exclude<V, undefined> extends Timestamp
    ? never
    : undefined
  : never;

type Plain<T> = {
  [K in keyof T as K extends `$${string}` ? never : K]-?:
    | PlainField<Exclude<T[K], undefined>>
    | Unset<T[K]>;
};

/** A decoded message. */
export type Decoded<Desc extends DescMessage> = Plain<MessageShape<Desc>>;

/** A message to encode: what is not given has its default, and is not written. */
export type Encodable<Desc extends DescMessage> = DeepPartial<Decoded<Desc>>;

type DeepPartial<T> = T extends Uint8Array
  ? T
  : T extends readonly (infer E)[]
    ? readonly DeepPartial<E>[]
    : T extends object
      ? { readonly [K in keyof T]?: DeepPartial<T[K]> | undefined }
      : T;

/** `json` is any value in JSON and, as the text of it, a string in Protobuf; `map` is from text to text. */
export type FieldType =
  | "string"
  | "int32"
  | "int64"
  | "double"
  | "bool"
  | "bytes"
  | "timestamp"
  | "json"
  | "map"
  | "message";

export interface Field {
  /** Its place in the table. */
  readonly index: number;
  readonly number: number;
  /** The property of the decoded object. */
  readonly name: string;
  readonly jsonName: string;
  readonly type: FieldType;
  readonly repeated: boolean;
  /** Of a list: whether JSON says that it is empty, as under /v2; else it is left out then. */
  readonly saysEmpty: boolean;
  /** Whether "not given" is something else than its default. */
  readonly isOptional: boolean;
  /** Of the type `message`. */
  readonly table: Table | undefined;
}

export interface Table {
  /** In order of their numbers. */
  readonly fields: readonly Field[];
  /** By both names that JSON may use. */
  readonly byName: ReadonlyMap<string, Field>;
  readonly byNumber: ReadonlyMap<number, Field>;
  /** A message in which nothing is set; its lists must be replaced, not appended to. */
  readonly defaults: Readonly<Record<string, unknown>>;
  /** Whether it, or a message in it, has a field of the type `json`. */
  readonly hasJson: boolean;
  /** What is said of one that cannot be decoded. */
  readonly complaints: Complaints;
}

/** The most entries of a list: more objects than that would take far more memory than their body. */
export const ENTRIES_MAX = 200_000;

const NO_BYTES = Buffer.alloc(0);
/** A map in which nothing is. */
export const NO_ENTRIES: Readonly<Record<string, string>> = Object.freeze({});
const tables = new Map<string, Table>();

/** The table of a message. */
export function tableOf(desc: DescMessage): Table {
  let table = tables.get(desc.typeName);
  if (table === undefined) {
    table = makeTable(desc);
    tables.set(desc.typeName, table);
  }
  return table;
}

function makeTable(desc: DescMessage): Table {
  const fields = [...desc.fields].sort((a, b) => a.number - b.number).map(makeField);
  const byName = new Map<string, Field>();
  for (const field of fields) {
    byName.set(field.jsonName, field);
    byName.set(desc.field[field.name]!.name, field);
  }
  return {
    fields,
    byName,
    byNumber: new Map(fields.map((field) => [field.number, field])),
    defaults: Object.fromEntries(fields.map((field) => [field.name, defaultOf(field)])),
    hasJson: fields.some(({ type, table }) => type === "json" || table?.hasJson === true),
    complaints: complaintsOf(desc.typeName),
  };
}

function makeField(field: DescField, index: number): Field {
  const { number, localName: name, jsonName } = field;
  const repeated = field.fieldKind === "list";
  const type = typeOf(field);
  const table = type === "message" ? tableOf(field.message!) : undefined;
  const saysEmpty = repeated && field.parent.typeName.startsWith("querator.v2.");
  const isOptional = field.proto.proto3Optional;
  return { index, number, name, jsonName, type, repeated, saysEmpty, isOptional, table };
}

// The numbers are those of the descriptor format.
const STRING = 9;
const SCALARS: Readonly<Record<number, FieldType>> = {
  1: "double",
  3: "int64",
  5: "int32",
  8: "bool",
  [STRING]: "string",
  12: "bytes",
};

function typeOf(field: DescField): FieldType {
  if (field.fieldKind === "map") {
    if (field.mapKey === STRING && field.scalar === STRING) return "map";
  } else if (field.message !== undefined) {
    return field.message.typeName === "google.protobuf.Timestamp" ? "timestamp" : "message";
  } else {
    const type = SCALARS[field.scalar ?? -1];
    if (type !== undefined && !getOption(field, raw_json)) return type;
    if (type === "string" && field.fieldKind === "scalar") return "json";
  }
  throw new Error(`field ${field.name} has a type that is not supported`);
}

function defaultOf(field: Field): unknown {
  if (field.repeated) return [];
  if (field.isOptional) return undefined;
  switch (field.type) {
    case "string":
    case "json":
      return "";
    case "bool":
      return false;
    case "bytes":
      return NO_BYTES;
    case "map":
      return NO_ENTRIES;
    case "message":
      return undefined;
    default:
      return 0;
  }
}

/** Puts an entry into a map that is a plain object; some names have a meaning of their own there. */
export function putEntry(map: Record<string, string>, key: string, value: string): void {
  if (key !== "__proto__") map[key] = value;
  else {
    const configurable = true;
    Object.defineProperty(map, key, { value, configurable, enumerable: true, writable: true });
  }
}

/** Which fields of a message have been given: in bits, and in a set those for which there is none. */
export class Seen {
  #bits = 0;
  #others: Set<Field> | undefined;

  /** Whether it had been given before. */
  add(field: Field): boolean {
    if (field.index >= 32) {
      this.#others ??= new Set();
      if (this.#others.has(field)) return true;
      this.#others.add(field);
      return false;
    }
    const bit = 1 << field.index;
    if ((this.#bits & bit) !== 0) return true;
    this.#bits |= bit;
    return false;
  }
}

// What the codecs know of each message: a table of its fields, made once from the descriptor that
// is generated from proto/. Decoded messages are plain objects with every field set: times are
// microseconds, 0 if they are not given; everything else has the default of Protobuf.

import type { DescField, DescMessage, Message, MessageShape } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { QueueError } from "../errors.ts";

type PlainField<V> = V extends Timestamp
  ? number
  : V extends Uint8Array
    ? Uint8Array
    : V extends readonly (infer E)[]
      ? PlainField<E>[]
      : V extends Message
        ? Plain<V>
        : V;

type Plain<T> = {
  [K in keyof T as K extends `$${string}` ? never : K]-?: PlainField<Exclude<T[K], undefined>>;
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

export type FieldType = "string" | "int32" | "bool" | "bytes" | "timestamp" | "message";

export interface Field {
  /** Its place in the table. */
  readonly index: number;
  readonly number: number;
  /** The property of the decoded object. */
  readonly name: string;
  readonly jsonName: string;
  readonly type: FieldType;
  readonly repeated: boolean;
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
}

/** The most entries of a list: more objects than that would take far more memory than their body. */
export const ENTRIES_MAX = 200_000;

/** The answer (455) to a list with more. */
export function tooManyEntries({ jsonName }: Field): QueueError {
  return new QueueError("content", `proto: field ${jsonName} has more than ${ENTRIES_MAX} entries`);
}

const NO_BYTES = Buffer.alloc(0);
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
  const fields = desc.fields
    // Maps occur in Reply.details only, which is never filled.
    .filter((field) => field.fieldKind !== "map")
    .sort((a, b) => a.number - b.number)
    .map(makeField);
  // Decoders keep in the bits of a number which fields they have seen.
  if (fields.length > 32)
    throw new Error(`${desc.typeName} has more fields than can be told apart`);
  const byName = new Map<string, Field>();
  for (const [i, field] of fields.entries()) {
    byName.set(field.jsonName, field);
    byName.set(desc.field[field.name]!.name, fields[i]!);
  }
  return {
    fields,
    byName,
    byNumber: new Map(fields.map((field) => [field.number, field])),
    defaults: Object.fromEntries(fields.map((field) => [field.name, defaultOf(field)])),
  };
}

function makeField(field: DescField, index: number): Field {
  const { number, localName: name, jsonName } = field;
  const repeated = field.fieldKind === "list";
  const { message } = field;
  if (message !== undefined) {
    const isTime = message.typeName === "google.protobuf.Timestamp";
    const type = isTime ? "timestamp" : "message";
    const table = isTime ? undefined : tableOf(message);
    return { index, number, name, jsonName, type, repeated, table };
  }
  return { index, number, name, jsonName, type: scalarOf(field), repeated, table: undefined };
}

// The numbers are those of the descriptor format.
const SCALARS: Readonly<Record<number, FieldType>> = {
  5: "int32",
  8: "bool",
  9: "string",
  12: "bytes",
};

function scalarOf(field: DescField): FieldType {
  const type = SCALARS[field.scalar ?? -1];
  if (type === undefined) throw new Error(`field ${field.name} has a type that is not supported`);
  return type;
}

function defaultOf(field: Field): unknown {
  if (field.repeated) return [];
  switch (field.type) {
    case "string":
      return "";
    case "bool":
      return false;
    case "bytes":
      return NO_BYTES;
    case "message":
      return undefined;
    default:
      return 0;
  }
}

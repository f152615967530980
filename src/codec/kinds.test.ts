// What messages of /v2 hold beyond those of /v1: values of JSON that are kept as their text, maps, numbers of
// 64 bits, fields that may be missing, and more fields than a number has bits.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  create,
  createFileRegistry,
  type DescMessage,
  fromBinary,
  toBinary,
} from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { holds } from "../../test/support/properties.ts";
import { QueueError } from "../errors.ts";
import { ItemsImportRequestSchema, ItemsListRequestSchema } from "./gen/querator/v2/items_pb.ts";
import { QueueLeaseResponseSchema, QueueProduceRequestSchema } from "./gen/querator/v2/queue_pb.ts";
import { QueuesUpdateRequestSchema } from "./gen/querator/v2/queues_pb.ts";
import { decodeJson, encodeJson } from "./json.ts";
import { readJson } from "./json-reader.ts";
import { DEPTH_MAX, isJson } from "./json-text.ts";
import { decodeProtobuf, encodeProtobuf, readProtobuf } from "./protobuf.ts";

const text = fc.string({ unit: "binary" });
const plain = { noNullPrototype: true } as const;
const headers = fc.dictionary(
  fc.oneof(text, fc.constantFrom("__proto__", "constructor", "1")),
  text,
  plain,
);
const safe = fc.maxSafeInteger();

function inPieces<T>(reading: Generator<undefined, T>): T {
  for (;;) {
    const { done, value } = reading.next();
    if (done === true) return value;
  }
}

function outcomeOf(decode: () => unknown): unknown {
  try {
    return decode();
  } catch (error) {
    if (error instanceof QueueError && error.kind === "content") return "refused";
    throw error;
  }
}

function refusalOf(decode: () => unknown): QueueError {
  try {
    decode();
  } catch (error) {
    if (error instanceof QueueError) return error;
    throw error;
  }
  return assert.fail("it was not refused");
}

const leased = fc.record(
  {
    id: text,
    leaseId: text,
    fence: safe,
    leaseDeadline: fc.integer({ min: 1, max: 4_102_444_800_000_000 }),
    attempts: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
    json: fc.oneof(fc.json(), fc.constant("")),
    utf8: text,
    bytes: fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    headers,
    kind: text,
    reference: text,
    encoding: text,
    traceparent: text,
    tracestate: text,
    createdAt: fc.constant(0),
    lastError: fc.option(fc.record({ type: text, message: text, stack: text }, plain), {
      nil: undefined,
    }),
    source: fc.constant(undefined),
  },
  plain,
);

test("what is encoded is decoded to the same in both formats, and is what the library has in Protobuf", () => {
  const schema = QueueLeaseResponseSchema;
  holds(
    fc.property(fc.array(leased, { maxLength: 4 }), (items) => {
      const message = { items };
      const json = encodeJson(schema, message);
      const binary = encodeProtobuf(schema, message);
      assert.deepEqual(decodeJson(schema, Buffer.from(json)), message);
      assert.deepEqual(inPieces(readJson(schema, json, 5)), message);
      assert.deepEqual(decodeProtobuf(schema, Buffer.from(binary)), message);
      assert.deepEqual(inPieces(readProtobuf(schema, Buffer.from(binary), 5)), message);
      const known = fromBinary(schema, binary);
      assert.deepEqual(toBinary(schema, known), binary);
      for (const [i, { fence, headers, json }] of known.items.entries()) {
        assert.deepEqual(
          [Number(fence), { ...headers }, json],
          [items[i]!.fence, items[i]!.headers, items[i]!.json],
        );
      }
    }),
  );
});

// Texts that are nearly JSON.
const nearly = fc
  .array(
    fc.constantFrom(
      ...'{}[],:"01-+.eEuntrfalse\\ \t\n'.split(""),
      "null",
      "true",
      '"a"',
      '"\\u00e9"',
      '"\\x"',
      "1e5",
      '{"a":',
      "[[",
      "]]",
      "\u0001",
      "ü",
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(""));
const spaced = fc
  .tuple(fc.json(), fc.constantFrom("", " ", "\n", "\t", "\r", "\u00a0"))
  .map(([json, space]) => json.replaceAll(/[,:[\]{}]/g, (mark) => `${space}${mark}${space}`));

// Values of JSON in which one letter is another.
const damaged = fc
  .tuple(fc.json({ maxDepth: 3 }), fc.nat(), fc.constantFrom(...'{}[],:"0 \\'.split("")))
  .map(([json, at, letter]) => {
    const place = at % json.length;
    return json.slice(0, place) + letter + json.slice(place + 1);
  });

test("a text is a value of JSON exactly if JSON.parse takes it and nothing stands around it", () => {
  let [yes, no] = [0, 0];
  holds(
    fc.property(fc.oneof(nearly, damaged, spaced), (given) => {
      const isValue =
        outcomeOf(() => {
          try {
            return { value: JSON.parse(given) };
          } catch {
            return "refused";
          }
        }) !== "refused" && given.trim() === given;
      assert.equal(isJson(given), isValue, JSON.stringify(given));
      if (isValue) yes++;
      else no++;
    }),
    { numRuns: 5_000 },
  );
  assert.ok(yes > 500 && no > 500, `${yes} and ${no}`);
});

// Bodies that are nearly requests, with values of JSON, maps and names in odd places.
const value = fc.oneof(
  { weight: 3, arbitrary: spaced },
  nearly,
  fc.constantFrom('"a"', '"\\u0061"', '"\\ud800"', "null", '{"a":"b"}', '{"a":"b","a":"c"}'),
  fc.constantFrom(
    '{"a":1}',
    '{ "b" : "" , "\\u0062": "x" }',
    "{}",
    '{"a":null}',
    '{"__proto__":"x"}',
  ),
);
const member = fc
  .tuple(
    fc.constantFrom(
      "json",
      "utf8",
      "headers",
      "kind",
      "\\u006ason",
      "enqueue_at",
      "source_id",
      "x",
    ),
    fc.oneof(value, fc.constantFrom('"2024-01-01T00:00:00Z"')),
  )
  .map(([name, given]) => `"${name}":${given}`);
const entry = fc.array(member, { maxLength: 4 }).map((members) => `{${members.join(",")}}`);
const body = fc
  .tuple(
    fc.array(entry, { maxLength: 4 }),
    fc.constantFrom('"queue_name":"q",', "", '"items":null,'),
  )
  .map(([entries, before]) => `{${before}"items":[${entries.join(", ")}]}`);

test("a large body with values of JSON and maps is understood as a small one is", () => {
  let understood = 0;
  holds(
    fc.property(body, (given) => {
      const schema = ItemsImportRequestSchema;
      const small = outcomeOf(() => decodeJson(schema, Buffer.from(given)));
      const large = outcomeOf(() => inPieces(readJson(schema, given.toWellFormed(), 5)));
      assert.deepEqual(large, small);
      if (small !== "refused") understood++;
    }),
    { numRuns: 5_000 },
  );
  assert.ok(understood > 300, `only ${understood} were understood`);
});

const produce = (given: string) => decodeJson(QueueProduceRequestSchema, Buffer.from(given));

test("a value of JSON is kept as it is written, whatever its name is written like", () => {
  const name = fc.constantFrom("json", "\\u006ason", "js\\u006fn");
  const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);
  // The space in texts is no more than that of what lies around them.
  const pretty = fc
    .tuple(fc.json(), fc.constantFrom(0, 1, "\t"))
    .map(([given, indent]) => JSON.stringify(JSON.parse(given), undefined, indent));
  holds(
    fc.property(pretty, name, space, (given, name, space) => {
      const written = `{"kind":"k","${name}":${space}${given}${space},"utf8":""}`;
      const [item, next] = produce(`{"items":[${written},{"utf8":"a"}]}`).items;
      assert.deepEqual([item!.json, next!.utf8], [given, "a"]);
    }),
  );
});

test("a value of JSON ends with its body, is no text in quotes, and is nested within bounds", () => {
  const nested = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;
  assert.equal(produce(`{"items":[{"json":${nested(DEPTH_MAX)}}]}`).items.length, 1);
  for (const given of [
    nested(DEPTH_MAX + 1),
    "",
    "{",
    "[1,]",
    '{"a"}',
    "01",
    "tru",
    "'a'",
    "1 2",
  ]) {
    const error = refusalOf(() => produce(`{"items":[{"json":${given}}]}`));
    assert.equal(error.code, "invalid_request", given);
    const binary = toBinary(
      QueueProduceRequestSchema,
      create(QueueProduceRequestSchema, { items: [{}, { json: given || " " }] }),
    );
    const refused = refusalOf(() => decodeProtobuf(QueueProduceRequestSchema, Buffer.from(binary)));
    assert.deepEqual([refused.code, refused.field], ["invalid_field", "items[1].json"], given);
  }
});

test("a field or a name that is given twice is found in maps and beside values of JSON", () => {
  for (const given of [
    '{"items":[{"json":1,"json":2}]}',
    '{"items":[{"json":1,"kind":"a","kind":"a"}]}',
    '{"items":[{"headers":{"a":"1","a":"1"}}]}',
    '{"items":[{"headers":{"a":"1","\\u0061":""}}]}',
    '{"items":[{"headers":{"__proto__":"1","__proto__":"2"}}]}',
    '{"items":[{"headers":{},"headers":{}}]}',
    '{"queue_name":"a","queueName":"b"}',
  ]) {
    assert.match(refusalOf(() => produce(given)).message, /given more than once/, given);
  }
  assert.deepEqual(produce('{"items":[{"json":{"a":1,"a":2}}]}').items[0]!.json, '{"a":1,"a":2}');
});

test("a number of 64 bits is one that JavaScript has, or it is refused", () => {
  const schema = QueueLeaseResponseSchema;
  const fence = (given: string) =>
    decodeJson(schema, Buffer.from(`{"items":[{"fence":${given}}]}`)).items[0]!.fence;
  for (const [given, number] of [
    ["9007199254740991", 9_007_199_254_740_991],
    ['"-9007199254740991"', -9_007_199_254_740_991],
    ["1e3", 1_000],
    ["-0", 0],
  ] as const) {
    assert.ok(Object.is(fence(given), number), given);
  }
  for (const given of ["9007199254740992", "1.5", '"x"', "true", "[1]", "1e300"]) {
    assert.equal(refusalOf(() => fence(given)).field, "items[0].fence", given);
  }
  const large = toBinary(schema, create(schema, { items: [{ fence: 2n ** 53n }] }));
  const refused = refusalOf(() => decodeProtobuf(schema, Buffer.from(large)));
  assert.equal(refused.field, "items[0].fence");
});

test("a field that may be missing is told from one that has its default", () => {
  const schema = QueuesUpdateRequestSchema;
  const given = decodeJson(
    schema,
    Buffer.from('{"max_attempts":0,"dead_queue":"","partial":false}'),
  );
  assert.deepEqual([given.maxAttempts, given.deadQueue, given.partial], [0, "", false]);
  assert.deepEqual([given.reference, given.leaseTimeout], [undefined, undefined]);
  for (const again of [
    decodeProtobuf(schema, Buffer.from(encodeProtobuf(schema, given))),
    decodeJson(schema, Buffer.from(encodeJson(schema, given))),
  ]) {
    assert.deepEqual(again, given);
  }
  const list = decodeProtobuf(
    ItemsListRequestSchema,
    Buffer.from(toBinary(ItemsListRequestSchema, create(ItemsListRequestSchema, { partition: 0 }))),
  );
  assert.equal(list.partition, 0);
});

// A message with many fields, each of which has two names.
function manyFields(count: number): DescMessage {
  const field = Array.from({ length: count }, (_, i) => ({
    name: `fieldNo${i}`,
    jsonName: `field_${i}`,
    number: i + 1,
    label: FieldDescriptorProto_Label.OPTIONAL,
    type: FieldDescriptorProto_Type.STRING,
  }));
  const file = create(FileDescriptorProtoSchema, {
    name: "many.proto",
    package: "querator.v2",
    syntax: "proto3",
    messageType: [{ name: `Many${count}`, field }],
  });
  const registry = createFileRegistry(file, () => undefined);
  return registry.getMessage(`querator.v2.Many${count}`)!;
}

test("a field given twice is found in a message with more fields than a number has bits", () => {
  const schema = manyFields(100);
  const both = [
    (given: string) => decodeJson(schema, Buffer.from(given)),
    (given: string) => inPieces(readJson(schema, given, 5)),
  ];
  const all = Array.from({ length: 100 }, (_, i) => `"field_${i}":"${i}"`);
  for (const decode of both) {
    const message = decode(`{${all.join(",")}}`) as Record<string, unknown>;
    for (let i = 0; i < 100; i++) assert.equal(message[`fieldNo${i}`], String(i));
    for (const i of [0, 31, 32, 33, 63, 64, 99]) {
      for (const twice of [`"fieldNo${i}":"x"`, `"field_${i}":"x"`]) {
        const given = `{${[...all, twice].join(",")}}`;
        assert.match(refusalOf(() => decode(given)).message, /more than once/, `${i}`);
      }
      // Nothing that is 32 or 64 away is taken for it.
      decode(`{"field_${i}":"","field_${(i + 32) % 100}":"","field_${(i + 64) % 100}":""}`);
    }
  }
});

test("an unknown name is answered with the nearest that is known, if one is near", () => {
  const meant: [string, string | undefined][] = [
    ["quene_name", "queue_name"],
    ["queueNam", "queue_name"],
    ["item", "items"],
    ["Items", "items"],
    ["timeout", "request_timeout"], // another name for it
    ["colour", undefined],
    ["x".repeat(1_000_000), undefined],
  ];
  for (const [given, name] of meant) {
    for (const json of ["", '"items":[{"json":1}],']) {
      const { message, code, field } = refusalOf(() => produce(`{${json}"${given}":1}`));
      const shown = given.length > 100 ? `${given.slice(0, 100)}...` : given;
      const hint = name === undefined ? "" : `; did you mean '${name}'?`;
      assert.deepEqual(
        [message, code, field],
        [`unknown field '${shown}'${hint}`, "unknown_field", shown],
      );
    }
  }
});

test("a value of JSON is read at the cost of its letters, also in pieces", () => {
  for (const given of [
    `"${"\\n".repeat(2_000_000)}"`,
    `[${"[],".repeat(1_500_000)}0]`,
    `{${'"a":1,'.repeat(700_000)}"b":2}`,
    `${" ".repeat(4_000_000)}1`,
    "9".repeat(4_000_000),
    `[${'"",'.repeat(1_500_000)}""]`,
  ]) {
    const whole = `{"items":[{"json":${given}}]}`;
    const before = process.threadCpuUsage();
    assert.equal(inPieces(readJson(QueueProduceRequestSchema, whole, 65_536)).items.length, 1);
    const { user, system } = process.threadCpuUsage(before);
    assert.ok(user + system < 1_500_000, `${user + system} microseconds: ${given.slice(0, 20)}`);
  }
});

test("a large value of JSON is left after each piece", () => {
  const whole = `{"items":[{"json":[${'"abc",'.repeat(100_000)}""]}]}`;
  const reading = readJson(QueueProduceRequestSchema, whole, 10_000);
  let pieces = 0;
  while (reading.next().done !== true) pieces++;
  assert.ok(pieces >= whole.length / 20_000, `${pieces}`);
});

test("in Protobuf a field that is not known is refused by its path, in one go and in pieces", () => {
  // items[1], in which field 99 is the text "x".
  const body = Buffer.from([0x1a, 0x00, 0x1a, 0x04, 0x9a, 0x06, 0x01, 0x78]);
  const schema = QueueProduceRequestSchema;
  const number = schema.field.items!.number;
  body[0] = (number << 3) | 2;
  body[2] = body[0];
  const finish = (): void => {
    for (const reading = readProtobuf(schema, body, 1); reading.next().done !== true; );
  };
  for (const decode of [() => void decodeProtobuf(schema, body), finish]) {
    const { code, field, message } = refusalOf(decode);
    assert.deepEqual([code, field], ["unknown_field", "items[1].99"]);
    assert.equal(message, "unknown field number items[1].99");
  }
});

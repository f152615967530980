// Both codecs against the library's own, and against each other.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, fromJsonString, toBinary, toJsonString } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { COSTLY } from "../../test/fuzz/attacks-reading.ts";
import { holds } from "../../test/support/properties.ts";
import { parseDuration } from "../duration.ts";
import { QueueError } from "../errors.ts";
import { QueueProduceRequestSchema, QueueStatsResponseSchema } from "./gen/querator/v1/queue_pb.ts";
import {
  StorageItemsImportRequestSchema,
  StorageItemsListResponseSchema,
} from "./gen/querator/v1/storage_pb.ts";
import { decodeJson, encodeJson } from "./json.ts";
import { readJson } from "./json-reader.ts";
import { decodeProtobuf, encodeProtobuf, readProtobuf } from "./protobuf.ts";
import { formatTimestamp, parseTimestamp, ZERO_TIME } from "./timestamp.ts";

const text = fc.string({ unit: "binary" });
const time = fc.integer({ min: 1, max: 4_102_444_800_000_000 });
const plain = { noNullPrototype: true } as const;
const item = fc.record(
  {
    encoding: text,
    kind: text,
    reference: text,
    enqueueAt: time,
    bytes: fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    utf8: text,
  },
  plain,
);
const request = fc.record({ queueName: text, requestTimeout: text, items: fc.array(item) }, plain);

test("what is encoded is decoded to the same, in both formats and by the library", () => {
  holds(
    fc.property(request, (message) => {
      const json = encodeJson(QueueProduceRequestSchema, message);
      const binary = encodeProtobuf(QueueProduceRequestSchema, message);
      assert.deepEqual(decodeJson(QueueProduceRequestSchema, Buffer.from(json)), message);
      assert.deepEqual(decodeProtobuf(QueueProduceRequestSchema, Buffer.from(binary)), message);
      const known = fromBinary(QueueProduceRequestSchema, binary);
      assert.deepEqual(fromJsonString(QueueProduceRequestSchema, json), known);
      assert.deepEqual(toBinary(QueueProduceRequestSchema, known), binary);
      assert.deepEqual(
        JSON.parse(toJsonString(QueueProduceRequestSchema, known)),
        JSON.parse(json),
      );
    }),
  );
});

test("numbers and lists of messages are encoded as the library does", () => {
  holds(
    fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), text, (total, averageAge) => {
      const message = {
        queueName: "q",
        logicalQueues: [{ inFlight: total, partitions: [{}, { total, averageAge }] }],
      };
      const known = create(QueueStatsResponseSchema, {
        queueName: "q",
        logicalQueues: [{ inFlight: total, partitions: [{}, { total, averageAge }] }],
      });
      const binary = encodeProtobuf(QueueStatsResponseSchema, message);
      assert.deepEqual(binary, toBinary(QueueStatsResponseSchema, known));
      assert.equal(
        encodeJson(QueueStatsResponseSchema, message),
        toJsonString(QueueStatsResponseSchema, known),
      );
      assert.deepEqual(
        encodeJson(
          QueueStatsResponseSchema,
          decodeProtobuf(QueueStatsResponseSchema, Buffer.from(binary)),
        ),
        toJsonString(QueueStatsResponseSchema, known),
      );
    }),
  );
});

const produce = (body: string): ReturnType<typeof decodeJson<typeof QueueProduceRequestSchema>> =>
  decodeJson(QueueProduceRequestSchema, Buffer.from(body));

test("JSON takes both names of a field, null for unset, and any form of base64", () => {
  assert.equal(produce('{"queueName":"q"}').queueName, "q");
  assert.equal(produce('{"queue_name":null,"items":null}').queueName, "");
  for (const bytes of ["+/8=", "+/8", "-_8=", "-_8"]) {
    assert.deepEqual([...produce(`{"items":[{"bytes":"${bytes}"}]}`).items[0]!.bytes], [251, 255]);
  }
});

test("JSON finds a field given twice wherever it hides", () => {
  const bodies = [
    '{"queue_name":"a","queue_name":"b"}',
    '{"items":[{"utf8":"a","utf8":"b"}]}',
    '{"queue_name":"\\":","queue_name":"b"}',
    `{"queue_name":"${"x".repeat(500)}\\"${":".repeat(50)}","queue_name":"b"}`,
    // What is longer or shorter than it had to be must not make up for what is left out.
    '{ "queue_name":"a", "queue_name":"b" }',
    '{"queue_name":"\\u0061","queue_name":"b"}',
    '{"queue_name":null,"queue_name":null}',
    '{"items":[{"utf8":"a"},{"utf8":"","utf8":""}]}',
  ];
  for (const body of bodies) assert.throws(() => produce(body), /given more than once/);
  // Two numbers that are said in seven characters less make up for just such a field.
  const load = (body: string) => decodeJson(StorageItemsImportRequestSchema, Buffer.from(body));
  assert.equal(load('{"items":[{"attempts":1e9}]}').items[0]!.attempts, 1_000_000_000);
  assert.throws(
    () => load('{"items":[{"attempts":1e9},{"attempts":12,"attempts":1e9}]}'),
    /given more than once/,
  );
  const fine = `{"queue_name":"${"x:".repeat(200)}\\\\","items":[{"utf8":"${"\\n:".repeat(200)}"}]}`;
  assert.equal(produce(fine).queueName.length, 401);
});

test("timestamps are read and written as RFC 3339", () => {
  const rows: [string, number | undefined][] = [
    ["1970-01-01T00:00:00Z", 0],
    ["2024-02-29T12:34:56.789Z", 1_709_210_096_789_000],
    ["2024-02-29T12:34:56.123456789Z", 1_709_210_096_123_456],
    ["2024-02-29T14:34:56+02:00", 1_709_210_096_000_000],
    ["0001-01-01T00:00:00Z", ZERO_TIME],
    ["2023-02-29T00:00:00Z", undefined],
    ["9999-12-31T23:59:59.999999999Z", 253_402_300_800_000_000 - 32],
    ["2024-01-01T24:00:00Z", undefined],
    ["2024-01-01T00:00:60Z", undefined],
    ["2024-01-01T00:00:00", undefined],
    ["2024-01-01 00:00:00Z", undefined],
    ["2024-01-01T00:00:00.1234567890Z", undefined],
    ["0000-01-01T00:00:00Z", undefined],
  ];
  for (const [given, micros] of rows) assert.equal(parseTimestamp(given), micros, given);
  assert.equal(formatTimestamp(ZERO_TIME), "0001-01-01T00:00:00Z");
  assert.equal(formatTimestamp(1_709_210_096_000_000), "2024-02-29T12:34:56Z");
  assert.equal(formatTimestamp(1_709_210_096_120_000), "2024-02-29T12:34:56.120Z");
  assert.equal(formatTimestamp(1_709_210_096_000_001), "2024-02-29T12:34:56.000001Z");
  holds(
    fc.property(time, (micros) => assert.equal(parseTimestamp(formatTimestamp(micros)), micros)),
  );
});

test("a time that was never set is written as the year 1", () => {
  const items = [{ leaseDeadline: ZERO_TIME }];
  assert.equal(
    encodeJson(StorageItemsListResponseSchema, { items }),
    '{"items":[{"lease_deadline":"0001-01-01T00:00:00Z"}]}',
  );
});

// What a decoder makes of a body: the message, or that it is refused.
function outcomeOf(decode: () => unknown): unknown {
  try {
    return decode();
  } catch (error) {
    if (error instanceof QueueError && error.kind === "content") return "refused";
    throw error;
  }
}

function inPieces<T>(reading: Generator<undefined, T>): T {
  for (;;) {
    const { done, value } = reading.next();
    if (done === true) return value;
  }
}

// Texts that are nearly JSON: values of every type in every place, written in every way.
const letters = fc.array(
  fc.constantFrom(
    "a",
    "\u00e4",
    "\u{1f600}",
    "\\\\",
    '\\"',
    "\\n",
    "\\u0061",
    "\\ud800",
    "\\x",
    ":",
    "{",
    ",",
    " ",
    "\t",
    "\u0001",
  ),
  { maxLength: 90 },
);
const written = letters.map((some) => `"${some.join("")}"`);
const scalar = fc.oneof(
  { weight: 5, arbitrary: written },
  fc.constantFrom(
    "null",
    "true",
    "false",
    "nul",
    "1",
    "-0",
    "1e3",
    "01",
    "1.",
    "1e999",
    "-",
    "[]",
    "{}",
    "[1]",
    '{"a":1}',
    "",
    "NaN",
  ),
  fc.constantFrom('"QUJD"', '"QQ=="', '"Q==="', '"12"', '"1e2"', '"2024-01-01T00:00:00Z"'),
);
const space = fc.constantFrom("", "", "", " ", "\n\t", "\r ", "\u00a0");
const memberOf = (names: readonly string[], value: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc
    .tuple(space, fc.constantFrom(...names), space, value, space)
    .map(([a, name, b, given, c]) => `${a}"${name}"${b}:${given}${c}`);
const objectOf = (member: fc.Arbitrary<string>, maxLength: number): fc.Arbitrary<string> =>
  fc
    .tuple(fc.array(member, { maxLength }), fc.constantFrom(",", ",", ",", ",,", ""))
    .map(([members, comma]) => `{${members.join(comma)}}`);
const ITEM_FIELDS = [
  "id",
  "source_id",
  "is_leased",
  "attempts",
  "max_attempts",
  "payload",
  "kind",
  "created_at",
  "\\u0069d",
  "maxAttempts",
  "x",
];
const itemText = objectOf(memberOf(ITEM_FIELDS, scalar), 5);
const listText = fc
  .tuple(
    space,
    fc.array(fc.oneof({ weight: 9, arbitrary: itemText }, scalar), { maxLength: 4 }),
    fc.constantFrom("", "", ","),
  )
  .map(([a, items, end]) => `[${a}${items.join(`${a},`)}${end}]`);
const importText = fc
  .tuple(
    space,
    objectOf(
      fc.oneof(
        memberOf(["queue_name", "queueName", "partition"], scalar),
        memberOf(["items"], fc.oneof({ weight: 4, arbitrary: listText }, scalar)),
      ),
      4,
    ),
    fc.constantFrom("", "", "", "}", " x"),
  )
  .map(([a, object, end]) => a + object + a + end);

test("a large JSON body is understood as a small one is", () => {
  let understood = 0;
  holds(
    fc.property(importText, (given) => {
      const small = outcomeOf(() =>
        decodeJson(StorageItemsImportRequestSchema, Buffer.from(given)),
      );
      const large = outcomeOf(() =>
        inPieces(readJson(StorageItemsImportRequestSchema, given.toWellFormed(), 5)),
      );
      assert.deepEqual(large, small);
      if (small !== "refused") understood++;
    }),
    { numRuns: 3_000 },
  );
  assert.ok(understood > 50, `only ${understood} were understood`);
});

test("a large Protobuf body is understood as a small one is", () => {
  holds(
    fc.property(
      request,
      fc.array(fc.nat(255), { maxLength: 3 }),
      fc.nat(),
      (message, noise, where) => {
        const whole = Buffer.from(encodeProtobuf(QueueProduceRequestSchema, message));
        const at = where % (whole.length + 1);
        const body = Buffer.concat([whole.subarray(0, at), Buffer.from(noise), whole.subarray(at)]);
        const small = outcomeOf(() => decodeProtobuf(QueueProduceRequestSchema, body));
        const large = outcomeOf(() => inPieces(readProtobuf(QueueProduceRequestSchema, body, 5)));
        assert.deepEqual(large, small);
      },
    ),
    { numRuns: 1_000 },
  );
});

test("a field given twice is found, and one given once is not", () => {
  const once = fc.record(
    { encoding: text, kind: text, reference: text, utf8: text },
    { requiredKeys: [], noNullPrototype: true },
  );
  holds(
    fc.property(fc.array(once, { maxLength: 4 }), fc.nat(), letters, (items, where, long) => {
      const texts = items.map((each) => JSON.stringify(each));
      const body = (): string => `{"queue_name":"q","items":[${texts.join(",")}]}`;
      assert.equal(produce(body()).items.length, items.length);
      const at = where % Math.max(items.length, 1);
      const [name] = Object.keys(items[at] ?? {});
      if (name === undefined) return;
      const copy = JSON.stringify({ [name]: long.join("").repeat(3) });
      texts[at] = `${texts[at]!.slice(0, -1)},${copy.slice(1)}`;
      assert.throws(() => produce(body()), /given more than once/);
    }),
  );
});

// Microseconds of this thread, whatever else the machine does; the best of some, for it also collects
// garbage. The system counts them in steps of some milliseconds.
function cost(work: () => unknown): number {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3; i++) {
    const before = process.threadCpuUsage();
    outcomeOf(work);
    const { user, system } = process.threadCpuUsage(before);
    best = Math.min(best, user + system);
  }
  return best;
}

// Both decoders are given what takes some tens of milliseconds; anything that looks at all of the body
// again for each of its parts takes seconds.
const COST_MAX = 1_500_000;

for (const [name, make] of Object.entries(COSTLY)) {
  test(`reading takes time in proportion to the bytes: ${name}`, () => {
    const body = Buffer.from(make(4_900_000));
    const schema = QueueProduceRequestSchema;
    const inOneGo = cost(() => decodeJson(schema, body));
    const inSteps = cost(() => inPieces(readJson(schema, body.toString(), 65_536)));
    assert.ok(inOneGo < COST_MAX && inSteps < COST_MAX, `${inOneGo} and ${inSteps} microseconds`);
  });
}

test("a duration is read at the cost of its letters, however many digits it has", () => {
  for (const digits of [
    "9".repeat(5_000_000),
    `0.${"9".repeat(5_000_000)}`,
    "1ns".repeat(1_500_000),
  ]) {
    assert.ok(
      cost(() => assert.throws(() => parseDuration(`${digits}s`), /invalid duration/)) < 100_000,
    );
  }
});

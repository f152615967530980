// Both codecs against the library's own, and against each other.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, fromJsonString, toBinary, toJsonString } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { holds } from "../../test/support/properties.ts";
import { QueueProduceRequestSchema, QueueStatsResponseSchema } from "./gen/querator/v1/queue_pb.ts";
import {
  StorageItemsImportRequestSchema,
  StorageItemsListResponseSchema,
} from "./gen/querator/v1/storage_pb.ts";
import { decodeJson, encodeJson } from "./json.ts";
import { decodeProtobuf, encodeProtobuf } from "./protobuf.ts";
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

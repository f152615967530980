// The same conversation in JSON and in Protobuf, in every combination of request and reply. The
// client encodes and decodes with the library's own codecs, not with those of the server.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  create,
  type DescMessage,
  fromBinary,
  fromJson,
  type MessageInitShape,
  type MessageShape,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import * as queue from "../../src/codec/gen/querator/v1/queue_pb.ts";
import * as queues from "../../src/codec/gen/querator/v1/queues_pb.ts";
import { ReplySchema } from "../../src/codec/gen/querator/v1/reply_pb.ts";
import * as storage from "../../src/codec/gen/querator/v1/storage_pb.ts";
import * as items from "../../src/codec/gen/querator/v2/items_pb.ts";
import { ResultsResponseSchema } from "../../src/codec/gen/querator/v2/result_pb.ts";
import { setup } from "../support/server.ts";

const TYPES = { json: "application/json", protobuf: "application/protobuf" } as const;
type Format = keyof typeof TYPES;
const FORMATS = Object.keys(TYPES) as Format[];

type Call = <Q extends DescMessage, A extends DescMessage>(
  path: string,
  request: Q,
  init: MessageInitShape<Q>,
  reply: A,
) => Promise<MessageShape<A>>;

function client(address: string, sends: Format, accepts: Format): Call {
  return async (path, schema, init, replySchema) => {
    const message = create(schema, init);
    const response = await fetch(`${address}/${/^v\d\//.test(path) ? "" : "v1/"}${path}`, {
      method: "POST",
      headers: { "Content-Type": TYPES[sends], Accept: TYPES[accepts] },
      body:
        sends === "json"
          ? JSON.stringify(toJson(schema, message))
          : Buffer.from(toBinary(schema, message)),
    });
    assert.equal(response.headers.get("content-type"), TYPES[accepts]);
    const body = Buffer.from(await response.arrayBuffer());
    assert.equal(response.status, 200, body.toString());
    return accepts === "json"
      ? fromJson(replySchema, JSON.parse(body.toString()))
      : fromBinary(replySchema, body);
  };
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

for (const sends of FORMATS) {
  for (const accepts of FORMATS) {
    test(`a queue is used with ${sends} requests and ${accepts} replies`, async (t) => {
      const server = await setup(t);
      const call = client(server.server.address, sends, accepts);
      const q = { queueName: "q\u00fc" };
      const hot = { ...q, requestTimeout: "1m" };
      const ok = async (reply: Promise<MessageShape<typeof ReplySchema>>): Promise<void> => {
        const { code, message } = await reply;
        assert.deepEqual([code, message], [200, ""]);
      };

      await ok(
        call(
          "queues.create",
          queues.QueueInfoSchema,
          {
            ...q,
            leaseTimeout: "1m",
            expireTimeout: "24h",
            requestedPartitions: 2,
            maxAttempts: 3,
            reference: 'ref"\n',
          },
          ReplySchema,
        ),
      );
      const info = await call(
        "queues.info",
        queues.QueuesInfoRequestSchema,
        q,
        queues.QueueInfoSchema,
      );
      assert.deepEqual(
        [info.queueName, info.leaseTimeout, info.expireTimeout, info.maxAttempts, info.reference],
        ["q\u00fc", "1m0s", "24h0m0s", 3, 'ref"\n'],
      );
      assert.deepEqual(info.createdAt, info.updatedAt);
      const listed = await call(
        "queues.list",
        queues.QueuesListRequestSchema,
        {},
        queues.QueuesListResponseSchema,
      );
      assert.deepEqual(
        listed.items.map((each) => each.queueName),
        ["q\u00fc"],
      );

      const bytes = Uint8Array.of(0, 255, 1, 128);
      await ok(
        call(
          "queue.produce",
          queue.QueueProduceRequestSchema,
          {
            ...hot,
            items: [
              { encoding: "json", kind: 'k"\\', reference: "r\u{1f600}", bytes },
              { utf8: "t\u00e4xt" },
              {},
              { utf8: "later", enqueueAt: timestampFromMs(4_000_000_000_000) },
            ],
          },
          ReplySchema,
        ),
      );
      const lease = { ...hot, batchSize: 10, clientId: "c" };
      const leased = await call(
        "queue.lease",
        queue.QueueLeaseRequestSchema,
        lease,
        queue.QueueLeaseResponseSchema,
      );
      assert.deepEqual([leased.queueName, leased.partition], ["q\u00fc", 0]);
      assert.deepEqual(
        leased.items.map((i) => [i.encoding, i.kind, i.reference, i.attempts, text(i.bytes)]),
        [
          ["json", 'k"\\', "r\u{1f600}", 1, text(bytes)],
          ["", "", "", 1, "t\u00e4xt"],
          ["", "", "", 1, ""],
        ],
      );
      assert.deepEqual([...leased.items[0]!.bytes], [...bytes]);
      const deadline = leased.items[0]!.leaseDeadline!;
      const { now } = await server.advance("0s");
      assert.ok(Math.abs(Number(deadline.seconds) - Date.parse(now) / 1000 - 60) < 5);
      assert.equal(deadline.nanos % 1000, 0);

      const page = await call(
        "storage/items.list",
        storage.StorageItemsListRequestSchema,
        { ...q, limit: 2 },
        storage.StorageItemsListResponseSchema,
      );
      assert.deepEqual(
        page.items.map((i) => [i.id, i.isLeased, i.attempts, i.kind, text(i.payload)]),
        [
          [leased.items[0]!.id, true, 1, 'k"\\', text(bytes)],
          [leased.items[1]!.id, true, 1, "", "t\u00e4xt"],
        ],
      );
      assert.deepEqual(page.items[0]!.leaseDeadline, deadline);
      const scheduled = await call(
        "storage/scheduled.list",
        storage.StorageItemsListRequestSchema,
        q,
        storage.StorageItemsListResponseSchema,
      );
      assert.deepEqual(
        scheduled.items.map((i) => text(i.payload)),
        ["later"],
      );

      await ok(
        call(
          "queue.complete",
          queue.QueueCompleteRequestSchema,
          { ...hot, ids: [leased.items[1]!.id] },
          ReplySchema,
        ),
      );
      await ok(
        call(
          "queue.retry",
          queue.QueueRetryRequestSchema,
          {
            ...q,
            items: [
              { id: leased.items[0]!.id },
              { id: leased.items[2]!.id, retryAt: timestampFromMs(4_000_000_000_000) },
            ],
          },
          ReplySchema,
        ),
      );
      const stats = await call(
        "queue.stats",
        queue.QueueStatsRequestSchema,
        q,
        queue.QueueStatsResponseSchema,
      );
      assert.deepEqual(
        stats.logicalQueues[0]!.partitions.map((p) => [
          p.partition,
          p.total,
          p.totalLeased,
          p.scheduled,
        ]),
        [
          [0, 1, 0, 2],
          [1, 0, 0, 0],
        ],
      );

      const expireDeadline = { seconds: 4_000_000_000n, nanos: 123_456_000 };
      const imported = await call(
        "storage/items.import",
        storage.StorageItemsImportRequestSchema,
        {
          ...q,
          partition: 1,
          items: [
            { sourceId: "s", expireDeadline, attempts: 5, encoding: "e", payload: bytes },
            { isLeased: true, leaseDeadline: expireDeadline },
          ],
        },
        storage.StorageItemsImportResponseSchema,
      );
      assert.deepEqual(
        imported.items.map((i) => [i.sourceId, i.isLeased, i.attempts, i.encoding]),
        [
          ["s", false, 5, "e"],
          ["", true, 0, ""],
        ],
      );
      assert.equal(imported.items[0]!.expireDeadline!.nanos, 123_456_000);
      assert.equal(imported.items[1]!.leaseDeadline!.nanos, 123_456_000);
      const again = await call(
        "v2/items.import",
        items.ItemsImportRequestSchema,
        { ...q, partition: 1, items: [{ sourceId: "s", utf8: "other" }, {}] },
        items.ItemsImportResponseSchema,
      );
      assert.deepEqual(
        again.results.map(({ status }) => status),
        ["duplicate", "created"],
      );
      assert.equal(again.results[0]!.id, imported.items[0]!.id);
      const [, fresh] = again.results;
      const unknown = `${fresh!.id.slice(0, -1)}Z`;
      const deletion = await call(
        "v2/items.delete",
        items.ItemsDeleteRequestSchema,
        { ...q, ids: [fresh!.id, unknown] },
        ResultsResponseSchema,
      );
      assert.deepEqual(
        deletion.results.map(({ ok, code }) => (ok ? "" : code)),
        ["", "item_not_found"],
      );
      await ok(
        call(
          "storage/items.delete",
          storage.StorageItemsDeleteRequestSchema,
          { ...q, partition: 1, ids: imported.items.map((i) => i.id) },
          ReplySchema,
        ),
      );
      await ok(
        call(
          "queue.clear",
          queue.QueueClearRequestSchema,
          { ...q, queue: true, scheduled: true },
          ReplySchema,
        ),
      );
      await ok(call("queue.reload", queue.QueueReloadRequestSchema, q, ReplySchema));
      await ok(call("queues.delete", queues.QueuesDeleteRequestSchema, q, ReplySchema));
    });
  }
}

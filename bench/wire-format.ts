// The requests of the load generator and the one reply that it reads, in the formats of the API.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  QueueCompleteRequestSchema,
  QueueLeaseRequestSchema,
  QueueLeaseResponseSchema,
  QueueProduceRequestSchema,
} from "../src/codec/gen/querator/v1/queue_pb.ts";

export interface LeasedItem {
  readonly id: string;
  /** The first 36 characters of its payload. */
  readonly head: string;
}

export interface WireFormat {
  readonly version: "v1" | "v2";
  /** What a queue has beyond the usual settings, as members of JSON that begin with a comma. */
  readonly settings: string;
  /** Whether there is a second queue for each, by `nextOf` its name. */
  readonly hasNext: boolean;
  produce(queueName: string, payloads: readonly string[]): string | Uint8Array;
  lease(queueName: string, clientId: string, batchSize: number): string | Uint8Array;
  complete(queueName: string, partition: number, ids: readonly string[]): string | Uint8Array;
  leased(reply: Buffer): { readonly partition: number; readonly items: readonly LeasedItem[] };
  /** What a consumer asks for between lease and complete. */
  meanwhile?(queueName: string, ids: readonly string[]): readonly [call: string, body: string];
}

/** The queue to which what is completed leads. */
export function nextOf(queueName: string): string {
  return `${queueName}-next`;
}

const TIMEOUT = "30s";
const LEASE_TIMEOUT = "1s";

// Put together by hand: it must cost the generator less than the server.
const JSON_FORMAT: WireFormat = {
  version: "v1",
  settings: "",
  hasNext: false,
  produce(queueName, payloads) {
    const items = payloads
      .map((utf8) => `{"encoding":"text","kind":"load","reference":"ref","utf8":"${utf8}"}`)
      .join(",");
    return `{"queue_name":"${queueName}","request_timeout":"${TIMEOUT}","items":[${items}]}`;
  },
  lease: (queueName, clientId, batchSize) =>
    `{"queue_name":"${queueName}","request_timeout":"${LEASE_TIMEOUT}","batch_size":${batchSize},"client_id":"${clientId}"}`,
  complete: (queueName, partition, ids) =>
    `{"queue_name":"${queueName}","partition":${partition},"request_timeout":"${TIMEOUT}","ids":["${ids.join('","')}"]}`,
  leased(reply) {
    const { partition = 0, items = [] } = JSON.parse(reply.toString()) as {
      partition?: number;
      items?: { id: string; bytes: string }[];
    };
    // 48 characters of base64 are 36 bytes.
    const head = (bytes: string) => Buffer.from(bytes.slice(0, 48), "base64").toString("latin1");
    return { partition, items: items.map(({ id, bytes }) => ({ id, head: head(bytes) })) };
  },
};

/** What a request says more than that of a plain queue, as members of JSON that begin with a comma. */
interface Feature {
  readonly settings?: string;
  item?(): string;
  /** Of each lease that is completed. */
  readonly lease?: string;
  complete?(queueName: string, count: number): string;
  readonly hasNext?: boolean;
  meanwhile?(queueName: string, ids: readonly string[]): readonly [call: string, body: string];
}

const leasesOf = (ids: readonly string[], more = ""): string =>
  ids.map((id) => `{"lease_id":"${id}"${more}}`).join(",");

// The same under /v2: a payload that is a text, or a value of JSON.
function jsonV2(payload: (text: string) => string, feature: Feature = {}): WireFormat {
  const { settings = "", item = () => "", lease, complete = () => "", hasNext = false } = feature;
  return {
    version: "v2",
    settings,
    hasNext,
    produce(queueName, payloads) {
      const items = payloads
        .map(
          (text) => `{"encoding":"text","kind":"load","reference":"ref",${payload(text)}${item()}}`,
        )
        .join(",");
      return `{"queue_name":"${queueName}","request_timeout":"${TIMEOUT}","items":[${items}]}`;
    },
    lease: (queueName, client, batchSize) =>
      `{"queue_name":"${queueName}","request_timeout":"${LEASE_TIMEOUT}","batch_size":${batchSize},"client":"${client}"}`,
    complete(queueName, _, ids) {
      const more = complete(queueName, ids.length);
      return `{"queue_name":"${queueName}","request_timeout":"${TIMEOUT}","leases":[${leasesOf(ids, lease)}]${more}}`;
    },
    leased(reply) {
      const { items = [] } = JSON.parse(reply.toString()) as {
        items?: { lease_id: string; utf8?: string; json?: readonly [string] }[];
      };
      const heads = items.map(({ lease_id, utf8, json }) => {
        return { id: lease_id, head: (utf8 ?? json![0]).slice(0, 36) };
      });
      return { partition: 0, items: heads };
    },
    ...(feature.meanwhile === undefined ? {} : { meanwhile: feature.meanwhile }),
  };
}

const text = (utf8: string): string => `"utf8":"${utf8}"`;
const NEXT_ITEM = `{"kind":"next","utf8":"${"x".repeat(100)}"}`;
const nextItems = (count: number): string =>
  `"items":[${Array.from({ length: count }, () => NEXT_ITEM).join(",")}]`;

let keys = 0;

/** What may be asked of the server beyond a plain queue, under the names that tables show. */
const FEATURES = {
  "v2-unique": jsonV2(text, { item: () => `,"unique_key":"${process.pid}-${++keys}"` }),
  "v2-extend": jsonV2(text, {
    meanwhile: (queueName, ids) => [
      "queue.extend",
      `{"queue_name":"${queueName}","leases":[${leasesOf(ids, ',"for":"10m"')}]}`,
    ],
  }),
  "v2-history": jsonV2(text, {
    settings: ',"keep_completed":"1h"',
    lease: `,"result":{"ok":true,"text":"${"x".repeat(80)}"}`,
  }),
  "v2-next": jsonV2(text, {
    hasNext: true,
    complete: (queueName, count) =>
      `,"produce":[{"queue_name":"${nextOf(queueName)}",${nextItems(count)}}]`,
  }),
  "v2-next-apart": jsonV2(text, {
    hasNext: true,
    meanwhile: (queueName, { length }) => [
      "queue.produce",
      `{"queue_name":"${nextOf(queueName)}",${nextItems(length)}}`,
    ],
  }),
};

const PROTOBUF_FORMAT: WireFormat = {
  version: "v1",
  settings: "",
  hasNext: false,
  produce(queueName, payloads) {
    const items = payloads.map((utf8) => ({
      encoding: "text",
      kind: "load",
      reference: "ref",
      utf8,
    }));
    const request = { queueName, requestTimeout: TIMEOUT, items };
    return toBinary(QueueProduceRequestSchema, create(QueueProduceRequestSchema, request));
  },
  lease(queueName, clientId, batchSize) {
    const request = { queueName, clientId, batchSize, requestTimeout: LEASE_TIMEOUT };
    return toBinary(QueueLeaseRequestSchema, create(QueueLeaseRequestSchema, request));
  },
  complete(queueName, partition, ids) {
    const request = { queueName, partition, ids: [...ids], requestTimeout: TIMEOUT };
    return toBinary(QueueCompleteRequestSchema, create(QueueCompleteRequestSchema, request));
  },
  leased(reply) {
    const { partition, items } = fromBinary(QueueLeaseResponseSchema, reply);
    const head = (bytes: Uint8Array) =>
      Buffer.from(bytes.buffer, bytes.byteOffset, 36).toString("latin1");
    return { partition, items: items.map(({ id, bytes }) => ({ id, head: head(bytes) })) };
  },
};

export const WIRE_FORMATS = {
  json: JSON_FORMAT,
  protobuf: PROTOBUF_FORMAT,
  "v2-text": jsonV2(text),
  "v2-json": jsonV2((value) => `"json":["${value}"]`),
  ...FEATURES,
};

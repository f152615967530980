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
  produce(queueName: string, payloads: readonly string[]): string | Uint8Array;
  lease(queueName: string, clientId: string, batchSize: number): string | Uint8Array;
  complete(queueName: string, partition: number, ids: readonly string[]): string | Uint8Array;
  leased(reply: Buffer): { readonly partition: number; readonly items: readonly LeasedItem[] };
}

const TIMEOUT = "30s";
const LEASE_TIMEOUT = "1s";

// Put together by hand: it must cost the generator less than the server.
const JSON_FORMAT: WireFormat = {
  version: "v1",
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

// The same under /v2: a payload that is a text, or a value of JSON.
function jsonV2(payload: (text: string) => string): WireFormat {
  return {
    version: "v2",
    produce(queueName, payloads) {
      const items = payloads
        .map((text) => `{"encoding":"text","kind":"load","reference":"ref",${payload(text)}}`)
        .join(",");
      return `{"queue_name":"${queueName}","request_timeout":"${TIMEOUT}","items":[${items}]}`;
    },
    lease: (queueName, client, batchSize) =>
      `{"queue_name":"${queueName}","request_timeout":"${LEASE_TIMEOUT}","batch_size":${batchSize},"client":"${client}"}`,
    complete(queueName, _, ids) {
      const leases = ids.map((id) => `{"lease_id":"${id}"}`).join(",");
      return `{"queue_name":"${queueName}","request_timeout":"${TIMEOUT}","leases":[${leases}]}`;
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
  };
}

const PROTOBUF_FORMAT: WireFormat = {
  version: "v1",
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
  "v2-text": jsonV2((text) => `"utf8":"${text}"`),
  "v2-json": jsonV2((text) => `"json":["${text}"]`),
};

// Spans of slow requests, as a collector gets them: a stand-in here, whose requests OpenTelemetry's own encoder is to
// make alike.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { JsonTraceSerializer } from "@opentelemetry/otlp-transformer";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import type { Logger } from "../../src/log.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import type { Json } from "../support/items.ts";
import { post } from "../support/post.ts";
import { SILENT, setup, type TestServer } from "../support/server.ts";

interface Collected {
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Json;
}

type Answer = (response: ServerResponse, n: number) => void;

const TAKEN: Answer = (response) => response.end('{"partialSuccess":{}}');

/** A collector that answers as it is told. */
class Collector {
  readonly url: string;
  readonly got: Collected[] = [];
  #told = Promise.withResolvers<void>();

  private constructor(url: string) {
    this.url = url;
  }

  static async start(t: TestContext, answer: Answer = TAKEN): Promise<Collector> {
    const server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = JSON.parse(Buffer.concat(chunks).toString());
      collector.got.push({ url: request.url!, headers: request.headers, body });
      response.setHeader("Content-Type", "application/json");
      answer(response, collector.got.length);
      collector.#told.resolve();
      collector.#told = Promise.withResolvers();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    const collector = new Collector(`http://127.0.0.1:${port}`);
    return collector;
  }

  /** Waits for so many requests. */
  async requests(count: number): Promise<readonly Collected[]> {
    while (this.got.length < count) await this.#told.promise;
    return this.got;
  }

  /** Waits for a span of which this is so. */
  async span(isIt: (span: Json) => boolean): Promise<Json> {
    for (;;) {
      const found = this.got.flatMap(({ body }) => spansIn(body)).find(isIt);
      if (found !== undefined) return found;
      await this.#told.promise;
    }
  }
}

const spansIn = (body: Json): Json[] => body.resourceSpans[0].scopeSpans[0].spans;

/** Attributes by their keys. */
const plain = (attributes: Json[]): Json =>
  Object.fromEntries(
    attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]),
  );

const produce = (server: TestServer, headers: Json = {}, queue_name = "q") => {
  const body = JSON.stringify({ queue_name, items: [{ utf8: "a" }] });
  return post(`${server.server.address}/v2/queue.produce`, body, { headers });
};

const traceId = "a".repeat(32);
const parentSpanId = "b".repeat(16);
const traceparent = `00-${traceId}-${parentSpanId}-01`;

test("a slow request is told as OpenTelemetry's own encoder would tell it", async (t) => {
  const collector = await Collector.start(t);
  const otlp = { otlpEndpoint: collector.url, otlpSlow: "0s", otlpHeaders: "api-key=s%20e,b=c" };
  const server = await setup(t, otlp);
  await server.createQueue("q");
  const from = Date.now() - 1;
  await produce(server, { traceparent, tracestate: "v=1", "X-Request-Id": "r-1" });
  const until = Date.now() + 1;
  const span = await collector.span(({ name }) => name === "POST /v2/queue.produce");
  const { url, headers, body } = collector.got[0]!;
  assert.equal(url, "/v1/traces");
  assert.deepEqual([headers["api-key"], headers.b], ["s e", "c"]);
  assert.equal(headers["content-type"], "application/json");
  const { resource } = body.resourceSpans[0];
  const { scope } = body.resourceSpans[0].scopeSpans[0];
  const attributes = plain(span.attributes);
  assert.deepEqual(
    [span.traceId, span.parentSpanId, span.traceState, span.kind],
    [traceId, parentSpanId, "v=1", 2],
  );
  const bytes = attributes["http.response.body.size"];
  assert.ok(bytes > 40, String(bytes));
  assert.deepEqual(attributes, {
    "http.request.method": "POST",
    "url.path": "/v2/queue.produce",
    "http.route": "/v2/queue.produce",
    "http.response.status_code": 200,
    "http.response.body.size": bytes,
    "messaging.destination.name": "q",
    "querator.request_id": "r-1",
  });
  const [start, end] = [span.startTimeUnixNano, span.endTimeUnixNano].map((n) => Number(n) / 1e6);
  assert.ok(start! >= from && start! <= end! && end! <= until, `${from} ${start} ${end} ${until}`);
  // What the encoder makes of the same span.
  const time = (nanos: string): [number, number] => [
    Number(BigInt(nanos) / 1_000_000_000n),
    Number(BigInt(nanos) % 1_000_000_000n),
  ];
  const context = { traceId, traceFlags: 1, isRemote: true };
  const state = { serialize: () => "v=1" };
  const reference = {
    name: span.name,
    kind: span.kind - 1,
    spanContext: () => ({ ...context, spanId: span.spanId, traceState: state }),
    parentSpanContext: { ...context, spanId: parentSpanId },
    startTime: time(span.startTimeUnixNano),
    endTime: time(span.endTimeUnixNano),
    status: { code: 0 },
    attributes,
    links: [],
    events: [],
    resource: { attributes: plain(resource.attributes) },
    instrumentationScope: scope,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  } as unknown as ReadableSpan;
  const encoded = Buffer.from(JsonTraceSerializer.serializeRequest([reference])!).toString();
  const wanted = JSON.parse(encoded);
  const own = { ...body.resourceSpans[0], scopeSpans: [{ scope, spans: [span] }] };
  assertWithin(own, wanted.resourceSpans[0], "resourceSpans[0]");
});

// Each member is one that the other has, of the same value; whole numbers may be texts (64 bits in JSON).
function assertWithin(own: Json, wanted: Json, path: string): void {
  if (typeof own !== "object") {
    assert.equal(String(own), String(wanted), path);
    return;
  }
  if (Array.isArray(own)) assert.equal(own.length, wanted.length, path);
  for (const [key, value] of Object.entries(own)) {
    assert.ok(wanted !== undefined && key in wanted, `${path}.${key} is not known`);
    assertWithin(value, wanted[key], `${path}.${key}`);
  }
}

test("only what takes long is told, with its status, and what waits for items is not", async (t) => {
  const collector = await Collector.start(t);
  let storage: FaultyStorage | undefined;
  const server = await setup(
    t,
    { otlpEndpoint: `${collector.url}/`, otlpSlow: "500ms" },
    {
      wrapStorage: (inner) => {
        storage = new FaultyStorage(inner);
        return storage.storage;
      },
    },
  );
  await server.createQueue("q");
  await server.ok("/v2/queue.lease", { queue_name: "q", request_timeout: "600ms" });
  storage!.next("commit", "wait");
  const produced = produce(server, { traceparent: "not valid" });
  await storage!.waits();
  const from = performance.now();
  while (performance.now() - from < 510) await new Promise((resolve) => setImmediate(resolve));
  storage!.release();
  await produced;
  await collector.requests(1);
  const [span, ...more] = collector.got.flatMap(({ body }) => spansIn(body));
  assert.deepEqual([span.name, more], ["POST /v2/queue.produce", []]);
  assert.match(span.traceId, /^[\da-f]{32}$/);
  assert.equal(span.parentSpanId, undefined);
  assert.ok(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano) >= 500_000_000n);
});

test("requests that node:http reads, and those that fail, are told as well, over threads", async (t) => {
  const collector = await Collector.start(t);
  const otlp = { otlpEndpoint: collector.url, otlpSlow: "0s" };
  const server = await setup(t, { ...otlp, threads: 2 });
  await fetch(`${server.server.address}/health`);
  await produce(server, { TE: "trailers", traceparent }, "nowhere");
  const page = await collector.span(({ name }) => name === "GET /health");
  assert.deepEqual(page.status, {});
  const failed = await collector.span(({ name }) => name === "POST /v2/queue.produce");
  const { "http.response.status_code": status, "messaging.destination.name": queue } = plain(
    failed.attributes,
  );
  assert.deepEqual([failed.traceId, status, queue], [traceId, 404, "nowhere"]);
});

test("what a collector cannot take now is sent again, and what it refuses is dropped and told once", async (t) => {
  const collector = await Collector.start(t, (response, n) => {
    if (n === 1) response.writeHead(503, { "Retry-After": "1" }).end();
    else if (n === 2) response.end('{"partialSuccess":{"rejectedSpans":"1","errorMessage":"no"}}');
    else response.writeHead(400).end();
  });
  const warnings: Json[] = [];
  const told = Promise.withResolvers<void>();
  const warn = (fields: Json): void => {
    warnings.push(fields);
    told.resolve();
  };
  const logger = { ...SILENT, warn } as unknown as Logger;
  const otlp = { otlpEndpoint: collector.url, otlpSlow: "0s" };
  const server = await setup(t, otlp, { logger });
  await server.createQueue("q");
  const [first, second] = await collector.requests(2);
  assert.deepEqual(spansIn(second!.body)[0], spansIn(first!.body)[0]);
  await told.promise;
  await produce(server);
  await collector.requests(3);
  await produce(server);
  await collector.requests(4);
  assert.deepEqual(warnings, [{ dropped: 1, reason: "no" }]);
});

test("what is left is sent when the server stops, and a collector that does not answer holds nobody up", async (t) => {
  const collector = await Collector.start(t, () => undefined);
  const server = await setup(t, { otlpEndpoint: collector.url, otlpSlow: "0s" });
  await server.createQueue("q");
  await collector.requests(1);
  for (let i = 0; i < 3_000; i++) await server.ok("queue.stats", { queue_name: "q" });
  await server.server.stop();
  await collector.requests(2);
  // What has come since the first batch, up to what may wait.
  assert.ok(spansIn(collector.got[1]!.body).length <= 2_048);
});

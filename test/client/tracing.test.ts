// The spans that a client and its workers make, as OpenTelemetry's own SDK records them.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as api from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import * as names from "@opentelemetry/semantic-conventions/incubating";
import { type TracingOptions, UniqueKeyTakenError } from "@querator/client";
import { startOldServer } from "../support/old-server.ts";
import { clientOf, setup as setupWorld, type World } from "./setup.ts";

const exporter = new InMemorySpanExporter();
const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
api.trace.setGlobalTracerProvider(provider);
api.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());

const VARIABLE = "OTEL_SEMCONV_STABILITY_OPT_IN";

async function setup(t: TestContext, how: Partial<TracingOptions> = {}): Promise<World> {
  const world = await setupWorld(t, { client: { tracing: { api, ...how } } });
  exporter.reset();
  return world;
}

/** The spans of a name that have ended. */
const spansOf = (name: string): readonly ReadableSpan[] =>
  exporter.getFinishedSpans().filter((span) => span.name === name);

function spanOf(name: string): ReadableSpan {
  const [span, ...more] = spansOf(name);
  assert.ok(span, `${name} is none of ${exporter.getFinishedSpans().map((each) => each.name)}`);
  assert.deepEqual(more, []);
  return span;
}

/** What a span is linked to. */
const linked = ({ links }: ReadableSpan): readonly string[] =>
  links.map(({ context }) => `${context.traceId} ${context.spanId}`);

const placeOf = (span: ReadableSpan): string => {
  const { traceId, spanId } = span.spanContext();
  return `${traceId} ${spanId}`;
};

const parentOf = ({ parentSpanContext }: ReadableSpan): string | undefined =>
  parentSpanContext && `${parentSpanContext.traceId} ${parentSpanContext.spanId}`;

/** What is wrong, if it is. */
const errorOf = ({ attributes, status }: ReadableSpan): unknown[] => [
  attributes[names.ATTR_ERROR_TYPE],
  status.code,
];

const tracer = api.trace.getTracer("test");

/** Does something within a span of the program. */
function within<T>(name: string, does: () => Promise<T>): Promise<T> {
  return tracer.startActiveSpan(name, async (span) => {
    try {
      return await does();
    } finally {
      span.end();
    }
  });
}

test("spans are named as the conventions have it, and those of consumers are linked to the producer's", async (t) => {
  const { client, server } = await setup(t);
  const { id } = await within("caller", () => client.produce("jobs", { payload: "a" }));
  const [item] = await client.lease("jobs");
  await client.complete("jobs", item!);
  const [send, receive, settle] = ["send jobs", "receive jobs", "complete jobs"].map(spanOf) as [
    ReadableSpan,
    ReadableSpan,
    ReadableSpan,
  ];
  const { hostname, port } = new URL(server.server.address);
  const common = {
    [names.ATTR_MESSAGING_SYSTEM]: "querator",
    [names.ATTR_MESSAGING_DESTINATION_NAME]: "jobs",
    [names.ATTR_SERVER_ADDRESS]: hostname,
    [names.ATTR_SERVER_PORT]: Number(port),
  };
  const of = (name: string, type: string) => ({
    ...common,
    [names.ATTR_MESSAGING_OPERATION_NAME]: name,
    [names.ATTR_MESSAGING_OPERATION_TYPE]: type,
  });
  const one = { [names.ATTR_MESSAGING_MESSAGE_ID]: id };
  assert.deepEqual(send.attributes, { ...of("send", "send"), ...one });
  assert.deepEqual(receive.attributes, {
    ...of("receive", "receive"),
    [names.ATTR_MESSAGING_BATCH_MESSAGE_COUNT]: 1,
  });
  assert.deepEqual(settle.attributes, { ...of("complete", "settle"), ...one });
  assert.deepEqual(
    [send, receive, settle].map(({ kind }) => kind),
    [api.SpanKind.PRODUCER, api.SpanKind.CLIENT, api.SpanKind.CLIENT],
  );
  assert.equal(parentOf(send), placeOf(spanOf("caller")));
  assert.deepEqual([receive, settle].map(linked), [[placeOf(send)], [placeOf(send)]]);
  const { traceId, spanId } = send.spanContext();
  assert.equal(item!.traceparent, `00-${traceId}-${spanId}-01`);
  assert.deepEqual(send.instrumentationScope, {
    name: "@querator/client",
    version: undefined,
    schemaUrl: "https://opentelemetry.io/schemas/1.30.0",
  });
});

test("a handler runs in a span of its own trace, linked to the producer, and what it does belongs to that", async (t) => {
  const { client } = await setup(t);
  await client.queues.create({ queueName: "next" });
  await within("caller", () => client.produce("jobs", { payload: "a" }));
  const worker = await within("start", async () =>
    client.worker("jobs", async (item) => {
      await client.produce("next", { payload: "b" });
      await within("work", async () => item.complete());
    }),
  );
  await worker.events.once("completed");
  await worker.close();
  const process = spanOf("process jobs");
  assert.equal(process.kind, api.SpanKind.CONSUMER);
  assert.equal(parentOf(process), undefined);
  assert.deepEqual(linked(process), [placeOf(spanOf("send jobs"))]);
  assert.equal(process.attributes["messaging.querator.attempts"], 1);
  for (const name of ["send next", "work", "complete jobs"]) {
    assert.equal(parentOf(spanOf(name)), placeOf(process), name);
  }
  // What a worker leases ahead nobody has been given yet.
  assert.deepEqual(spansOf("receive jobs"), []);
});

test("a handler belongs to the trace of its item if it is asked for, and each attempt has a span", async (t) => {
  const { client } = await setup(t, { isParent: true });
  await client.produce("jobs", { payload: "a" });
  const worker = client.worker(
    "jobs",
    (item) => {
      if (item.attempts === 1) throw new TypeError("once");
    },
    { retry: () => 0 },
  );
  await worker.events.once("completed");
  await worker.close();
  const [first, second] = spansOf("process jobs") as [ReadableSpan, ReadableSpan];
  const send = spanOf("send jobs");
  assert.deepEqual([first, second].map(parentOf), [placeOf(send), placeOf(send)]);
  assert.deepEqual([first, second].map(linked), [[placeOf(send)], [placeOf(send)]]);
  assert.deepEqual(errorOf(first), ["TypeError", api.SpanStatusCode.ERROR]);
  assert.equal(first.events[0]?.attributes?.[names.ATTR_EXCEPTION_MESSAGE], "once");
  assert.deepEqual(errorOf(second), [undefined, api.SpanStatusCode.UNSET]);
  assert.equal(parentOf(spanOf("retry jobs")), placeOf(first));
  assert.equal(parentOf(spanOf("complete jobs")), placeOf(second));
});

test("a batch has one span, with a link to each producer", async (t) => {
  const { client } = await setup(t, { isParent: true });
  await client.produce("jobs", [{ payload: "a" }, { payload: "b" }]);
  await client.produce("jobs", { payload: "c" });
  const sends = spansOf("send jobs");
  const count = names.ATTR_MESSAGING_BATCH_MESSAGE_COUNT;
  assert.deepEqual(
    sends.map(({ attributes }) => attributes[count]),
    [2, undefined],
  );
  const worker = client.worker("jobs", () => undefined, { batch: 10 });
  while (worker.counters.completed < 3) await worker.events.once("completed");
  await worker.close();
  const batches = spansOf("process jobs");
  assert.equal(
    batches.reduce((sum, { attributes }) => sum + Number(attributes[count]), 0),
    3,
  );
  assert.deepEqual(new Set(batches.flatMap(linked)), new Set(sends.map(placeOf)));
  assert.deepEqual(
    batches.map(parentOf),
    batches.map(() => undefined),
  );
});

test("what is produced with a complete belongs to the handler, and each queue has a span", async (t) => {
  const { client } = await setup(t);
  await client.queues.create({ queueName: "next" });
  await client.produce("jobs", { payload: "a" });
  const worker = client.worker("jobs", (item) => {
    item.complete(undefined, {
      produce: [{ queueName: "next", items: { payload: "b" } }],
    });
  });
  await worker.events.once("completed");
  await worker.close();
  const send = spanOf("send next");
  assert.equal(parentOf(send), placeOf(spanOf("process jobs")));
  const [next] = await client.lease("next");
  assert.match(next!.traceparent!, new RegExp(placeOf(send).replace(" ", "-")));
});

test("a trace that an item brings itself is kept, and linked to", async (t) => {
  const { client } = await setup(t);
  const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  await client.produce("jobs", { payload: "a", traceparent, tracestate: "v=1" });
  const [item] = await client.lease("jobs");
  assert.deepEqual([item!.traceparent, item!.tracestate], [traceparent, "v=1"]);
  const own = `${"a".repeat(32)} ${"b".repeat(16)}`;
  assert.deepEqual(linked(spanOf("send jobs")), [own]);
  const { links } = spanOf("receive jobs");
  assert.equal(links[0]?.context.traceState?.serialize(), "v=1");
  const found = await client.items.get(item!.id);
  assert.deepEqual([found.traceparent, found.tracestate], [traceparent, "v=1"]);
});

test("what fails is told by its code, and a lease that finds nothing, or is not wanted, has no span", async (t) => {
  const { client } = await setup(t);
  assert.deepEqual(await client.lease("jobs", { requestTimeout: "10ms" }), []);
  const controller = new AbortController();
  const leasing = client.lease("jobs", { signal: controller.signal });
  controller.abort();
  await assert.rejects(leasing);
  assert.deepEqual(spansOf("receive jobs"), []);
  await assert.rejects(client.lease("nowhere"));
  await assert.rejects(client.produce("nowhere", {}));
  await client.produce("jobs", { uniqueKey: "k" });
  const taken = client.produce("jobs", { uniqueKey: "k", onDuplicate: "reject" });
  await assert.rejects(taken, UniqueKeyTakenError);
  const { ERROR } = api.SpanStatusCode;
  assert.deepEqual(errorOf(spanOf("receive nowhere")), ["queue-not-found", ERROR]);
  assert.deepEqual(errorOf(spanOf("send nowhere")), ["queue-not-found", ERROR]);
  assert.deepEqual(errorOf(spansOf("send jobs")[1]!), ["unique-key-taken", ERROR]);
});

test("the loop over a queue traces what it leases and what it ends", async (t) => {
  const { client } = await setup(t);
  await client.produce("jobs", { payload: "a" });
  for await (const item of client.consume("jobs")) {
    assert.ok(item.traceparent);
    break;
  }
  const send = placeOf(spanOf("send jobs"));
  assert.deepEqual(linked(spanOf("receive jobs")), [send]);
  // Left in the middle.
  assert.deepEqual(linked(spanOf("retry jobs")), [send]);
});

test("newer names are used if OTEL_SEMCONV_STABILITY_OPT_IN asks for them", async (t) => {
  const before = process.env[VARIABLE];
  t.after(() => {
    if (before === undefined) delete process.env[VARIABLE];
    else process.env[VARIABLE] = before;
  });
  const both = [names.ATTR_MESSAGING_SYSTEM, names.ATTR_MESSAGING_SYSTEM_NAME];
  for (const [wanted, systems, version] of [
    ["http", ["querator", undefined], "1.30.0"],
    ["http, messaging", [undefined, "querator"], "1.45.0"],
    ["messaging/dup,messaging", ["querator", "querator"], "1.45.0"],
  ] as const) {
    process.env[VARIABLE] = wanted;
    const { client } = await setup(t);
    await client.produce("jobs", {});
    const { attributes, instrumentationScope } = spanOf("send jobs");
    assert.deepEqual(
      both.map((name) => attributes[name]),
      systems,
    );
    assert.equal(instrumentationScope.schemaUrl, `https://opentelemetry.io/schemas/${version}`);
  }
});

test("a client that traces makes nothing of it without an SDK", async (t) => {
  api.trace.disable();
  t.after(() => api.trace.setGlobalTracerProvider(provider));
  const { client } = await setup(t);
  await client.produce("jobs", { payload: "a" });
  const worker = client.worker("jobs", (item) => {
    assert.equal(item.traceparent, undefined);
  });
  await worker.events.once("completed");
  await worker.close();
  assert.deepEqual(exporter.getFinishedSpans(), []);
});

test("with a server that knows /v1 only a trace ends with its spans, and the work is done", async (t) => {
  const { server } = await setup(t);
  const url = await startOldServer(t, server.server.address);
  const client = clientOf(t, url, { tracing: { api } });
  await client.produce("jobs", { payload: "a" });
  const [item] = await client.lease("jobs");
  assert.deepEqual([item!.text, item!.traceparent], ["a", undefined]);
  await client.complete("jobs", item!);
  assert.deepEqual(["send jobs", "receive jobs", "complete jobs"].map(spanOf).flatMap(linked), []);
});

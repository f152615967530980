// What the OpenAPI document says a field may hold is true: a value at each bound is accepted, by the
// schema and by the server, and one beyond it is refused by both.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { notesOf } from "../../src/api/openapi/document.ts";
import { EXAMPLE_ID } from "../../src/api/openapi/fields.ts";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { DURATION_PATTERN, parseDuration } from "../../src/duration.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import {
  type Json,
  leaseOf,
  leasesOf,
  ON_LEASES,
  OpenApi,
  withNeeded,
} from "../support/openapi.ts";
import { setup, type TestServer } from "../support/server.ts";

// Small ones, so that it is seen that the document has those of its server.
const LIMITS = { produceBatch: 5, leaseBatch: 4, completeBatch: 3, partitions: 2 };

/** A value for one field of a request. */
interface Sample {
  readonly path: string;
  /** Where it is: a field of the request, or of each entry of its list. */
  readonly list?: string;
  readonly field: string;
  readonly value: Json;
  readonly isFine: boolean;
}

const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;

// A text of this length that fits what else is asked of the field.
function textOf(length: number, { pattern = "" }: Json): string {
  return pattern.includes("ms|s|m|h") ? "10m".padStart(length, "0") : "x".repeat(length);
}

// Values at each bound of a schema, and beyond it.
function* valuesOf(schema: Json, entry: Json): Iterable<[value: Json, isFine: boolean]> {
  const { minimum, maximum, maxLength, minItems, maxItems, pattern } = schema;
  if (minimum > INT32_MIN)
    yield* [minimum, minimum - 1].map((n, i): [Json, boolean] => [n, i === 0]);
  if (maximum < INT32_MAX)
    yield* [maximum, maximum + 1].map((n, i): [Json, boolean] => [n, i === 0]);
  if (maxLength !== undefined) {
    yield [textOf(maxLength, schema), true];
    yield [textOf(maxLength + 1, schema), false];
  }
  const list = (length: number): Json[] => Array.from({ length }, (_, i) => entry(i));
  if (minItems !== undefined) {
    yield [list(minItems), true];
    yield [list(minItems - 1), false];
  }
  if (maxItems !== undefined) {
    yield [list(maxItems), true];
    yield [list(maxItems + 1), false];
  }
  if (schema.format === "date-time") {
    for (const fraction of ["", ".1", ".123456789"])
      yield [`2100-01-01T23:59:59${fraction}Z`, true];
    yield ["2100-01-01T00:00:00-23:59", true];
    const odd = ["01t00:00:00Z", "01T00:00:00z", "01 00:00:00Z", "01T00:00:60Z", "01T00:00:00.Z"];
    for (const rest of [...odd, "01T00:00:00.1234567890Z", "01"]) yield [`2100-01-${rest}`, false];
  }
  if (schema.enum !== undefined) {
    for (const value of schema.enum) yield [value, true];
    yield ["none of them", false];
  }
  if ([schema.type].flat().includes("string") && pattern !== undefined && maximum === undefined) {
    for (const text of ["a b", "a~b", " ", "5", "1x", "-", "\u0085"]) {
      if (!new RegExp(pattern, "u").test(text)) yield [text, false];
    }
  }
}

function* samplesOf(openApi: OpenApi, path: string, ids: readonly string[]): Iterable<Sample> {
  const { schema } = openApi.operation(path).requestBody.content["application/json"];
  const { schemas } = openApi.document.components;
  const target = (each: Json): Json => (each.$ref ? schemas[each.$ref.split("/").at(-1)] : each);
  const fields: Record<string, Json> = target(schema).properties;
  const example = openApi.example(path);
  for (const [field, each] of Object.entries(fields)) {
    const entry = (i: number): Json => {
      if (ON_LEASES.test(path)) return leaseOf(path, ids[i] ?? "x");
      if (path.endsWith("/queue.redrive")) return ids[i % ids.length]!;
      if (each.items?.$ref === undefined) return ids[i] ?? "x";
      const first = example[field]?.[0] ?? {};
      // No queue may be twice in a list.
      return "queue_name" in first && i > 0 ? { ...first, queue_name: `jobs-${i}` } : first;
    };
    for (const [value, isFine] of valuesOf(each, entry)) yield { path, field, value, isFine };
    const nested = each.items?.$ref === undefined ? {} : target(each.items).properties;
    for (const [name, inner] of Object.entries<Json>(nested)) {
      const ofInner = field === "produce" ? (): Json => ({ utf8: "next" }) : entry;
      for (const [value, isFine] of valuesOf(inner, ofInner)) {
        yield { path, list: field, field: name, value, isFine };
      }
    }
  }
}

/** A server on which the examples are answered with 200; some items are leased. */
async function open(t: TestContext): Promise<{ server: TestServer; ids: string[] }> {
  const server = await setup(t, { limits: LIMITS });
  await server.createQueue("jobs");
  await server.produce("jobs", "1", "2", "3", "4", "5");
  const later = { id: EXAMPLE_ID, enqueue_at: "2100-01-01T00:00:00Z" };
  await server.ok("/v2/items.import", { queue_name: "jobs", items: [later] });
  const { items } = await server.ok("queue.lease", {
    queue_name: "jobs",
    request_timeout: "1m",
    client_id: "c",
    batch_size: LIMITS.leaseBatch,
  });
  return { server, ids: items.map((item: { id: string }) => item.id) };
}

function requestOf(openApi: OpenApi, sample: Sample, ids: readonly string[]): Json {
  const { path, list, field, value } = sample;
  const request = openApi.example(path);
  if (ON_LEASES.test(path)) Object.assign(request, leasesOf(path, [ids[0]!]));
  if (path.endsWith("/queues.create")) request.queue_name = "other";
  if (path === "/v2/queue.stats" && field === "queue_names") delete request.queue_name;
  if (path === "/v2/queue.lease" || path === "/v2/item.wait") request.request_timeout = "10ms";
  // Either one key, or several.
  if (path === "/v2/keys.revoke" && field !== "id") delete request.id;
  // Of ids, only those of items that are leased.
  const real = Array.isArray(value) && value.length <= ids.length && field === "ids";
  if (list === undefined) return { ...request, [field]: real ? ids.slice(0, value.length) : value };
  const first = request[list]?.[0] ?? (list === "produce" ? { items: [{ utf8: "next" }] } : {});
  // What is said of a unique key needs one.
  const isOfKey = /^unique_(while|for)$|^on_duplicate$/.test(field);
  // And a state of a trace needs a trace.
  const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  const needed = {
    ...(isOfKey && { unique_key: "k" }),
    ...(field === "tracestate" && { traceparent }),
  };
  return {
    ...request,
    [list]: [{ ...first, ...needed, [field]: value }],
  };
}

// What must be there so that a name can be accepted.
async function prepare(server: TestServer, { path, field, value, isFine }: Sample): Promise<void> {
  if (!isFine || typeof value !== "string") return;
  const isTaken = field === "queue_name" && !path.endsWith("/queues.create");
  if (isTaken || field === "dead_queue") await server.createQueue(value);
  const isLookedFor = field === "namespace" && path.endsWith(".overview");
  if (isLookedFor && value !== "") await server.ok("/v2/namespaces.create", { name: value });
}

const openApi = OpenApi.tolerant(LIMITS);
const ENDPOINTS = makeEndpoints({ limits: DEFAULT_LIMITS } as Service);

// Calls that look up what they are given, whatever it is.
const NO_BOUNDS =
  /\/(users|apikeys|roles)\.delete$|\/rolebindings\.(create|delete)$|\/v1\/roles\.update$/;

for (const path of ENDPOINTS.keys()) {
  test(`the bounds of ${path} are those of the server`, async (t) => {
    const first = await open(t);
    const samples = [...samplesOf(openApi, path, first.ids)];
    assert.ok(samples.length > 0 || NO_BOUNDS.test(path));
    // What is refused changes nothing, so that one server is enough for it.
    const refusing = await open(t);
    for (const sample of samples) {
      const { server, ids } = sample.isFine ? await open(t) : refusing;
      // Names of partitions and ids differ from server to server.
      const value = JSON.parse(
        first.ids.reduce(
          (text, id, i) => text.replaceAll(id, ids[i]!),
          JSON.stringify(sample.value),
        ),
      );
      await prepare(server, sample);
      const asked = requestOf(openApi, { ...sample, value }, ids);
      const request = sample.isFine ? await withNeeded(server, path, asked) : asked;
      const shown = `${sample.list ?? ""} ${sample.field} = ${JSON.stringify(value).slice(0, 99)}`;
      assert.equal(openApi.requestMismatch(path, request) === "", sample.isFine, shown);
      const { status, body } = await server.call(path, request);
      const details = `${shown}: ${JSON.stringify(body).slice(0, 200)}`;
      // A name of 512 bytes fits no body of that size, and the queue of that name has no such ids.
      const isNamed = sample.isFine && sample.field === "queue_name";
      const said = body.detail ?? body.message;
      if (
        isNamed &&
        /^request body exceeds 512B|^invalid storage id|^item does not exist/.test(said)
      )
        continue;
      // A condition, which the item of the example does not always meet.
      if (sample.field === "if_state" && status === 409) continue;
      if (sample.isFine) assert.equal(status, 200, details);
      // Of several things each has an outcome of its own.
      else assert.ok([400, 404, 409, 413, 453, 455].includes(status) || body.failed > 0, details);
      if (sample.isFine) await server.server.stop();
    }
  });
}

test("limits in the document are those of the server", async (t) => {
  const server = await setup(t, { limits: LIMITS });
  const { document } = await OpenApi.of(server);
  const { schemas } = document.components;
  assert.equal(schemas.QueueProduceRequest.properties.items.maxItems, LIMITS.produceBatch);
  assert.equal(schemas.QueueLeaseRequest.properties.batch_size.maximum, LIMITS.leaseBatch);
  assert.equal(schemas.QueueCompleteRequest.properties.ids.maxItems, LIMITS.completeBatch);
  assert.equal(schemas.QueueRetryRequest.properties.items.maxItems, LIMITS.completeBatch);
  const { requested_partitions } = schemas.QueuesUpdateRequest.properties;
  assert.equal(requested_partitions.maximum, LIMITS.partitions);
});

test("every note is of a field that there is", () => {
  const { schemas } = OpenApi.tolerant().document.components;
  const named = (message: string): Json =>
    schemas[message] ??
    schemas[`${message}Input`] ??
    schemas[message.replace(/Response$/, "Reply")] ??
    // Those of /v2 are marked by themselves.
    schemas[`${message.replace(/^v2\./, "")}V2`.replace(/ResponseV2$/, "ReplyV2")];
  for (const [message, notes] of Object.entries(notesOf(ENDPOINTS.values()))) {
    assert.ok(named(message), message);
    const { properties } = named(message);
    assert.deepEqual(Object.keys(notes).sort(), Object.keys(properties).sort(), message);
  }
});

test("the version stands behind the name of every schema of /v2, and nowhere in it", () => {
  const { schemas } = OpenApi.tolerant().document.components;
  const versioned = Object.keys(schemas).filter((name) => /V2/.test(name));
  assert.ok(versioned.includes("QueuesApplyRequestV2"));
  assert.deepEqual(
    versioned.filter((name) => !/^[^2]+V2$/.test(name)),
    [],
  );
});

test("a reply that has a list under /v2 always has it, but for what only some calls are told", () => {
  const { paths, components } = OpenApi.tolerant().document;
  const seldom = ["produced", "logical_queues", "queues of queue.stats"];
  for (const [path, { post }] of Object.entries<Json>(paths)) {
    if (!path.startsWith("/v2/") || post === undefined) continue;
    const { $ref } = post.responses[200].content["application/json"].schema;
    const { properties, required = [] } = components.schemas[$ref.split("/").at(-1)];
    for (const [name, { type }] of Object.entries<Json>(properties)) {
      if (type !== "array" || required.includes(name)) continue;
      const isSeldom = seldom.includes(name) || seldom.includes(`${name} of ${path.slice(4)}`);
      assert.ok(isSeldom, `${path} ${name}`);
    }
  }
});

test("the pattern of durations is what the parser reads", () => {
  const good = [
    "0",
    "+0",
    "5m",
    "1.h",
    ".5s",
    "1h30m",
    "1.5ms",
    "1us",
    "1\u00b5s",
    "1\u03bcs",
    "3ns",
  ];
  const bad = ["", "5", "h", "1x", "1.2.3s", "1 h", ".s", "+", "1h-1m", "00", "s1"];
  const pattern = new RegExp(DURATION_PATTERN, "u");
  for (const text of [...good, ...bad]) {
    assert.equal(pattern.test(text), good.includes(text), text);
    if (good.includes(text)) parseDuration(text);
    else assert.throws(() => parseDuration(text), text);
  }
});

test("the pattern of bytes is what the decoder reads", async (t) => {
  const server = await setup(t);
  await server.createQueue("jobs");
  const { document } = OpenApi.tolerant();
  const { bytes } = document.components.schemas.QueueProduceItem.properties;
  const pattern = new RegExp(bytes.pattern);
  const texts = ["", "aGk=", "aGk", "aA==", "aA", "-_-_", "+/+/", "a", "aGk==", "a b=", "\u0013"];
  for (const text of texts) {
    const items = [{ bytes: text }];
    const request = { queue_name: "jobs", request_timeout: "1m", items };
    const { status } = await server.call("queue.produce", request);
    assert.equal(status, pattern.test(text) ? 200 : 455, JSON.stringify(text));
  }
});

test("null is no value wherever none is needed, by the schema and by the server, also of a message", async (t) => {
  const server = await setup(t);
  await server.createQueue("jobs");
  const { document } = OpenApi.tolerant();
  const fit = OpenApi.tolerant();
  let messages = 0;
  for (const path of fit.calls) {
    // One of its fields is needed, whichever; and these have no messages.
    if (path.endsWith("/queue.clear") || path.startsWith("/v1/dev.")) continue;
    const example = fit.example(path);
    const { $ref } = fit.operation(path).requestBody.content["application/json"].schema;
    const schema = document.components.schemas[$ref?.split("/").at(-1)];
    for (const [field, of] of Object.entries<Json>(schema?.properties ?? {})) {
      const lists = [[field, of, example, (value: Json) => value]];
      const entry = document.components.schemas[of.items?.$ref?.split("/").at(-1)];
      for (const [inner, each] of Object.entries<Json>(entry?.properties ?? {})) {
        if (example[field]?.[0] === undefined || entry.required?.includes(inner)) continue;
        const fill = (value: Json): Json => ({ ...example, [field]: [value] });
        lists.push([inner, each, example[field][0], fill]);
      }
      if (schema.required?.includes(field)) lists.shift();
      for (const [name, one, holder, whole] of lists) {
        const request = whole({ ...holder, [name]: null });
        assert.equal(fit.requestMismatch(path, request), "", `${path} ${field} ${name}`);
        const { body } = await server.call(path, request);
        assert.notEqual(body.code, "invalid_request", `${path} ${field} ${name}`);
        assert.notEqual(body.code, 455, `${path} ${field} ${name}`);
        if (one.anyOf !== undefined) messages++;
      }
    }
  }
  assert.ok(messages > 0);
});

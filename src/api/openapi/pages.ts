// What the OpenAPI document says of the pages that every server has: what is read with GET. None of
// them is part of a client, and generators know few content types: what lies in a page is in the
// tolerant variant only. Holds data only.

type Json = Readonly<Record<string, unknown>>;

const STATUS = { type: "string", enum: ["pass", "warn", "fail"] };

const HEALTH: Json = {
  type: "object",
  additionalProperties: false,
  properties: {
    status: {
      ...STATUS,
      description: "pass; warn: some partitions do not work; fail: nothing works.",
    },
    version: { type: "string", description: "The version of the server." },
    checks: { $ref: "#/components/schemas/HealthChecks" },
  },
  required: ["status", "version", "checks"],
};

const HEALTH_CHECKS: Json = {
  type: "object",
  additionalProperties: false,
  description: "What was looked at.",
  properties: {
    "queues:storage": {
      type: "array",
      description: "The storage of queues: exactly one entry.",
      minItems: 1,
      maxItems: 1,
      items: { $ref: "#/components/schemas/HealthCheck" },
    },
  },
  required: ["queues:storage"],
};

const HEALTH_CHECK: Json = {
  type: "object",
  additionalProperties: false,
  properties: {
    componentType: { type: "string", description: "Always datastore." },
    status: { ...STATUS, description: "As above." },
    time: { type: "string", format: "date-time", description: "When it was looked at." },
    output: { type: "string", description: "What is wrong; only if something is." },
  },
  required: ["componentType", "status", "time"],
};

const HEALTH_CONTENT = {
  "application/health+json": { schema: { $ref: "#/components/schemas/Health" } },
};

const METRICS_CONTENT = {
  "text/plain": { schema: { type: "string" } },
  "application/openmetrics-text": { schema: { type: "string" } },
};

/** Pages by path, and the schemas that they refer to. None of them asks for authentication. */
export function pagesOf({ isTolerant }: { readonly isTolerant: boolean }): {
  readonly paths: Json;
  readonly schemas: Json;
} {
  if (isTolerant) return { paths: PAGES, schemas: SCHEMAS };
  const paths = Object.entries(PAGES).map(([path, { get }]) => {
    const responses = Object.entries(get.responses).map(([status, { description }]) => [
      status,
      { description },
    ]);
    return [path, { get: { ...get, responses: Object.fromEntries(responses) } }];
  });
  return { paths: Object.fromEntries(paths), schemas: {} };
}

const SCHEMAS: Json = { Health: HEALTH, HealthChecks: HEALTH_CHECKS, HealthCheck: HEALTH_CHECK };

interface Page {
  readonly get: Json & {
    readonly responses: Readonly<Record<number, Json & { readonly description: string }>>;
  };
}

const EVENT_PARAMETERS = [
  ["queues", "Names of queues, with commas in between; all by default."],
  ["types", "Types of events, with commas in between; all by default."],
  ["item", "The id of an item: only what becomes of it."],
  ["namespace", "Only queues of this one; by default that of the key, or all."],
  ["after", "The cursor of the last event that is known; by default it begins now."],
].map(([name, description]) => ({
  name,
  in: "query",
  description,
  schema: { type: "string" },
}));

const PAGES: Readonly<Record<string, Page>> = {
  "/health": page({
    operationId: "getHealth",
    summary: "Tells whether the server takes work and its storage answers.",
    responses: {
      200: {
        description:
          "They do, at least for some partitions. The answer is application/health+json: status is pass, warn or fail, and checks tell what is wrong.",
        content: HEALTH_CONTENT,
      },
      503: { description: "They do not.", content: HEALTH_CONTENT },
    },
  }),
  "/metrics": page({
    operationId: "getMetrics",
    summary: "Tells the server in numbers, for Prometheus.",
    security: [{}, { bearer: [] }],
    responses: {
      200: {
        description:
          "Sums over all queues, and queues that the configuration names by themselves. With Accept: application/openmetrics-text it is OpenMetrics.",
        content: METRICS_CONTENT,
      },
      401: { description: "The key is not taken, or one is needed." },
      403: { description: "The key may neither system.metrics nor metrics.read." },
    },
  }),
  "/metrics/queues": page({
    operationId: "getQueueMetrics",
    summary: "Tells queues by themselves in numbers, for Prometheus.",
    security: [{}, { bearer: [] }],
    parameters: [
      {
        name: "namespace",
        in: "query",
        description: "Only queues of this namespace; by default of all of which the key may know.",
        schema: { type: "string" },
      },
      {
        name: "top",
        in: "query",
        description: "At most so many queues: those in which most waits and is leased.",
        schema: { type: "integer", minimum: 1, maximum: 1000, default: 100 },
      },
    ],
    responses: {
      200: {
        description: "Queues by themselves, as many as find room in two million bytes.",
        content: METRICS_CONTENT,
      },
      400: { description: "A parameter is not allowed." },
      401: { description: "The key is not taken, or one is needed." },
      403: { description: "The key may not metrics.read there." },
    },
  }),
  "/openapi.json": page({
    operationId: "getOpenapi",
    summary: "This document.",
    responses: {
      200: {
        description: "An OpenAPI 3.1 document.",
        content: { "application/json": { schema: { type: "object" } } },
      },
    },
  }),
  "/openapi-3.0.json": page({
    operationId: "getOpenapi30",
    summary: "This document for tools that read OpenAPI 3.0 only.",
    responses: {
      200: {
        description: "An OpenAPI 3.0 document.",
        content: { "application/json": { schema: { type: "object" } } },
      },
    },
  }),
  "/docs": page({
    operationId: "getDocs",
    summary: "This document as a page to read.",
    responses: {
      200: {
        description: "A page that needs nothing else.",
        content: { "text/html": { schema: { type: "string" } } },
      },
    },
  }),
  "/v2/events": page({
    operationId: "getEventsV2",
    summary: "Tells what happens, as it happens, until the connection ends.",
    security: [{}, { bearer: [] }],
    parameters: EVENT_PARAMETERS,
    responses: {
      200: {
        description:
          "Server-sent events, with a JSON object as the data of each: see docs/PROTOCOL.md.",
        content: { "text/event-stream": { schema: { type: "string" } } },
      },
    },
  }),
};

function page(operation: Page["get"]): Page {
  return { get: { tags: ["server"], security: [{}], ...operation } };
}

// The OpenAPI 3.1 document of what the server serves. Messages come from the descriptors that also
// decode requests, paths and body limits from the endpoints, errors from errors.ts; what those do
// not hold (summaries, examples, which field must be given) is in OPERATIONS. Must never decide how
// a request is answered.

import type { DescMessage } from "@bufbuild/protobuf";
import { ERROR_KINDS, type ErrorKind, MESSAGES } from "../errors.ts";
import { VERSION } from "../version.ts";
import { ReplySchema } from "./gen/querator/v1/reply_pb.ts";
import { type Field, tableOf } from "./message.ts";
import { OPERATIONS } from "./openapi-operations.ts";
import type { Endpoint } from "./server.ts";

type Json = Readonly<Record<string, unknown>>;

/** The document, of exactly these endpoints and of the pages that every server has. */
export function makeOpenApi(
  endpoints: ReadonlyMap<string, Endpoint>,
  formatSize: (bytes: number) => string,
): Json {
  const schemas: Record<string, Json> = {};
  addSchema(ReplySchema, schemas, "reply");
  const paths: Record<string, Json> = {};
  for (const [path, endpoint] of endpoints) {
    const operation = OPERATIONS[path];
    if (operation === undefined) throw new Error(`OPERATIONS must describe ${path}`);
    const isDev = endpoint.request === undefined;
    const schema = isDev ? operation.schema! : addSchema(endpoint.request!, schemas, "request");
    const reply =
      operation.replySchema ?? addSchema(operation.reply ?? ReplySchema, schemas, "reply");
    const required = operation.required ?? [];
    const request = required.length === 0 ? schema : { allOf: [schema, { required }] };
    paths[path] = {
      post: {
        operationId: path.slice("/v1/".length),
        tags: [operation.tag],
        summary: operation.summary,
        description: `The body may have up to ${formatSize(endpoint.bodyBytesMax)}.`,
        requestBody: {
          required: true,
          content: {
            "application/json": { schema: request, example: operation.example },
            ...(isDev ? {} : { "application/protobuf": protobuf(endpoint.request!) }),
          },
        },
        responses: {
          200: {
            description: "It was done.",
            content: {
              "application/json": { schema: reply },
              ...(isDev
                ? {}
                : { "application/protobuf": protobuf(operation.reply ?? ReplySchema) }),
            },
          },
          ...errorReferences(),
        },
      },
    };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Querator",
      version: VERSION,
      description:
        "Durable queues over HTTP. Names of fields are those of JSON; the same messages in Protobuf are in proto/.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    security: [{}],
    tags: [...new Set(Object.values(OPERATIONS).map(({ tag }) => tag)), "server"]
      .filter((tag) => tag !== "dev" || endpoints.has("/v1/dev.clock"))
      .map((name) => ({ name })),
    paths: { ...paths, ...PAGES },
    components: { schemas, responses: errorResponses() },
  };
}

function protobuf({ name, file }: DescMessage): Json {
  const description = `The message ${name} of proto/${file.name}.proto.`;
  return { schema: { type: "string", format: "binary", description } };
}

// --- messages ---

// In a request `null` stands for a field that is not given, and a number may be quoted; replies have
// neither. A message that occurs in both is therefore there twice.
function addSchema(
  desc: DescMessage,
  schemas: Record<string, Json>,
  direction: "request" | "reply",
): Json {
  const isRequest = direction === "request";
  const name = isRequest && !desc.name.endsWith("Request") ? `${desc.name}Input` : desc.name;
  const reference = { $ref: `#/components/schemas/${name}` };
  if (name in schemas) return reference;
  schemas[name] = {}; // so that a message may hold itself
  const properties: Record<string, Json> = {};
  for (const field of tableOf(desc).fields) {
    const { message } = desc.field[field.name]!;
    const one =
      field.type === "message"
        ? addSchema(message!, schemas, direction)
        : SCALARS[isRequest && field.type === "int32" ? "quotable" : field.type];
    const all = field.repeated ? { type: "array", items: one } : one;
    properties[field.jsonName] = isRequest ? { anyOf: [all, { type: "null" }] } : all;
  }
  schemas[name] = { type: "object", additionalProperties: false, properties };
  return reference;
}

const INT32 = { type: "integer", format: "int32", minimum: -(2 ** 31), maximum: 2 ** 31 - 1 };
const BASE64 = "[A-Za-z0-9+/_-]";

const SCALARS: Readonly<Record<Exclude<Field["type"], "message"> | "quotable", Json>> = {
  string: { type: "string" },
  int32: INT32,
  quotable: { anyOf: [INT32, { type: "string", pattern: "^-?[1-9][0-9]{0,8}$" }] },
  bool: { type: "boolean" },
  bytes: {
    type: "string",
    contentEncoding: "base64",
    pattern: `^(${BASE64}{4})*(${BASE64}{2}(==)?|${BASE64}{3}=?)?$`,
  },
  timestamp: { type: "string", format: "date-time" },
};

// --- errors ---

// The kind that each constant text is answered with.
const KINDS_OF_MESSAGES: Readonly<Record<keyof typeof MESSAGES, ErrorKind>> = {
  leaseTimeout: "retry",
  requestTimeout: "retry",
  outcomeUnknown: "retry",
  duplicateClientId: "invalid",
  serviceShutdown: "failed",
  queueShutdown: "failed",
  overloaded: "retry",
  standby: "retry",
  internalRetry: "retry",
  internal: "internal",
};

function errorReferences(): Record<string, Json> {
  return Object.fromEntries(
    Object.entries(ERROR_KINDS).map(([kind, { status }]) => [
      status,
      { $ref: `#/components/responses/${kind}` },
    ]),
  );
}

function errorResponses(): Record<string, Json> {
  return Object.fromEntries(
    Object.entries(ERROR_KINDS).map(([kind, { status, text, retryable }]) => {
      const examples = Object.entries(MESSAGES)
        .filter(([name]) => KINDS_OF_MESSAGES[name as keyof typeof MESSAGES] === kind)
        .map(([name, message]) => [name, { value: { code: status, code_text: text, message } }]);
      const json = {
        schema: { $ref: "#/components/schemas/Reply" },
        ...(examples.length > 0 && { examples: Object.fromEntries(examples) }),
      };
      const description = retryable ? `${text}; the same may be sent again.` : `${text}.`;
      const content = { "application/json": json, "application/protobuf": protobuf(ReplySchema) };
      return [kind, { description, content }];
    }),
  );
}

// --- pages ---

const HEALTH = { "application/health+json": { schema: { type: "object" } } };

/** What is read with GET, on every server. */
const PAGES: Readonly<Record<string, Json>> = {
  "/health": {
    get: {
      operationId: "health",
      tags: ["server"],
      summary: "Tells whether the server takes work and its storage answers.",
      responses: {
        200: { description: "They do.", content: HEALTH },
        503: { description: "They do not.", content: HEALTH },
      },
    },
  },
  "/openapi.json": {
    get: {
      operationId: "openapi",
      tags: ["server"],
      summary: "This document.",
      responses: {
        200: {
          description: "An OpenAPI 3.1 document.",
          content: { "application/json": { schema: { type: "object" } } },
        },
      },
    },
  },
  "/docs": {
    get: {
      operationId: "docs",
      tags: ["server"],
      summary: "This document as a page to read.",
      responses: {
        200: {
          description: "A page that needs nothing else.",
          content: { "text/html": { schema: { type: "string" } } },
        },
      },
    },
  },
};

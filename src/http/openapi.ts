// The OpenAPI 3.1 document of what the server serves, put together from its sources: messages from
// the descriptors that also decode requests, what fields mean and may hold from openapi-fields.ts,
// paths and body limits from the endpoints, errors from openapi-errors.ts, the rest from OPERATIONS.
// Must never decide how a request is answered.

import type { DescField, DescMessage } from "@bufbuild/protobuf";
import type { Limits } from "../limits.ts";
import { VERSION } from "../version.ts";
import type { Endpoint } from "./edge.ts";
import { ReplySchema } from "./gen/querator/v1/reply_pb.ts";
import { type Field, tableOf } from "./message.ts";
import {
  type ErrorName,
  errorExamples,
  errorList,
  errorResponses,
  errorSchemas,
  errorsOf,
} from "./openapi-errors.ts";
import { type FieldNote, fieldNotes } from "./openapi-fields.ts";
import { OPERATIONS } from "./openapi-operations.ts";
import { PAGE_SCHEMAS, PAGES } from "./openapi-pages.ts";
import { TIMESTAMP_PATTERN } from "./timestamp.ts";

type Json = Readonly<Record<string, unknown>>;

export interface OpenApiSource {
  /** What the server serves beside the pages that every server has. */
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  /** Those of this server: they are bounds of fields. */
  readonly limits: Limits;
  /** How limit texts give a size. */
  readonly formatSize: (bytes: number) => string;
}

/** The document. */
export function makeOpenApi({ endpoints, limits, formatSize }: OpenApiSource): Json {
  const schemas = new Schemas(limits);
  schemas.add(ReplySchema, "reply");
  const paths: Record<string, Json> = {};
  const errors = new Set<ErrorName>();
  for (const [path, endpoint] of endpoints) {
    const operation = OPERATIONS[path];
    if (operation === undefined) throw new Error(`OPERATIONS must describe ${path}`);
    const { request, bodyBytesMax } = endpoint;
    const isDev = request === undefined;
    const schema = isDev ? operation.schema! : schemas.add(request, "request");
    const reply = operation.reply ?? ReplySchema;
    const names = errorsOf(operation.errors, { isDev, isV2: path.startsWith("/v2/") });
    for (const name of names) errors.add(name);
    paths[path] = {
      post: {
        operationId: path.replace(/^\/(v1\/)?/, ""),
        tags: [operation.tag],
        summary: operation.summary,
        description: `The body may have up to ${formatSize(bodyBytesMax)}.`,
        requestBody: {
          required: true,
          content: {
            "application/json": {
              schema: operation.constraint ? { allOf: [schema, operation.constraint] } : schema,
              example: operation.example,
            },
            ...(isDev ? {} : { "application/protobuf": protobuf(request) }),
          },
        },
        responses: {
          200: {
            description: "It was done.",
            content: {
              "application/json": { schema: operation.replySchema ?? schemas.add(reply, "reply") },
              ...(isDev ? {} : { "application/protobuf": protobuf(reply) }),
            },
          },
          ...errorResponses(names, isDev ? undefined : protobuf(ReplySchema)),
        },
      },
    };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Querator",
      version: VERSION,
      description: DESCRIPTION,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    security: [{}, { bearer: [] }],
    tags: Object.entries(TAGS)
      .filter(([name]) => name !== "dev" || endpoints.has("/v1/dev.clock"))
      .map(([name, description]) => ({ name, description })),
    paths: { ...paths, ...PAGES },
    components: {
      schemas: { ...schemas.all, ...errorSchemas(errors, ReplySchema), ...PAGE_SCHEMAS },
      examples: errorExamples(errors),
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          description:
            "This version knows no keys: a call without the header is served, and so is one with any token. A header that is not `Bearer <token>` is refused with 401.",
        },
      },
    },
  };
}

const DESCRIPTION = `Durable queues over HTTP: produce items, lease them, and complete them.

Every call is a POST. \`Content-Type\` says what is sent and \`Accept\` what is answered, \`application/json\` (also if it is missing) or \`application/protobuf\`; the messages are the same, and defined in \`proto/\`.

In JSON, fields have the names below. Requests may also use those of \`proto/\`, such as \`queueName\` in place of \`queue_name\`. A field that is not known is an error; one that is \`null\` counts as not given. A whole number may be written as a text. Replies leave out fields that are 0, false or empty. Durations are written as \`30s\`, \`5m\` or \`1h30m\`, times as in RFC 3339, with a \`T\`, \`Z\` or an offset, and at most 9 digits of a fraction, from year 1 to year 9999 in UTC.

An error has the HTTP status also as \`code\`. Statuses that a call does not list, it does not answer; \`501\` is the answer to a path that does not exist, \`403\` and \`512\` are reserved. A method other than POST is \`400\`. What is no HTTP, is too large for it or comes too slowly is answered in JSON with \`400\`, \`408\`, \`413\` or \`431\`, and cut off.

${errorList()}`;

const TAGS = {
  queue: "The work with one queue.",
  queues: "Which queues there are.",
  storage: "What lies in a partition, for operators.",
  dev: "For tests of programs that use a queue: there only with `--dev`.",
  server: "Pages about the server, read with GET.",
};

function protobuf({ name, file }: DescMessage): Json {
  const description = `The message ${name} of proto/${file.name}.proto.`;
  return { schema: { type: "string", format: "binary", description } };
}

// --- messages ---

type Direction = "request" | "reply";

// In a request `null` stands for a field that is not given, and a number may be quoted; replies have
// neither. A message that occurs in both is therefore there twice.
class Schemas {
  readonly all: Record<string, Json> = {};
  readonly #notes: ReturnType<typeof fieldNotes>;

  constructor(limits: Limits) {
    this.#notes = fieldNotes(limits);
  }

  /** Adds the schema of a message and of what it holds; answers a reference to it. */
  add(desc: DescMessage, direction: Direction): Json {
    const isInput = direction === "request" && !desc.name.endsWith("Request");
    const name = isInput ? `${desc.name}Input` : desc.name;
    const reference = { $ref: `#/components/schemas/${name}` };
    if (name in this.all) return reference;
    this.all[name] = {}; // so that a message may hold itself
    const properties: Record<string, Json> = {};
    const required: string[] = [];
    for (const field of desc.fields) {
      const note = this.#notes[desc.name]?.[field.jsonName];
      if (note === undefined) throw new Error(`say what ${desc.name}.${field.jsonName} means`);
      const isRequired = note.required === "both" || note.required === direction;
      if (isRequired) required.push(field.jsonName);
      properties[field.jsonName] =
        direction === "request"
          ? this.#input(desc, field, note, isRequired)
          : this.#output(desc, field, note);
    }
    this.all[name] = {
      type: "object",
      additionalProperties: false,
      properties,
      ...(required.length > 0 && { required }),
    };
    return reference;
  }

  #output(desc: DescMessage, field: DescField, { text, reply }: FieldNote): Json {
    return { ...this.#type(desc, field, "reply"), description: text, ...reply };
  }

  #input(desc: DescMessage, field: DescField, note: FieldNote, isRequired: boolean): Json {
    const { type, ...rest } = this.#type(desc, field, "request");
    const { items, ...bounds } = note.request ?? {};
    const types = [
      type,
      ...(type === "integer" ? ["string"] : []),
      ...(isRequired ? [] : ["null"]),
    ];
    const entries = items === undefined ? {} : { items: { ...(rest.items as Json), ...items } };
    const choices = bounds.enum as readonly unknown[] | undefined;
    return {
      type: types.length === 1 ? type : types,
      ...rest,
      ...(type === "integer" && { pattern: QUOTED_PATTERN }),
      ...bounds,
      ...entries,
      ...(choices && !isRequired && { enum: [...choices, null] }),
      description: note.text,
    };
  }

  #type(desc: DescMessage, field: DescField, direction: Direction): Json {
    // Only Reply.details is one.
    if (field.fieldKind === "map") return { type: "object", additionalProperties: SCALARS.string };
    const { type, repeated } = tableOf(desc).byName.get(field.jsonName)!;
    const one = type === "message" ? this.add(field.message!, direction) : SCALARS[type];
    return repeated ? { type: "array", items: one } : one;
  }
}

// Any whole number in quotes that surely has 32 bits, for those who make requests from the schema.
const QUOTED_PATTERN = "^-?[1-9][0-9]{0,8}$";
const BASE64 = "[A-Za-z0-9+/_-]";

const SCALARS: Readonly<Record<Exclude<Field["type"], "message">, Json>> = {
  string: { type: "string" },
  int32: { type: "integer", format: "int32", minimum: -(2 ** 31), maximum: 2 ** 31 - 1 },
  bool: { type: "boolean" },
  bytes: {
    type: "string",
    contentEncoding: "base64",
    pattern: `^(${BASE64}{4})*(${BASE64}{2}(==)?|${BASE64}{3}=?)?$`,
  },
  timestamp: { type: "string", format: "date-time", pattern: TIMESTAMP_PATTERN },
};

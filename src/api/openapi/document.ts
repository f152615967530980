// The OpenAPI document, made from the rows of the endpoints: messages from the descriptors that also decode
// requests, what their fields mean and may hold from the notes of their nouns, errors of all calls from
// errors.ts. The published variant says what to send, flat and in one content type, for people and for
// generators of clients. The tolerant variant has all that is accepted beside that; tests judge the server
// by it (decision 25). Must never decide how a request is answered.

import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { ReplySchema } from "../../codec/gen/querator/v1/reply_pb.ts";
import { ProblemSchema } from "../../codec/gen/querator/v2/problem_pb.ts";
import { type Field, tableOf } from "../../codec/message.ts";
import { TIMESTAMP_PATTERN } from "../../codec/timestamp.ts";
import { NAMESPACE_BYTES_MAX } from "../../registry/names.ts";
import { VERSION } from "../../version.ts";
import type { Described, JsonRow, Row, RowEndpoint } from "../endpoint.ts";
import { takesKey } from "../once.ts";
import {
  type Errors,
  errorExamples,
  errorList,
  errorResponses,
  errorSchemas,
  errorsOf,
} from "./errors.ts";
import { type FieldNote, type Notes, REPLY_NOTES } from "./fields.ts";
import { pagesOf } from "./pages.ts";

type Json = Readonly<Record<string, unknown>>;

/** Whether the document says what to send, or all that is taken and exactly what is answered. */
export type OpenApiVariant = "published" | "tolerant";

export interface OpenApiSource {
  /** What the server serves beside the pages that every server has. */
  readonly endpoints: ReadonlyMap<string, RowEndpoint>;
  /** How limit texts give a size. */
  readonly formatSize: (bytes: number) => string;
}

/** The document, of OpenAPI 3.1. */
export function makeOpenApi(
  { endpoints, formatSize }: OpenApiSource,
  variant: OpenApiVariant = "published",
): Json {
  const isTolerant = variant === "tolerant";
  const nouns = new Set([...endpoints.values()].map(({ noun }) => noun));
  const schemas = new Schemas(notesOf(endpoints.values()), variant, repliesOf(endpoints));
  schemas.addReply(ReplySchema);
  schemas.addReply(ProblemSchema, "Problem");
  const contentOf = (schema: Json, message: DescMessage | undefined, more: Json = {}): Json => ({
    "application/json": { schema, ...more },
    ...(isTolerant && message && { "application/protobuf": protobuf(message) }),
  });
  const paths: Record<string, Json> = {};
  const [ofV1, ofV2]: Record<string, Errors[string]>[] = [{}, {}];
  for (const [path, { noun, row }] of endpoints) {
    const { operationId } = namesOf(path);
    const isDev = "schema" in row;
    const { request, reply } = isDev
      ? schemas.addJson(operationId, row)
      : schemas.addMessages(operationId, row);
    const isV2 = path.startsWith("/v2/");
    const hasKey = isV2 && !isDev && takesKey(row);
    const own = errorsOf(row.errors, { isDev, isV2, takesKey: hasKey });
    const errors = isV2 ? ofV2! : ofV1!;
    for (const [name, example] of Object.entries(own)) {
      errors[name] ??= example;
      if (errors[name].message === example.message) continue;
      throw new Error(`${name} is another error in ${path} than before it`);
    }
    paths[path] = {
      post: {
        operationId,
        tags: [noun.name],
        summary: row.summary,
        description: descriptionOf(row, formatSize),
        ...parametersOf(isDev ? undefined : row, hasKey),
        requestBody: {
          required: true,
          content: contentOf(request, row.request, { example: row.example }),
        },
        responses: {
          200: {
            description: "It was done.",
            content: contentOf(reply, isDev ? undefined : (row.reply ?? ReplySchema)),
          },
          ...errorResponses(own, {
            isTolerant,
            isV2,
            protobuf:
              isTolerant && !isDev ? protobuf(isV2 ? ProblemSchema : ReplySchema) : undefined,
          }),
        },
      },
    };
  }
  const pages = pagesOf({ isTolerant });
  return {
    openapi: "3.1.0",
    info: {
      title: "Querator",
      version: VERSION,
      description: DESCRIPTION,
      license: { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" },
    },
    // By where the document is: also behind a proxy that serves this under a path of its own.
    servers: [{ url: "." }],
    security: [{}, { bearer: [] }],
    tags: [...nouns, PAGES].map(({ name, about }) => ({ name, description: about })),
    paths: { ...paths, ...pages.paths },
    components: {
      schemas: {
        ...schemas.all,
        ...errorSchemas(ofV1!, { isTolerant, reply: schemas.all.Reply! }),
        ...pages.schemas,
      },
      examples: errorExamples(ofV1!, ofV2!),
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          description:
            "An API key, as `keys.create` tells it. Without it a call is that of the user `anonymous`, who may do nothing unless a binding says so. A server without authentication (`--auth none`) lets any token pass; under `/v1` a header that is not `Bearer <token>` is refused with 401.",
        },
      },
    },
  };
}

/** The same for tools that read OpenAPI 3.0 only: what is published has nothing that is new in 3.1. */
export function asOpenApi30(document: Json): Json {
  return { ...document, openapi: "3.0.3" };
}

/**
 * What a call is named. Generators make functions and types of `operationId`: no schema may be called
 * like it with `Response` behind it.
 */
export function namesOf(path: string): { readonly operationId: string; readonly anchor: string } {
  const [, version = "", rest = ""] = /^\/(?:(v\d+)\/)?(.*)$/.exec(path) ?? [];
  const [first = "", ...words] = rest.split(/[/._]/);
  const suffix = version === "v1" ? "" : version;
  return {
    operationId: [first, ...words, suffix]
      .map((word, i) => (i === 0 ? word : capital(word)))
      .join(""),
    anchor: path.replace(/^\/(v1\/)?/, ""),
  };
}

function capital(word: string): string {
  return word === "" ? "" : `${word[0]!.toUpperCase()}${word.slice(1)}`;
}

const DESCRIPTION = `Durable queues over HTTP: produce items, lease them, and complete them.

Every call is a POST. \`Content-Type\` says what is sent and \`Accept\` what is answered, \`application/json\` (also if it is missing) or \`application/protobuf\`; the messages are the same, and defined in \`proto/\`.

In JSON, fields have the names below. Requests may also use those of \`proto/\`, such as \`queueName\` in place of \`queue_name\`. A field that is not known is an error; one that is \`null\` counts as not given. A whole number may be written as a text. Replies leave out fields that are 0, false or empty, but for lists under \`/v2\`. Durations are written as \`30s\`, \`5m\` or \`1h30m\`, times as in RFC 3339, with a \`T\`, \`Z\` or an offset, and at most 9 digits of a fraction, from year 1 to year 9999 in UTC.

Under \`/v2\`, which new programs speak, \`request_timeout\` may always be left out, and calls on several things answer each of them in \`results\`. A \`json\` payload is any value, kept as it is written; in Protobuf it is a text.

Under \`/v2\` an error is a problem (RFC 9457, \`application/problem+json\`; in Protobuf the message \`Problem\`), whose \`code\` tells programs what it is; every reply has the \`X-Request-Id\` of its request, which is made if it had none; \`429\` and \`503\` come with \`Retry-After\`, \`405\` with \`Allow\`. A path that does not exist is \`404\` there.

Under \`/v1\` an error has the HTTP status also as \`code\`. Statuses that a call does not list, it does not answer; \`501\` is the answer to a path that does not exist, \`403\` and \`512\` are reserved. A method other than POST is \`400\`. What is no HTTP, is too large for it or comes too slowly is answered in JSON with \`400\`, \`408\`, \`413\` or \`431\`, and cut off.

${errorList()}`;

// Those that are about the server have no use for a namespace.
function parametersOf(row: Row<DescMessage> | undefined, hasKey: boolean): Json {
  const parameters = [
    ...(hasKey ? [IDEMPOTENCY_KEY] : []),
    ...(row === undefined || row.isOfServer === true ? [] : [NAMESPACE]),
  ];
  return parameters.length === 0 ? {} : { parameters };
}

const NAMESPACE = {
  name: "X-Querator-Namespace",
  in: "header",
  description:
    "The namespace that the call is about, if it does not say it itself; by default that of the key, or the one in which a queue of the name is.",
  schema: { type: "string", maxLength: NAMESPACE_BYTES_MAX, pattern: "^[^~:\\s]*$" },
};

const IDEMPOTENCY_KEY = {
  name: "Idempotency-Key",
  in: "header",
  description:
    "A name for this request. What is sent again with it within ten minutes is answered the same and not done again; another request with it is refused.",
  schema: { type: "string", minLength: 1, maxLength: 255, pattern: "^[!-~]+$" },
};

// The pages: what is read with GET.
const PAGES = { name: "server", about: "Pages about the server, read with GET." };

function descriptionOf(
  { description, bodyBytesMax }: Described,
  formatSize: OpenApiSource["formatSize"],
): string {
  const limit = `The body may have up to ${formatSize(bodyBytesMax)}.`;
  return description === undefined ? limit : `${description} ${limit}`;
}

/** The notes on all fields. */
export function notesOf(endpoints: Iterable<Pick<RowEndpoint, "noun">>): Notes {
  return Object.assign({}, REPLY_NOTES, ...Array.from(endpoints, ({ noun }) => noun.fields));
}

function protobuf({ name, file }: DescMessage): Json {
  const description = `The message ${name} of proto/${file.name}.proto.`;
  return { schema: { type: "string", format: "binary", description } };
}

// --- messages ---

type Direction = "request" | "reply";

interface MessageOptions {
  readonly name?: string;
  readonly needs?: readonly string[];
  readonly ignores?: readonly string[];
}

// All messages that replies hold.
function repliesOf(endpoints: OpenApiSource["endpoints"]): ReadonlySet<DescMessage> {
  const found = new Set<DescMessage>();
  const add = (desc: DescMessage): void => {
    if (found.has(desc)) return;
    found.add(desc);
    for (const { type, name } of tableOf(desc).fields) {
      if (type === "message") add(desc.field[name]!.message!);
    }
  };
  for (const { row } of endpoints.values()) add(row.reply ?? ReplySchema);
  return found;
}

// A message that occurs in requests and in replies is there twice: they may hold different things.
class Schemas {
  readonly all: Record<string, Json> = {};
  readonly #notes: Notes;
  readonly #isTolerant: boolean;
  readonly #replied: ReadonlySet<DescMessage>;

  constructor(notes: Notes, variant: OpenApiVariant, replied: ReadonlySet<DescMessage>) {
    this.#notes = notes;
    this.#isTolerant = variant === "tolerant";
    this.#replied = replied;
  }

  /** Adds the schemas of a call; answers references to them. */
  addMessages(operationId: string, row: Row<DescMessage>): Record<"request" | "reply", Json> {
    const request = this.#addRequest(operationId, row);
    return { request, reply: this.addReply(row.reply ?? ReplySchema) };
  }

  #addRequest(operationId: string, row: Row<DescMessage>): Json {
    const { request: desc, needs = [], ignores = [], needsOneOf } = row;
    // A message that is not the same in every call has the name of its call.
    const isOwn = needs.length + ignores.length === 0 && desc.name.endsWith("Request");
    const [, call = "", version = ""] = /^(.*?)(V\d+)?$/.exec(operationId) ?? [];
    const name = isOwn ? this.#nameOf(desc, "request") : `${capital(call)}Request${version}`;
    const reference = this.#add(desc, "request", { name, needs, ignores });
    if (needsOneOf !== undefined && this.#isTolerant) {
      const anyOf = needsOneOf.map((field) => ({
        properties: { [field]: { const: true } },
        required: [field],
      }));
      this.all[name] = { ...this.all[name], anyOf };
    }
    return reference;
  }

  /** Adds the schemas of a call that knows JSON only; answers references to them. */
  addJson(operationId: string, row: JsonRow): Record<"request" | "reply", Json> {
    const { schema, replySchema } = row;
    const name = capital(operationId);
    const request = this.#addOwn(`${name}Request`, schema);
    if (replySchema === undefined) return { request, reply: this.addReply(ReplySchema) };
    return { request, reply: this.#addOwn(`${name}Reply`, replySchema) };
  }

  #addOwn(name: string, schema: Json): Json {
    const properties = Object.entries(schema.properties as Readonly<Record<string, Json>>);
    const documented = properties.map(([key, { pattern, ...rest }]) => [
      key,
      "format" in rest || pattern === undefined ? rest : { ...rest, pattern },
    ]);
    this.all[name] = this.#isTolerant
      ? schema
      : { ...schema, properties: Object.fromEntries(documented) };
    return { $ref: `#/components/schemas/${name}` };
  }

  /** Adds the schema of an answer, under a name of its own if one is given; answers a reference to it. */
  addReply(desc: DescMessage, name?: string): Json {
    return this.#add(desc, "reply", name === undefined ? {} : { name });
  }

  // Version and direction, where another message would have the same name.
  #nameOf(desc: DescMessage, direction: Direction): string {
    const isInput = direction === "request" && this.#replied.has(desc);
    const version = /\.(v\d+)\./.exec(desc.typeName)?.[1] ?? "v1";
    const name = desc.name.replace(/Response$/, "Reply") + (isInput ? "Input" : "");
    return version === "v1" ? name : name + capital(version);
  }

  #add(
    desc: DescMessage,
    direction: Direction,
    { name = this.#nameOf(desc, direction), needs = [], ignores = [] }: MessageOptions = {},
  ): Json {
    const reference = { $ref: `#/components/schemas/${name}` };
    if (name in this.all) return reference;
    this.all[name] = {}; // so that a message may hold itself
    const properties: Record<string, Json> = {};
    const required: string[] = [];
    for (const field of desc.fields) {
      const note = this.#noteOf(desc, field);
      const isIgnored = note.ignored === true || ignores.includes(field.jsonName);
      if (isIgnored && direction === "request" && !this.#isTolerant) continue;
      const isNeeded = needs.includes(field.jsonName);
      const isRequired = isNeeded || note.required === "both" || note.required === direction;
      if (isRequired) required.push(field.jsonName);
      properties[field.jsonName] =
        direction === "request"
          ? this.#input(desc, field, note, { isRequired, isNeeded, isIgnored })
          : this.#output(desc, field, note);
    }
    // Replies may come to say more, which no client is to stumble over.
    const isClosed = direction === "request" || this.#isTolerant;
    this.all[name] = {
      type: "object",
      ...(isClosed && { additionalProperties: false }),
      properties,
      ...(required.length > 0 && { required }),
    };
    return reference;
  }

  // Of a later version of a message, what is said of it there, or of the one before it.
  #noteOf({ name, typeName }: DescMessage, { jsonName }: DescField): FieldNote {
    const versioned = typeName.split(".").slice(-2).join(".");
    const note = this.#notes[versioned]?.[jsonName] ?? this.#notes[name]?.[jsonName];
    if (note === undefined) throw new Error(`say what ${versioned}.${jsonName} means`);
    return note;
  }

  // Clients are told the type only: what they check of a reply is what a later server cannot change.
  #output(desc: DescMessage, field: DescField, { text, reply }: FieldNote): Json {
    const type = this.#type(desc, field, "reply");
    return this.#described(this.#isTolerant ? { ...type, ...reply } : type, text);
  }

  #input(
    desc: DescMessage,
    field: DescField,
    { text, request, accepted, unheeded }: FieldNote,
    { isRequired, isNeeded, isIgnored }: Record<"isRequired" | "isNeeded" | "isIgnored", boolean>,
  ): Json {
    const type = this.#type(desc, field, "request");
    const taken = isIgnored ? (unheeded ?? accepted) : accepted;
    const { items, ...bounds } = { ...request, ...(this.#isTolerant && taken) } as Json;
    const schema: Json = {
      ...type,
      ...bounds,
      ...(items === undefined ? {} : { items: { ...(type.items as Json), ...items } }),
      ...(isNeeded && (type.type === "integer" ? { minimum: 1 } : { minLength: 1 })),
    };
    return this.#described(this.#isTolerant ? tolerant(schema, isRequired) : schema, text);
  }

  // A reference stands alone: in OpenAPI 3.0 nothing beside it counts.
  #described(schema: Json, description: string): Json {
    return "$ref" in schema ? schema : { ...schema, description };
  }

  #type(desc: DescMessage, field: DescField, direction: Direction): Json {
    const scalars = this.#isTolerant ? EXACT_SCALARS : SCALARS;
    const { type, repeated } = tableOf(desc).byName.get(field.jsonName)!;
    const one = type === "message" ? this.#add(field.message!, direction) : scalars[type];
    return repeated ? { type: "array", items: one } : one;
  }
}

// What is taken beside what to send: `null` for what is not given, and numbers in quotes.
function tolerant(schema: Json, isRequired: boolean): Json {
  const { type, enum: choices, ...rest } = schema;
  if ("$ref" in schema) return isRequired ? schema : { anyOf: [schema, { type: "null" }] };
  if (type === undefined) return schema; // any value already
  const types = [type, ...(type === "integer" ? ["string"] : []), ...(isRequired ? [] : ["null"])];
  return {
    type: types.length === 1 ? type : types,
    ...(type === "integer" && { pattern: QUOTED_PATTERN }),
    ...rest,
    ...(choices !== undefined && {
      enum: isRequired ? choices : [...(choices as readonly unknown[]), null],
    }),
  };
}

// Any whole number in quotes that surely has 32 bits, for those who make requests from the schema.
const QUOTED_PATTERN = "^-?[1-9][0-9]{0,8}$";
const BASE64 = "[A-Za-z0-9+/_-]";

type Scalars = Readonly<Record<Exclude<Field["type"], "message">, Json>>;

// As generators of clients know them: a pattern beside a format makes some of them compare it with
// what they made of the format.
const SCALARS: Scalars = {
  string: { type: "string" },
  int32: { type: "integer", format: "int32" },
  int64: { type: "integer", format: "int64" },
  double: { type: "number", format: "double" },
  // Any value.
  json: {},
  map: { type: "object", additionalProperties: { type: "string" } },
  bool: { type: "boolean" },
  bytes: { type: "string", format: "byte" },
  timestamp: { type: "string", format: "date-time" },
};

const EXACT_SCALARS: Scalars = {
  ...SCALARS,
  int32: { ...SCALARS.int32, minimum: -(2 ** 31), maximum: 2 ** 31 - 1 },
  bytes: {
    type: "string",
    contentEncoding: "base64",
    pattern: `^(${BASE64}{4})*(${BASE64}{2}(==)?|${BASE64}{3}=?)?$`,
  },
  timestamp: { ...SCALARS.timestamp, pattern: TIMESTAMP_PATTERN },
};

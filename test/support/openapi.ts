// The OpenAPI document of a server under test, with validators for what it describes. Bodies are
// judged by a JSON Schema library, formats included, so that this is not our reading of our document.
// What is served tells what to send; whether the server does all that it says, and no more, is judged
// by the tolerant variant.

import assert from "node:assert/strict";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { makeDevEndpoints } from "../../src/api/dev.ts";
import { makeOpenApi } from "../../src/api/openapi/document.ts";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { formatSize } from "../../src/http/body.ts";
import { DEFAULT_LIMITS, type Limits } from "../../src/limits.ts";
import { withAccess } from "./access.ts";
import type { TestServer } from "./server.ts";

// biome-ignore lint/suspicious/noExplicitAny: the document is looked into as a reader would
export type Json = any;

const PREFIX = "#/components/schemas/";

export class OpenApi {
  // By their texts: most servers of a file of tests serve the same.
  static readonly #served = new Map<string, OpenApi>();
  readonly document: Json;
  readonly #ajv: Ajv2020;
  // By their schemas, which nobody changes: to make one takes longer than all that it is used for.
  readonly #validators = new WeakMap<object, ValidateFunction>();

  constructor(document: Json) {
    this.document = document;
    // A schema may say more of a message without repeating what it is.
    const partial = { strictTypes: false, strictRequired: false } as const;
    this.#ajv = new Ajv2020({ strict: true, allowUnionTypes: true, ...partial });
    addFormats.default(this.#ajv);
    for (const [name, schema] of Object.entries<Json>(document.components.schemas)) {
      this.#ajv.addSchema(withPlainNames(schema), name);
    }
  }

  /** The document that a server serves. */
  static async of({ server }: TestServer): Promise<OpenApi> {
    const response = await fetch(`${server.address}/openapi.json`);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "application/json");
    const text = await response.text();
    const known = OpenApi.#served.get(text) ?? new OpenApi(JSON.parse(text));
    OpenApi.#served.set(text, known);
    return known;
  }

  /** All that a server takes, and exactly what it answers; a server with `--dev`, and these limits. */
  static tolerant(limits: Partial<Limits> = {}): OpenApi {
    const service = { limits: { ...DEFAULT_LIMITS, ...limits } } as Service;
    const dev = makeDevEndpoints({} as Parameters<typeof makeDevEndpoints>[0]);
    const endpoints = new Map([...makeEndpoints(service), ...dev]);
    const source = { endpoints, formatSize };
    return new OpenApi(JSON.parse(JSON.stringify(makeOpenApi(source, "tolerant"))));
  }

  /** What is described of a call, by its path. */
  operation(path: string): Json {
    return this.document.paths[path].post;
  }

  /** The paths of all calls; those of `--dev` come last. */
  get calls(): string[] {
    const { paths } = this.document;
    return Object.keys(paths).filter((path) => /^\/v\d\//.test(path) && "post" in paths[path]);
  }

  example(path: string): Json {
    return structuredClone(this.operation(path).requestBody.content["application/json"].example);
  }

  /** Why a value does not fit a schema; "" if it does. */
  mismatch(schema: Json, value: unknown): string {
    let validate = this.#validators.get(schema);
    if (validate === undefined) {
      validate = this.#ajv.compile(withPlainNames(schema));
      this.#validators.set(schema, validate);
    }
    return validate(value) ? "" : this.#ajv.errorsText(validate.errors);
  }

  requestMismatch(path: string, request: unknown): string {
    const { schema } = this.operation(path).requestBody.content["application/json"];
    return this.mismatch(schema, request);
  }

  /** Why an answer is not one that is documented; "" if it is. */
  replyMismatch(path: string, { status, body }: { status: number; body: unknown }): string {
    const response = this.operation(path).responses[status];
    if (response === undefined) return `${status} is not documented: ${JSON.stringify(body)}`;
    return this.mismatch(jsonOf(response).schema, body);
  }
}

/** A request of a call on something that must be there, of one that is. */
export async function withNeeded(server: TestServer, path: string, request: Json): Promise<Json> {
  if (!/\/redrives\.(info|cancel)$/.test(path)) return withAccess(server, path, request);
  const { queue_name } = request;
  return { ...request, id: (await server.ok("/v2/queue.redrive", { queue_name })).id };
}

/** The calls that name leases. */
export const ON_LEASES = /queue\.(complete|retry|release|reject|extend)$/;

/** How the request of such a call names them. */
export function leasesOf(path: string, ids: readonly string[]): Json {
  if (path.startsWith("/v2/")) return { leases: ids.map((id) => leaseOf(path, id)) };
  return path === "/v1/queue.retry" ? { items: ids.map((id) => ({ id })) } : { ids };
}

/** The same of one of them. */
export function leaseOf(path: string, id: string): Json {
  if (!path.startsWith("/v2/")) return path === "/v1/queue.retry" ? { id } : id;
  return path === "/v2/queue.extend" ? { lease_id: id, for: "5m" } : { lease_id: id };
}

/** What a response holds in JSON: an error under /v2 is a problem. */
export function jsonOf({ content }: Json): Json {
  return content["application/json"] ?? content["application/problem+json"];
}

// The validator knows schemas by their names, not by their places in the document.
function withPlainNames(schema: Json): Json {
  return JSON.parse(JSON.stringify(schema).replaceAll(`"$ref":"${PREFIX}`, '"$ref":"'));
}

// Which namespaces there are: the endpoints of namespaces.*. A namespace is there before its queues, roles and
// bindings, and goes after them; `_system` is always there, and nobody changes it.

import type { NamespaceRecord } from "../auth/service.ts";
import { DONE, OK, reply } from "../codec/answer.ts";
import {
  NamespaceInfoSchema,
  NamespacesDeleteRequestSchema,
  NamespacesListRequestSchema,
  NamespacesListResponseSchema,
} from "../codec/gen/querator/v1/namespaces_pb.ts";
import {
  NamespacesListRequestSchema as ListRequestV2,
  NamespacesListResponseSchema as ListResponseV2,
  NamespaceRequestSchema,
  NamespaceSchema,
  NamespacesCreateRequestSchema,
  NamespacesUpdateRequestSchema,
} from "../codec/gen/querator/v2/access_pb.ts";
import { DoneResponseSchema } from "../codec/gen/querator/v2/result_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import { invalidField, queueError } from "../errors.ts";
import { NO_QUOTAS, type Quotas } from "../quotas.ts";
import { checkNamespace, NAMESPACE_BYTES_MAX, SYSTEM_NAMESPACE } from "../registry/names.ts";
import {
  by,
  checkLength,
  checkTag,
  EXAMPLE_NAMESPACE,
  NEXT_CURSOR,
  noSuchNamespace,
  ofField,
  PAGE_NOTES,
  pageNotesV1,
  pageOf,
  pageOfV1,
  tagNote,
  textNote,
} from "./access.ts";
import { endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { badCursor, internalRetry, negativeLimit, problem, refusal } from "./openapi/errors.ts";
import type { FieldNote, Notes } from "./openapi/fields.ts";
import { DONE_NOTES } from "./results.ts";
import type { Service } from "./service.ts";

const DESCRIPTION_BYTES_MAX = 1_024;
const name = EXAMPLE_NAMESPACE;
const NO_NAME = "namespace name is invalid; cannot be empty";

const reservedText = (given: string): string =>
  `namespace name is reserved; '${given}' names starting with '_' are reserved`;

/** The endpoints. */
export function namespacesEndpoints(service: Service): readonly RowEndpoint[] {
  const { auth } = service;
  const endpoint = endpointsOf(
    {
      name: "namespaces",
      about:
        "Namespaces keep queues apart: a name means another queue in each, and keys and roles can be for one of them only.",
      fields: FIELD_NOTES,
    },
    service,
  );
  const namespaceExists = problem(
    "namespace_exists",
    "namespace already exists; 'acme' already exists",
  );
  const noNamespaceName = refusal(NO_NAME);
  const noNamespaceNameV2 = ofField("name", NO_NAME);
  const reserved = refusal(reservedText("_own"));
  const reservedV2 = ofField("name", reservedText("_own"));
  return [
    endpoint({
      path: "/v1/namespaces.create",
      bodyBytesMax: MEDIUM,
      request: NamespaceInfoSchema,
      permission: "namespace.create",
      isOfServer: true,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "namespaces.create",
      summary: "Makes a namespace.",
      example: { name, description: "Queues of Acme" },
      errors: { noNamespaceName, reserved, namespaceExists, internalRetry },
      check: checkInfo,
      handler: async ({ name, description, apiKeyTag: keyTag }, exchange, _, __, deed) => {
        checkNotReserved(name);
        const given = { name, description, keyTag, quotas: NO_QUOTAS };
        await auth.changes.createNamespace(by(exchange, deed), given);
        return OK;
      },
    }),
    endpoint({
      path: "/v1/namespaces.update",
      bodyBytesMax: MEDIUM,
      request: NamespaceInfoSchema,
      permission: "namespace.update",
      isOfServer: true,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "namespaces.update",
      summary: "Changes a namespace; what is not given becomes empty.",
      example: { name, description: "All queues of Acme" },
      errors: { noNamespaceName, reserved, noSuchNamespace, internalRetry },
      check: checkInfo,
      handler: async ({ name, description, apiKeyTag: keyTag }, exchange, _, __, deed) => {
        checkNotReserved(name);
        await auth.changes.updateNamespace(by(exchange, deed), name, { description, keyTag });
        return OK;
      },
    }),
    endpoint({
      path: "/v1/namespaces.list",
      bodyBytesMax: MEDIUM,
      request: NamespacesListRequestSchema,
      reply: NamespacesListResponseSchema,
      permission: "namespace.list",
      isOfServer: true,
      metric: "namespaces.list",
      summary: "Lists namespaces by name, from pivot on.",
      example: { limit: 10 },
      errors: { negativeLimit },
      handler: (request) => {
        const items = pageOfV1(allOf(service), byName, request).map(toInfo);
        return reply(NamespacesListResponseSchema, { items });
      },
    }),
    endpoint({
      path: "/v1/namespaces.delete",
      bodyBytesMax: MEDIUM,
      request: NamespacesDeleteRequestSchema,
      permission: "namespace.delete",
      isOfServer: true,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "namespaces.delete",
      summary: "Deletes a namespace that has no bindings, roles and queues any more.",
      example: { name },
      errors: { noNamespaceName, reserved, noSuchNamespace, internalRetry },
      check: ({ name }) => checkName(name),
      handler: async ({ name }, exchange, _, __, deed) => {
        checkNotReserved(name);
        await auth.changes.deleteNamespace(by(exchange, deed), name);
        return OK;
      },
    }),

    endpoint({
      path: "/v2/namespaces.create",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: NamespacesCreateRequestSchema,
      reply: NamespaceSchema,
      permission: "namespace.create",
      isOfServer: true,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "namespaces.create",
      summary: "Makes a namespace.",
      example: { name, description: "Queues of Acme" },
      errors: {
        noNamespaceName: noNamespaceNameV2,
        reserved: reservedV2,
        namespaceExists,
        internalRetry,
      },
      check: ({ name, description, keyTag, quotas }) => {
        checkName(name);
        checkLength("description", description, DESCRIPTION_BYTES_MAX);
        checkTag("key_tag", keyTag);
        checkQuotas(quotas);
      },
      handler: async ({ name, description, keyTag, quotas }, exchange, _, __, deed) => {
        checkNotReserved(name);
        const given = { name, description, keyTag, quotas: { ...NO_QUOTAS, ...quotas } };
        const made = await auth.changes.createNamespace(by(exchange, deed), given);
        return reply(NamespaceSchema, toNamespace(made));
      },
    }),
    endpoint({
      path: "/v2/namespaces.update",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: NamespacesUpdateRequestSchema,
      reply: NamespaceSchema,
      permission: "namespace.update",
      isOfServer: true,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "namespaces.update",
      summary: "Changes a namespace; what is not given stays as it is.",
      example: { name, description: "All queues of Acme" },
      errors: {
        noNamespaceName: noNamespaceNameV2,
        reserved: reservedV2,
        noSuchNamespace,
        internalRetry,
      },
      check: ({ name, description, keyTag, quotas }) => {
        checkName(name);
        checkLength("description", description ?? "", DESCRIPTION_BYTES_MAX);
        checkTag("key_tag", keyTag ?? "");
        checkQuotas(quotas);
      },
      handler: async ({ name, description, keyTag, quotas }, exchange, _, __, deed) => {
        checkNotReserved(name);
        const changed = await auth.changes.updateNamespace(by(exchange, deed), name, {
          ...(description !== undefined && { description }),
          ...(keyTag !== undefined && { keyTag }),
          ...(quotas !== undefined && { quotas }),
        });
        return reply(NamespaceSchema, toNamespace(changed));
      },
    }),
    endpoint({
      path: "/v2/namespaces.info",
      bodyBytesMax: MEDIUM,
      request: NamespaceRequestSchema,
      reply: NamespaceSchema,
      // Who may see the counts of its queues, may see what it may use.
      permission: "queue.stats",
      namespaceOf: ({ name }) => name,
      isFree: true,
      metric: "namespaces.info",
      summary: "Shows a namespace.",
      example: { name },
      errors: { noNamespaceName: noNamespaceNameV2, noSuchNamespace },
      check: ({ name }) => checkName(name),
      handler: ({ name }) => {
        const record = name === SYSTEM_NAMESPACE ? SYSTEM : auth.state.namespaces.get(name);
        if (record === undefined) throw queueError("namespace_not_found", { namespace: name });
        const used = name === SYSTEM_NAMESPACE ? undefined : usedOf(service, name);
        return reply(NamespaceSchema, { ...toNamespace(record), ...(used && { used }) });
      },
    }),
    endpoint({
      path: "/v2/namespaces.list",
      bodyBytesMax: MEDIUM,
      request: ListRequestV2,
      reply: ListResponseV2,
      permission: "namespace.list",
      isOfServer: true,
      metric: "namespaces.list",
      summary: "Lists namespaces by name.",
      example: { limit: 10 },
      errors: { badCursor },
      handler: (request) => {
        const { records, next } = pageOf(allOf(service), byName, request);
        return reply(ListResponseV2, { namespaces: records.map(toNamespace), ...next });
      },
    }),
    endpoint({
      path: "/v2/namespaces.delete",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: NamespaceRequestSchema,
      reply: DoneResponseSchema,
      permission: "namespace.delete",
      isOfServer: true,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "namespaces.delete",
      summary: "Deletes a namespace that has no bindings, roles and queues any more.",
      example: { name },
      errors: {
        noNamespaceName: noNamespaceNameV2,
        reserved: reservedV2,
        noSuchNamespace,
        internalRetry,
      },
      check: ({ name }) => checkName(name),
      handler: async ({ name }, exchange, _, __, deed) => {
        checkNotReserved(name);
        await auth.changes.deleteNamespace(by(exchange, deed), name);
        return DONE;
      },
    }),
  ];
}

function checkInfo({ name, apiKeyTag }: Decoded<typeof NamespaceInfoSchema>): void {
  checkName(name);
  checkTag("api_key_tag", apiKeyTag);
}

function checkName(name: string): void {
  if (name === "") throw invalidField("name", NO_NAME);
  checkNamespace(name, "name");
}

function checkNotReserved(name: string): void {
  if (name.startsWith("_")) throw invalidField("name", reservedText(name));
}

function checkQuotas(quotas: Quotas | undefined): void {
  if (quotas === undefined) return;
  for (const [key, field] of QUOTAS) {
    if (quotas[key] >= 0) continue;
    throw invalidField(`quotas.${field}`, `quotas.${field} is invalid; cannot be negative`);
  }
}

// It has no record.
const SYSTEM: NamespaceRecord = {
  name: SYSTEM_NAMESPACE,
  description: "",
  keyTag: "",
  createdAt: 0,
  quotas: NO_QUOTAS,
};

function* allOf({ auth }: Service): Iterable<NamespaceRecord> {
  yield SYSTEM;
  yield* auth.state.namespaces.values();
}

function byName({ name }: NamespaceRecord): string {
  return name;
}

function toInfo(record: NamespaceRecord): Encodable<typeof NamespaceInfoSchema> {
  const { name, description, createdAt, keyTag: apiKeyTag } = record;
  return { name, description, createdAt, apiKeyTag };
}

function toNamespace(record: NamespaceRecord): Encodable<typeof NamespaceSchema> {
  const { name, description, keyTag, createdAt, quotas } = record;
  const hasSome = Object.values(quotas).some((each) => each !== 0);
  return { name, description, keyTag, createdAt, ...(hasSome && { quotas }) };
}

function usedOf({ auth, queues, clock }: Service, namespace: string): Quotas {
  const account = auth.accounts.of(namespace);
  const steady = clock.steady();
  return {
    queues: queues.countIn(namespace),
    items: account.used("items"),
    bytes: account.used("bytes"),
    requestsPerSecond: account.usedRate("requestsPerSecond", steady),
    itemsPerSecond: account.usedRate("itemsPerSecond", steady),
    waitingLeases: account.used("waitingLeases"),
    connections: account.used("connections"),
  };
}

// --- documents ---

const QUOTAS: readonly [keyof Quotas, field: string, text: string][] = [
  ["queues", "queues", "Queues in it; 0 means any number."],
  ["items", "items", "Items in all its queues; 0 means any number."],
  ["bytes", "bytes", "Bytes of these items; 0 means any number."],
  ["requestsPerSecond", "requests_per_second", "Calls in a second; 0 means any number."],
  ["itemsPerSecond", "items_per_second", "Items in and out in a second; 0 means any number."],
  ["waitingLeases", "waiting_leases", "Leases that wait at once; 0 means any number."],
  ["connections", "connections", "Connections at once; 0 means any number."],
];

const NAME: FieldNote = {
  text: `The namespace. At most ${NAMESPACE_BYTES_MAX} bytes, without white space, '~' and ':'; names that begin with '_' are those of the server.`,
  required: "both",
  request: { minLength: 1, maxLength: NAMESPACE_BYTES_MAX, pattern: "^[^~:\\s]+$" },
  reply: { minLength: 1 },
};
const DESCRIPTION = "What it is for.";
const KEY_TAG = "The tag of keys that are made for it, if none is given: 1 to 16 of 0-9 and a-z.";
const QUOTAS_TEXT = "What it may use; without limit if it is not given.";

const FIELD_NOTES: Notes = {
  NamespaceInfo: {
    name: NAME,
    description: { text: DESCRIPTION },
    created_at: { text: "When it was made; not told of _system.", ignored: true },
    api_key_tag: tagNote(KEY_TAG),
  },
  NamespacesListRequest: pageNotesV1("name"),
  NamespacesListResponse: { items: { text: "In order of their names." } },
  NamespacesDeleteRequest: { name: NAME },
  "v2.Namespace": {
    name: NAME,
    description: { text: DESCRIPTION },
    key_tag: { text: KEY_TAG },
    created_at: { text: "When it was made; not told of _system." },
    quotas: { text: QUOTAS_TEXT },
    used: { text: "How much of its quotas is used; only namespaces.info tells it." },
  },
  "v2.Quotas": Object.fromEntries(
    QUOTAS.map(([, field, text]) => [field, { text, request: { minimum: 0 } }]),
  ),
  "v2.NamespacesCreateRequest": {
    name: NAME,
    description: textNote(DESCRIPTION, DESCRIPTION_BYTES_MAX),
    key_tag: tagNote(KEY_TAG),
    quotas: { text: QUOTAS_TEXT },
  },
  "v2.NamespacesUpdateRequest": {
    name: NAME,
    description: textNote(DESCRIPTION, DESCRIPTION_BYTES_MAX),
    key_tag: tagNote(KEY_TAG),
    quotas: { text: "What it may use; those that are not among them become without limit." },
  },
  "v2.NamespaceRequest": { name: NAME },
  "v2.NamespacesListRequest": PAGE_NOTES,
  "v2.NamespacesListResponse": {
    namespaces: { text: "In order of their names.", required: "reply" },
    next_cursor: NEXT_CURSOR,
  },
  ...DONE_NOTES,
};

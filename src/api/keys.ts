// Which keys there are: the endpoints of apikeys.* under /v1, and of keys.* under /v2. A key is told once, by the call
// that makes it; no such call takes an Idempotency-Key, for an answer that is given twice is kept in between.
// Under /v2 a caller that is about one namespace has to do with keys of that namespace only.

import { type KeyRecord, type MadeKey, OVERLAP_DEFAULT } from "../auth/service.ts";
import { type Clock, HOUR } from "../clock.ts";
import { OK, reply } from "../codec/answer.ts";
import {
  APIKeyCreateRequestSchema,
  APIKeyCreateResponseSchema,
  APIKeyDeleteRequestSchema,
  type APIKeyMetadataSchema,
  APIKeysListRequestSchema,
  APIKeysListResponseSchema,
} from "../codec/gen/querator/v1/apikeys_pb.ts";
import {
  type KeySchema,
  KeysCreateRequestSchema,
  KeysListRequestSchema,
  KeysListResponseSchema,
  KeysRevokeRequestSchema,
  KeysRevokeResponseSchema,
  KeysRotateRequestSchema,
  MadeKeySchema,
} from "../codec/gen/querator/v2/access_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import { DURATION_PATTERN, formatDuration } from "../duration.ts";
import { invalidField } from "../errors.ts";
import { NAMESPACE_BYTES_MAX, SYSTEM_NAMESPACE } from "../registry/names.ts";
import { readDuration } from "../registry/settings.ts";
import {
  by,
  byId,
  CREATED,
  checkGiven,
  checkLength,
  checkNamed,
  checkTag,
  EXAMPLE_USER,
  emptyText,
  NEXT_CURSOR,
  named,
  namespaceNote,
  noSuchNamespace,
  noSuchUser,
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
import type { Notes } from "./openapi/fields.ts";
import type { Service } from "./service.ts";

const OVERLAP_MAX = 720 * HOUR;
const EXPIRE_IN = { field: "expire_in", called: "expire_in", examples: "30m, 24h or 720h" };
const OVERLAP = { field: "overlap", called: "overlap", examples: "0s, 30m or 24h" };

const user_id = EXAMPLE_USER;
const EXAMPLE_KEY = "2fPkNbVf0uTqQeXr4pZs9cDwLmA";
const NO_USER = emptyText("user_id");
const NO_ID = emptyText("id");
const NONE_CHOSEN = "id is invalid; give 'id', or 'user_id' or 'before'";
const TOO_MANY_CHOSEN = "id is invalid; give either 'id', or 'user_id' and 'before'";

/** The endpoints. */
export function keysEndpoints(service: Service): readonly RowEndpoint[] {
  const { auth, clock } = service;
  const noUserId = refusal(NO_USER);
  const noSuchKey = problem("key_not_found", "key does not exist; 'abc' was not found");
  const ofV1 = endpointsOf(
    { name: "apikeys", about: "Keys, by which callers are known, under /v1.", fields: NOTES_V1 },
    service,
  );
  const endpoint = endpointsOf(
    {
      name: "keys",
      about:
        "Keys are what callers are known by. A key may do what its user may, in one namespace only if it is for one.",
      fields: NOTES,
    },
    service,
  );
  return [
    ofV1({
      path: "/v1/apikeys.create",
      bodyBytesMax: MEDIUM,
      request: APIKeyCreateRequestSchema,
      reply: APIKeyCreateResponseSchema,
      permission: "apikey.create",
      isOfServer: true,
      audit: { isWithin: true, target: ({ userId }) => userId },
      metric: "apikeys.create",
      summary: "Makes a key of a user, and tells it once.",
      example: { user_id, name: "worker" },
      errors: { noUserId, noSuchUser, internalRetry },
      check: ({ userId, name, namespaceScope, keyTag }) => {
        checkGiven("user_id", userId);
        checkLength("name", name);
        checkTag("key_tag", keyTag);
        checkLength("namespace_scope", namespaceScope, NAMESPACE_BYTES_MAX);
      },
      handler: async (request, exchange, _, __, deed) => {
        const { userId, name, namespaceScope: namespace, expiresAt, keyTag } = request;
        const given = { userId, name, namespace, expiresAt, keyTag };
        const { record, key } = await auth.changes.createKey(by(exchange, deed), given);
        const { id, prefix } = record;
        return reply(APIKeyCreateResponseSchema, { id, key, prefix });
      },
    }),
    ofV1({
      path: "/v1/apikeys.list",
      bodyBytesMax: MEDIUM,
      request: APIKeysListRequestSchema,
      reply: APIKeysListResponseSchema,
      permission: "apikey.list",
      isOfServer: true,
      metric: "apikeys.list",
      summary: "Lists keys by id, from pivot on, without what makes them keys.",
      example: { limit: 10 },
      errors: { negativeLimit },
      handler: (request) => {
        const keys = keysOf(service, SYSTEM_NAMESPACE, request.userId);
        const items = pageOfV1(keys, byId, request).map(toMetadata);
        return reply(APIKeysListResponseSchema, { items });
      },
    }),
    ofV1({
      path: "/v1/apikeys.delete",
      bodyBytesMax: MEDIUM,
      request: APIKeyDeleteRequestSchema,
      permission: "apikey.delete",
      isOfServer: true,
      audit: { isWithin: true, target: ({ id }) => id },
      metric: "apikeys.delete",
      summary: "Takes a key away: it is taken no more.",
      example: { id: EXAMPLE_KEY },
      errors: { noSuchApiKey: problem("key_not_found", "api key does not exist"), internalRetry },
      handler: async ({ id }, exchange, _, __, deed) => {
        await auth.changes.revokeKeys(by(exchange, deed), { id }, undefined);
        return OK;
      },
    }),

    endpoint({
      path: "/v2/keys.create",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: KeysCreateRequestSchema,
      reply: MadeKeySchema,
      permission: "apikey.create",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ userId }) => userId },
      metric: "keys.create",
      summary: "Makes a key of a user, and tells it once.",
      description:
        "Nobody can make a key that may do more than they may themselves. The key is kept nowhere: who loses it makes another one.",
      example: { user_id, name: "worker" },
      errors: {
        noUserId: ofField("user_id", NO_USER),
        noSuchUser,
        noSuchNamespace,
        badExpiry: ofField(
          "expire_in",
          "expire_in is invalid; give either 'expires_at' or 'expire_in'",
        ),
        internalRetry,
      },
      check: (request) => {
        const { userId, name, keyTag } = request;
        checkGiven("user_id", userId);
        checkLength("name", name);
        checkNamed(request);
        checkTag("key_tag", keyTag);
      },
      handler: async (request, exchange, _, about, deed) => {
        const { userId, name, keyTag } = request;
        const expiresAt = expiryOf(request, clock);
        // Who names none makes one for its own namespace, if it is not that of everything.
        const namespace = request.namespace || scopeOf(about);
        auth.state.checkNamespace(namespace || SYSTEM_NAMESPACE);
        const given = { userId, name, namespace, expiresAt, keyTag };
        return made(await auth.changes.createKey(by(exchange, deed), given));
      },
    }),
    endpoint({
      path: "/v2/keys.rotate",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: KeysRotateRequestSchema,
      reply: MadeKeySchema,
      permission: "apikey.create",
      alsoNeeds: "apikey.delete",
      audit: { isWithin: true, target: ({ id }) => id },
      metric: "keys.rotate",
      summary: "Makes another key like one, which is taken for a while longer.",
      description:
        "The other key has the same user, namespace, name and tag, and ends when it would have.",
      example: { id: EXAMPLE_KEY },
      errors: {
        noKeyId: ofField("id", NO_ID),
        noSuchKey,
        longOverlap: ofField(
          "overlap",
          "overlap is invalid; '721h0m0s' is not between 0s and 720h0m0s",
        ),
        internalRetry,
      },
      check: ({ id }) => checkGiven("id", id),
      handler: async ({ id, overlap }, exchange, _, about, deed) => {
        const kept = overlapOf(overlap);
        return made(await auth.changes.rotateKey(by(exchange, deed), id, kept, onlyIn(about)));
      },
    }),
    endpoint({
      path: "/v2/keys.list",
      bodyBytesMax: MEDIUM,
      request: KeysListRequestSchema,
      reply: KeysListResponseSchema,
      permission: "apikey.list",
      metric: "keys.list",
      summary: "Lists keys in the order in which they were made, without what makes them keys.",
      example: { limit: 10 },
      errors: { badCursor },
      handler: (request, _, __, about) => {
        const { records, next } = pageOf(keysOf(service, about, request.userId), byId, request);
        return reply(KeysListResponseSchema, { keys: records.map(toKey), ...next });
      },
    }),
    endpoint({
      path: "/v2/keys.revoke",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: KeysRevokeRequestSchema,
      reply: KeysRevokeResponseSchema,
      permission: "apikey.delete",
      audit: { isWithin: true, target: ({ id, userId }) => id || userId },
      metric: "keys.revoke",
      summary: "Takes keys away: one, those of a user, or all that were made before a time.",
      description:
        "When it is answered they are taken nowhere any more, and what waits in their names has ended.",
      example: { id: EXAMPLE_KEY },
      errors: { noKeyChosen: ofField("id", NONE_CHOSEN), noSuchKey, internalRetry },
      check: ({ id, userId, before }) => {
        const isMany = userId !== "" || before !== 0;
        if (id === "" && !isMany) throw invalidField("id", NONE_CHOSEN);
        if (id !== "" && isMany) throw invalidField("id", TOO_MANY_CHOSEN);
      },
      handler: async ({ id, userId, before }, exchange, _, about, deed) => {
        const which = {
          ...(id !== "" && { id }),
          ...(userId !== "" && { userId }),
          ...(before !== 0 && { before }),
        };
        const revoked = await auth.changes.revokeKeys(by(exchange, deed), which, onlyIn(about));
        return reply(KeysRevokeResponseSchema, { revoked });
      },
    }),
  ];
}

// In `_system` all keys are known, in another namespace those that are for it.
function onlyIn(namespace: string): string | undefined {
  return namespace === SYSTEM_NAMESPACE ? undefined : namespace;
}

function scopeOf(namespace: string): string {
  return onlyIn(namespace) ?? "";
}

function* keysOf({ auth }: Service, about: string, userId: string): Iterable<KeyRecord> {
  const namespace = onlyIn(about);
  for (const key of auth.state.keys.values()) {
    if (namespace !== undefined && key.namespace !== namespace) continue;
    if (userId === "" || key.userId === userId) yield key;
  }
}

type Expiry = Pick<Decoded<typeof KeysCreateRequestSchema>, "expiresAt" | "expireIn">;

function expiryOf({ expiresAt, expireIn }: Expiry, clock: Clock): number {
  const now = clock.now();
  if (expireIn === "") {
    if (expiresAt === 0 || expiresAt > now) return expiresAt;
    throw invalidField("expires_at", "expires_at is invalid; it is over");
  }
  if (expiresAt !== 0) {
    throw invalidField(
      "expire_in",
      "expire_in is invalid; give either 'expires_at' or 'expire_in'",
    );
  }
  const later = Math.trunc(readDuration(expireIn, EXPIRE_IN));
  if (later > 0) return now + later;
  throw invalidField("expire_in", `expire_in is invalid; '${expireIn}' is not later than now`);
}

function overlapOf(text: string | undefined): number {
  if (text === undefined || text === "") return OVERLAP_DEFAULT;
  const overlap = Math.trunc(readDuration(text, OVERLAP));
  if (overlap >= 0 && overlap <= OVERLAP_MAX) return overlap;
  const [given, max] = [formatDuration(overlap), formatDuration(OVERLAP_MAX)];
  throw invalidField("overlap", `overlap is invalid; '${given}' is not between 0s and ${max}`);
}

function made({ record, key }: MadeKey): ReturnType<typeof reply> {
  return reply(MadeKeySchema, { info: toKey(record), key });
}

function toKey(record: KeyRecord): Encodable<typeof KeySchema> {
  const { id, userId, namespace, name, prefix, expiresAt, lastUsedAt, createdAt } = record;
  return { id, userId, namespace, name, prefix, expiresAt, lastUsedAt, createdAt };
}

function toMetadata(record: KeyRecord): Encodable<typeof APIKeyMetadataSchema> {
  const { namespace: namespaceScope, ...rest } = toKey(record);
  return { ...rest, namespaceScope };
}

// --- documents ---

const KEY_ID = "The id of the key.";
const USER_ID = "The user that it belongs to.";
const NAME = "What it is called, for people; several may have the same name.";
const PREFIX = "What it begins with, so that people recognise it.";
const TAG =
  "What stands in it behind qtr-, so that people see what it is for: 1 to 16 of 0-9 and a-z.";
const SECRET = "The key. It is told once, and kept nowhere.";
const SHOWN = {
  id: { text: KEY_ID, required: "reply" },
  user_id: { text: USER_ID, required: "reply" },
  name: { text: NAME },
  prefix: { text: PREFIX, required: "reply" },
  expires_at: { text: "When it ends by itself; never if it is not set." },
  last_used_at: {
    text: "When it was used last, or up to five minutes later; not set if it never was.",
  },
  created_at: CREATED,
} as const;
const SCOPE =
  "The only namespace that it is for; all in which its user has a role if it is not set.";
const OF_USER = { user_id: { text: "Only those of this user, if it is given." } };

const NOTES_V1: Notes = {
  APIKeyCreateRequest: {
    user_id: { text: USER_ID, required: "both", request: { minLength: 1 } },
    name: textNote(NAME),
    namespace_scope: textNote(SCOPE, NAMESPACE_BYTES_MAX),
    expires_at: { text: "When it ends by itself; never if it is not given." },
    key_tag: tagNote(TAG),
  },
  APIKeyCreateResponse: {
    id: { text: KEY_ID, required: "reply" },
    key: { text: SECRET, required: "reply" },
    prefix: { text: PREFIX, required: "reply" },
  },
  APIKeyMetadata: { ...SHOWN, namespace_scope: { text: SCOPE } },
  APIKeysListRequest: { ...OF_USER, ...pageNotesV1("id") },
  APIKeysListResponse: { items: { text: "In order of their ids." } },
  APIKeyDeleteRequest: { id: { text: KEY_ID, required: "request" } },
};

const NOTES: Notes = {
  "v2.Key": { ...SHOWN, namespace: { text: SCOPE } },
  "v2.MadeKey": {
    info: { text: "What lists tell of it.", required: "reply" },
    key: { text: SECRET, required: "reply" },
  },
  "v2.KeysCreateRequest": {
    user_id: { text: USER_ID, required: "request", request: { minLength: 1 } },
    name: textNote(NAME),
    namespace: namespaceNote(
      "The only namespace that it is for; by default that of the caller, or all in which its user has a role.",
    ),
    expires_at: { text: "When it ends by itself; never if it is not given." },
    expire_in: {
      text: "The same as a duration from now, in place of expires_at.",
      request: { pattern: DURATION_PATTERN },
      accepted: { pattern: `^$|${DURATION_PATTERN}` },
    },
    key_tag: tagNote(TAG),
  },
  "v2.KeysRotateRequest": {
    id: { text: KEY_ID, required: "request", request: { minLength: 1 } },
    overlap: {
      text: "For how long the old key is still taken, from 0s to 720h; 1h by default.",
      request: { pattern: DURATION_PATTERN },
      accepted: { pattern: `^$|${DURATION_PATTERN}` },
    },
  },
  "v2.KeysListRequest": { ...OF_USER, ...PAGE_NOTES },
  "v2.KeysListResponse": {
    keys: { text: "In the order in which they were made.", required: "reply" },
    next_cursor: NEXT_CURSOR,
  },
  "v2.KeysRevokeRequest": {
    id: { text: "The key; nothing else may be given beside it." },
    user_id: { text: "All keys of this user." },
    before: {
      text: "All keys that were made before this time; with user_id only those of the user.",
    },
  },
  "v2.KeysRevokeResponse": {
    revoked: { text: "How many keys were taken away.", reply: { minimum: 0 } },
  },
};

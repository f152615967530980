// Which users there are: the endpoints of users.*. A user is who keys belong to and roles are bound to, a person or a
// program; it is of the whole server, and its bindings say in which namespaces it may do something.

import type { UserRecord } from "../auth/service.ts";
import { DONE, OK, reply } from "../codec/answer.ts";
import {
  UserCreateRequestSchema,
  UserCreateResponseSchema,
  UsersDeleteRequestSchema,
  UsersListRequestSchema,
  UsersListResponseSchema,
} from "../codec/gen/querator/v1/users_pb.ts";
import {
  UsersDeleteRequestSchema as DeleteRequestV2,
  UsersListRequestSchema as ListRequestV2,
  UsersListResponseSchema as ListResponseV2,
  UsersCreateRequestSchema,
  UserSchema as UserV2,
} from "../codec/gen/querator/v2/access_pb.ts";
import { DoneResponseSchema } from "../codec/gen/querator/v2/result_pb.ts";
import type { Encodable } from "../codec/message.ts";
import { invalidField } from "../errors.ts";
import { isBlank } from "../registry/names.ts";
import {
  by,
  byId,
  CREATED,
  checkGiven,
  checkLength,
  EXAMPLE_USER,
  emptyText,
  NAME_BYTES_MAX,
  NEXT_CURSOR,
  nameNote,
  noSuchUser,
  ofField,
  PAGE_NOTES,
  pageNotesV1,
  pageOf,
  pageOfV1,
  TEXT_BYTES_MAX,
  textNote,
} from "./access.ts";
import { endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { badCursor, internalRetry, negativeLimit, problem, refusal } from "./openapi/errors.ts";
import type { Notes } from "./openapi/fields.ts";
import type { Service } from "./service.ts";

const username = "jane";

/** The endpoints. */
export function usersEndpoints(service: Service): readonly RowEndpoint[] {
  const { auth } = service;
  const endpoint = endpointsOf(
    {
      name: "users",
      about: "Users are whom keys belong to, and roles are bound to.",
      fields: FIELD_NOTES,
    },
    service,
  );
  const usernameTaken = problem(
    "user_exists",
    "username is already taken; 'jane' is already taken",
  );
  const NO_USERNAME = emptyText("username");
  return [
    endpoint({
      path: "/v1/users.create",
      bodyBytesMax: MEDIUM,
      request: UserCreateRequestSchema,
      reply: UserCreateResponseSchema,
      permission: "user.create",
      isOfServer: true,
      audit: { isWithin: true, target: ({ username }) => username },
      metric: "users.create",
      summary: "Makes a user.",
      example: { username },
      errors: { noUsername: refusal(NO_USERNAME), usernameTaken, internalRetry },
      check: checkNewUser,
      handler: async (request, exchange, _, __, deed) => {
        checkNotBlank(request.username);
        const { id } = await auth.changes.createUser(by(exchange, deed), newUserOf(request));
        return reply(UserCreateResponseSchema, { id });
      },
    }),
    endpoint({
      path: "/v1/users.list",
      bodyBytesMax: MEDIUM,
      request: UsersListRequestSchema,
      reply: UsersListResponseSchema,
      permission: "user.list",
      isOfServer: true,
      metric: "users.list",
      summary: "Lists users by id, from pivot on.",
      example: { limit: 10 },
      errors: { negativeLimit },
      handler: (request) => {
        const items = pageOfV1(auth.state.users.values(), byId, request);
        return reply(UsersListResponseSchema, { items });
      },
    }),
    endpoint({
      path: "/v1/users.delete",
      bodyBytesMax: MEDIUM,
      request: UsersDeleteRequestSchema,
      permission: "user.delete",
      isOfServer: true,
      audit: { isWithin: true, target: ({ id }) => id },
      metric: "users.delete",
      summary: "Deletes a user with its bindings and keys.",
      example: { id: EXAMPLE_USER },
      errors: { noSuchUser, internalRetry },
      handler: async ({ id }, exchange, _, __, deed) => {
        await auth.changes.deleteUser(by(exchange, deed), id);
        return OK;
      },
    }),

    endpoint({
      path: "/v2/users.create",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: UsersCreateRequestSchema,
      reply: UserV2,
      permission: "user.create",
      isOfServer: true,
      audit: { isWithin: true, target: ({ username }) => username },
      metric: "users.create",
      summary: "Makes a user.",
      example: { username },
      errors: { noUsername: ofField("username", NO_USERNAME), usernameTaken, internalRetry },
      check: (request) => {
        checkNewUser(request);
        checkNotBlank(request.username);
      },
      handler: async (request, exchange, _, __, deed) =>
        reply(
          UserV2,
          toUser(await auth.changes.createUser(by(exchange, deed), newUserOf(request))),
        ),
    }),
    endpoint({
      path: "/v2/users.list",
      bodyBytesMax: MEDIUM,
      request: ListRequestV2,
      reply: ListResponseV2,
      permission: "user.list",
      isOfServer: true,
      metric: "users.list",
      summary: "Lists users in the order in which they were made.",
      example: { limit: 10 },
      errors: { badCursor },
      handler: (request) => {
        const { records, next } = pageOf(auth.state.users.values(), byId, request);
        return reply(ListResponseV2, { users: records.map(toUser), ...next });
      },
    }),
    endpoint({
      path: "/v2/users.delete",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: DeleteRequestV2,
      reply: DoneResponseSchema,
      permission: "user.delete",
      isOfServer: true,
      audit: { isWithin: true, target: ({ id }) => id },
      metric: "users.delete",
      summary: "Deletes a user with its bindings and keys; these are taken no more.",
      example: { id: EXAMPLE_USER },
      errors: { noSuchUser, internalRetry },
      check: ({ id }) => checkGiven("id", id),
      handler: async ({ id }, exchange, _, __, deed) => {
        await auth.changes.deleteUser(by(exchange, deed), id);
        return DONE;
      },
    }),
  ];
}

interface NewUserRequest {
  readonly username: string;
  readonly email: string;
  readonly externalId: string;
}

function checkNewUser({ username, email, externalId }: NewUserRequest): void {
  checkLength("username", username, NAME_BYTES_MAX);
  checkGiven("username", username);
  checkLength("email", email, TEXT_BYTES_MAX);
  checkLength("external_id", externalId, TEXT_BYTES_MAX);
}

function checkNotBlank(username: string): void {
  if (isBlank(username)) throw invalidField("username", emptyText("username"));
}

function newUserOf({ username, email, externalId }: NewUserRequest): NewUserRequest {
  return { username, email, externalId };
}

function toUser(user: UserRecord): Encodable<typeof UserV2> {
  const { id, username, email, externalId, createdAt } = user;
  return { id, username, email, externalId, createdAt };
}

// --- documents ---

const USER_ID = "The id of the user.";
const EMAIL = "Where to reach it.";
const EXTERNAL_ID = "What another system calls it.";

const NEW = {
  username: nameNote("A name that no other user has."),
  email: textNote(EMAIL, TEXT_BYTES_MAX),
  external_id: textNote(EXTERNAL_ID, TEXT_BYTES_MAX),
};
const SHOWN = {
  id: { text: USER_ID, required: "reply" },
  username: { text: "Its name.", required: "reply" },
  email: { text: EMAIL },
  external_id: { text: EXTERNAL_ID },
  created_at: CREATED,
} as const;

const FIELD_NOTES: Notes = {
  User: { ...SHOWN, updated_at: { text: "When it was changed last.", required: "reply" } },
  UserCreateRequest: NEW,
  UserCreateResponse: { id: { text: USER_ID, required: "reply" } },
  UsersListRequest: pageNotesV1("id"),
  UsersListResponse: { items: { text: "In order of their ids." } },
  UsersDeleteRequest: { id: { text: USER_ID, required: "request" } },
  "v2.User": SHOWN,
  "v2.UsersCreateRequest": {
    ...NEW,
    external_id: textNote(
      "What another system calls it: with client certificates, the subject of its certificate.",
      TEXT_BYTES_MAX,
    ),
  },
  "v2.UsersListRequest": PAGE_NOTES,
  "v2.UsersListResponse": {
    users: { text: "In the order in which they were made.", required: "reply" },
    next_cursor: NEXT_CURSOR,
  },
  "v2.UsersDeleteRequest": {
    id: { text: USER_ID, required: "request", request: { minLength: 1 } },
  },
};

// Which roles users have: the endpoints of rolebindings.* under /v1, and of bindings.* under /v2. A binding counts in
// its namespace, and one in `_system` in all. Under /v2 the standard roles can be bound in every namespace.

import type { BindingRecord } from "../auth/service.ts";
import { DONE, OK, reply } from "../codec/answer.ts";
import {
  RoleBindingCreateRequestSchema,
  RoleBindingCreateResponseSchema,
  RoleBindingDeleteRequestSchema,
  RoleBindingsListRequestSchema,
  RoleBindingsListResponseSchema,
} from "../codec/gen/querator/v1/roles_pb.ts";
import {
  BindingRequestSchema,
  BindingSchema,
  BindingsListRequestSchema,
  BindingsListResponseSchema,
} from "../codec/gen/querator/v2/access_pb.ts";
import { DoneResponseSchema } from "../codec/gen/querator/v2/result_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import {
  by,
  byId,
  CREATED,
  checkGiven,
  checkNamed,
  checkNoColon,
  EXAMPLE_NAMESPACE,
  EXAMPLE_USER,
  emptyText,
  NEXT_CURSOR,
  named,
  namespaceNote,
  noSuchUser,
  ofField,
  PAGE_NOTES,
  pageNotesV1,
  pageOf,
  pageOfV1,
} from "./access.ts";
import { endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { badCursor, internalRetry, negativeLimit, problem, refusal } from "./openapi/errors.ts";
import type { FieldNote, Notes } from "./openapi/fields.ts";
import type { Service } from "./service.ts";

const role_name = "shipper";
const EXAMPLE = { role_name, user_id: EXAMPLE_USER };
const EXAMPLE_V1 = { namespace: EXAMPLE_NAMESPACE, ...EXAMPLE };
const COLON = "user_id is invalid; 'a:b' cannot contain ':' character";

/** The endpoints. */
export function bindingsEndpoints(service: Service): readonly RowEndpoint[] {
  const { auth } = service;
  const ofV1 = endpointsOf(
    { name: "rolebindings", about: "Which roles users have, under /v1.", fields: NOTES_V1 },
    service,
  );
  const endpoint = endpointsOf(
    { name: "bindings", about: "Bindings say which roles users have, and where.", fields: NOTES },
    service,
  );
  const noUserId = refusal(emptyText("user_id"));
  const noRoleToBind = refusal(emptyText("role_name"));
  const noBindingNamespace = refusal(emptyText("namespace"));
  const colonInUser = refusal(COLON);
  const noRoleOfName = problem("role_not_found", "role does not exist; 'acme:other' was not found");
  const noRoleOfNameV2 = problem(
    "role_not_found",
    "role does not exist; '_system:other' was not found",
  );
  const fields = {
    noUserId: ofField("user_id", emptyText("user_id")),
    noRoleToBind: ofField("role_name", emptyText("role_name")),
    colonInUser: ofField("user_id", COLON),
  };
  return [
    ofV1({
      path: "/v1/rolebindings.create",
      bodyBytesMax: MEDIUM,
      request: RoleBindingCreateRequestSchema,
      reply: RoleBindingCreateResponseSchema,
      permission: "rolebinding.create",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ userId }) => userId },
      metric: "rolebindings.create",
      summary: "Gives a user a role of the same namespace.",
      example: EXAMPLE_V1,
      errors: {
        noBindingNamespace,
        noRoleToBind,
        noUserId,
        colonInUser,
        noRoleOfName,
        noSuchUser,
        internalRetry,
      },
      check: (request) => {
        checkGiven("namespace", request.namespace);
        checkBinding(request);
      },
      handler: async (request, exchange, _, __, deed) => {
        const { id } = await auth.changes.createBinding(
          by(exchange, deed),
          givenIn(request),
          false,
        );
        return reply(RoleBindingCreateResponseSchema, { id });
      },
    }),
    ofV1({
      path: "/v1/rolebindings.list",
      bodyBytesMax: MEDIUM,
      request: RoleBindingsListRequestSchema,
      reply: RoleBindingsListResponseSchema,
      permission: "rolebinding.list",
      namespaceOf: named,
      metric: "rolebindings.list",
      summary: "Lists the bindings of a namespace by id, from pivot on.",
      example: { limit: 10 },
      errors: { negativeLimit },
      handler: (request, _, __, namespace) => {
        const items = pageOfV1(bindingsOf(service, namespace, ""), byId, request);
        return reply(RoleBindingsListResponseSchema, { items });
      },
    }),
    ofV1({
      path: "/v1/rolebindings.delete",
      bodyBytesMax: MEDIUM,
      request: RoleBindingDeleteRequestSchema,
      permission: "rolebinding.delete",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ userId }) => userId },
      metric: "rolebindings.delete",
      summary: "Takes a role from a user.",
      example: EXAMPLE_V1,
      errors: { colonInUser, noRoleOfName, internalRetry },
      check: ({ userId }) => checkNoColon("user_id", userId),
      handler: async (request, exchange, _, namespace, deed) => {
        await auth.changes.deleteBinding(
          by(exchange, deed),
          givenIn({ ...request, namespace }),
          false,
        );
        return OK;
      },
    }),

    endpoint({
      path: "/v2/bindings.create",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: BindingRequestSchema,
      reply: BindingSchema,
      permission: "rolebinding.create",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ userId }) => userId },
      metric: "bindings.create",
      summary: "Gives a user a role in a namespace.",
      description:
        "The role is one of the namespace, or if that has none of the name, a standard one. Nobody can give a role that may do more than they may themselves. The user `anonymous` stands for all who send no key.",
      example: EXAMPLE,
      errors: { ...fields, noRoleOfName: noRoleOfNameV2, noSuchUser, internalRetry },
      check: (request) => {
        checkNamed(request);
        checkBinding(request);
      },
      handler: async (request, exchange, _, namespace, deed) => {
        const given = givenIn({ ...request, namespace });
        const binding = await auth.changes.createBinding(by(exchange, deed), given, true);
        return reply(BindingSchema, toBinding(service, binding));
      },
    }),
    endpoint({
      path: "/v2/bindings.list",
      bodyBytesMax: MEDIUM,
      request: BindingsListRequestSchema,
      reply: BindingsListResponseSchema,
      permission: "rolebinding.list",
      namespaceOf: named,
      metric: "bindings.list",
      summary: "Lists the bindings of a namespace in the order in which they were made.",
      example: { limit: 10 },
      errors: { badCursor },
      check: checkNamed,
      handler: (request, _, __, namespace) => {
        const bindings = bindingsOf(service, namespace, request.userId);
        const { records, next } = pageOf(bindings, byId, request);
        return reply(BindingsListResponseSchema, {
          bindings: records.map((each) => toBinding(service, each)),
          ...next,
        });
      },
    }),
    endpoint({
      path: "/v2/bindings.delete",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: BindingRequestSchema,
      reply: DoneResponseSchema,
      permission: "rolebinding.delete",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ userId }) => userId },
      metric: "bindings.delete",
      summary: "Takes a role from a user in a namespace, at once.",
      example: EXAMPLE,
      errors: { ...fields, noRoleOfName: noRoleOfNameV2, internalRetry },
      check: (request) => {
        checkNamed(request);
        checkBinding(request);
      },
      handler: async (request, exchange, _, namespace, deed) => {
        await auth.changes.deleteBinding(
          by(exchange, deed),
          givenIn({ ...request, namespace }),
          true,
        );
        return DONE;
      },
    }),
  ];
}

type Given = Pick<Decoded<typeof BindingRequestSchema>, "namespace" | "roleName" | "userId">;

function checkBinding({ roleName, userId }: Given): void {
  checkGiven("role_name", roleName);
  checkGiven("user_id", userId);
  checkNoColon("user_id", userId);
}

function givenIn({ namespace, roleName, userId }: Given): Given {
  return { namespace, roleName, userId };
}

function* bindingsOf(
  { auth }: Service,
  namespace: string,
  userId: string,
): Iterable<BindingRecord> {
  for (const binding of auth.state.bindings.values()) {
    if (binding.namespace !== namespace) continue;
    if (userId === "" || binding.userId === userId) yield binding;
  }
}

function toBinding({ auth }: Service, binding: BindingRecord): Encodable<typeof BindingSchema> {
  const { id, namespace, userId, roleId, createdAt } = binding;
  // A role is not deleted while it is bound.
  const roleName = auth.state.roles.get(roleId)?.name ?? "";
  return { id, namespace, userId, roleId, roleName, createdAt };
}

// --- documents ---

const ROLE_NAME: FieldNote = {
  text: "The name of the role.",
  required: "both",
  request: { minLength: 1 },
};
const USER_ID: FieldNote = {
  text: "The id of the user; `anonymous` for all who send no key.",
  required: "both",
  request: { minLength: 1, pattern: "^[^:]+$" },
};
const SHOWN = {
  id: { text: "The id of the binding.", required: "reply" },
  namespace: { text: "Where it counts; in all namespaces if it is _system.", required: "reply" },
  user_id: { text: "The user that has the role.", required: "reply" },
  role_id: { text: "The id of the role.", required: "reply" },
  created_at: CREATED,
} as const;
const MAYBE_IN = namespaceNote("The namespace; by default that of the caller.");

const NOTES_V1: Notes = {
  RoleBinding: SHOWN,
  RoleBindingCreateRequest: {
    namespace: { text: "The namespace of the role.", required: "both", request: { minLength: 1 } },
    role_name: ROLE_NAME,
    user_id: USER_ID,
  },
  RoleBindingCreateResponse: { id: { text: "The id of the binding.", required: "reply" } },
  RoleBindingDeleteRequest: {
    namespace: { text: "The namespace; _system if it is empty." },
    role_name: { text: "The name of the role.", required: "request" },
    user_id: { text: "The id of the user.", required: "request", request: { pattern: "^[^:]*$" } },
  },
  RoleBindingsListRequest: {
    namespace: { text: "Whose bindings; those of _system if it is empty." },
    user_id_filter: { text: "Not looked at.", ignored: true },
    ...pageNotesV1("id"),
  },
  RoleBindingsListResponse: { items: { text: "In order of their ids." } },
};

const NOTES: Notes = {
  "v2.Binding": {
    ...SHOWN,
    role_name: { text: "The name of the role.", required: "reply" },
  },
  "v2.BindingRequest": { namespace: MAYBE_IN, role_name: ROLE_NAME, user_id: USER_ID },
  "v2.BindingsListRequest": {
    namespace: MAYBE_IN,
    user_id: { text: "Only those of this user, if it is given." },
    ...PAGE_NOTES,
  },
  "v2.BindingsListResponse": {
    bindings: { text: "In the order in which they were made.", required: "reply" },
    next_cursor: NEXT_CURSOR,
  },
};

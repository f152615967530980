// Which roles there are: the endpoints of roles.*. A role is a list of permissions that has a name in a namespace; the
// standard ones are in `_system`, and nobody changes them.

import { isPermission, type Permission, STANDARD_ROLES } from "../auth/permissions.ts";
import type { RoleRecord } from "../auth/service.ts";
import { DONE, OK, reply } from "../codec/answer.ts";
import {
  RoleCreateRequestSchema,
  RoleCreateResponseSchema,
  RolesDeleteRequestSchema,
  RolesListRequestSchema,
  RolesListResponseSchema,
  RoleUpdateRequestSchema,
} from "../codec/gen/querator/v1/roles_pb.ts";
import {
  RolesDeleteRequestSchema as DeleteRequestV2,
  RolesListRequestSchema as ListRequestV2,
  RolesListResponseSchema as ListResponseV2,
  RolesCreateRequestSchema,
  RoleSchema as RoleV2,
} from "../codec/gen/querator/v2/access_pb.ts";
import { DoneResponseSchema } from "../codec/gen/querator/v2/result_pb.ts";
import type { Encodable } from "../codec/message.ts";
import { invalidField } from "../errors.ts";
import { SYSTEM_NAMESPACE } from "../registry/names.ts";
import {
  by,
  byId,
  CREATED,
  checkGiven,
  checkLength,
  checkNamed,
  checkNoColon,
  EXAMPLE_NAMESPACE,
  emptyText,
  NAME_BYTES_MAX,
  NEXT_CURSOR,
  named,
  namespaceNote,
  noSuchNamespace,
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

const name = "shipper";
const EXAMPLE = { name, permissions: ["queue.lease", "queue.complete"] };
const EXAMPLE_V1 = { namespace: EXAMPLE_NAMESPACE, ...EXAMPLE };
const NO_NAME = emptyText("name");
const NO_PERMISSION = "permission is invalid; 'queue.all' is not a recognized permission";

/** The endpoints. */
export function rolesEndpoints(service: Service): readonly RowEndpoint[] {
  const { auth } = service;
  const endpoint = endpointsOf(
    {
      name: "roles",
      about:
        "Roles are lists of permissions. A user has those that are bound to it: in the namespace of the binding, or in all if that is _system.",
      fields: FIELD_NOTES,
    },
    service,
  );
  const noRoleName = refusal(NO_NAME);
  const noRoleNameV2 = ofField("name", NO_NAME);
  const badPermission = refusal(NO_PERMISSION);
  const badPermissionV2 = ofField("permissions[0]", NO_PERMISSION);
  const noRoleNamespace = refusal(emptyText("namespace"));
  const standardRole = problem(
    "role_is_standard",
    "cannot modify or delete standard role; 'Admin' is a standard role",
  );
  const roleExistsV1 = problem("role_exists", "role already exists; 'acme:shipper' already exists");
  const roleExists = problem(
    "role_exists",
    "role already exists; '_system:shipper' already exists",
  );
  const noSuchRole = problem(
    "role_not_found",
    "role does not exist; 'other:shipper' was not found",
  );
  return [
    endpoint({
      path: "/v1/roles.create",
      bodyBytesMax: MEDIUM,
      request: RoleCreateRequestSchema,
      reply: RoleCreateResponseSchema,
      permission: "role.create",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "roles.create",
      summary: "Makes a role.",
      example: EXAMPLE_V1,
      errors: {
        noRoleNamespace,
        noRoleName,
        badPermission,
        standardRole,
        noSuchNamespace,
        roleExists: roleExistsV1,
        internalRetry,
      },
      check: ({ namespace, name, permissions }) => {
        checkGiven("namespace", namespace);
        checkRoleName(name);
        checkPermissions(permissions);
      },
      handler: async ({ namespace, name, permissions }, exchange, _, __, deed) => {
        const given = { namespace, name, permissions: checkPermissions(permissions) };
        const { id } = await auth.changes.createRole(by(exchange, deed), given);
        return reply(RoleCreateResponseSchema, { id });
      },
    }),
    endpoint({
      path: "/v1/roles.list",
      bodyBytesMax: MEDIUM,
      request: RolesListRequestSchema,
      reply: RolesListResponseSchema,
      permission: "role.list",
      namespaceOf: named,
      metric: "roles.list",
      summary: "Lists the roles of a namespace by id, from pivot on.",
      example: { limit: 10 },
      errors: { negativeLimit },
      handler: (request, _, __, namespace) => {
        const items = pageOfV1(rolesOf(service, namespace), byId, request).map(
          ({ permissions, ...rest }) => ({ ...rest, permissions: [...permissions] }),
        );
        return reply(RolesListResponseSchema, { items });
      },
    }),
    endpoint({
      path: "/v1/roles.update",
      bodyBytesMax: MEDIUM,
      request: RoleUpdateRequestSchema,
      permission: "role.update",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "roles.update",
      summary: "Gives a role other permissions, in place of those it has.",
      example: { ...EXAMPLE_V1, permissions: ["queue.lease"] },
      errors: { noRoleNamespace, noRoleName, badPermission, noSuchRole, internalRetry },
      check: ({ namespace, name, permissions }) => {
        checkGiven("namespace", namespace);
        checkGiven("name", name);
        checkPermissions(permissions);
      },
      handler: async ({ namespace, name, permissions }, exchange, _, __, deed) => {
        const given = { namespace, name, permissions: checkPermissions(permissions) };
        await auth.changes.updateRole(by(exchange, deed), given);
        return OK;
      },
    }),
    endpoint({
      path: "/v1/roles.delete",
      bodyBytesMax: MEDIUM,
      request: RolesDeleteRequestSchema,
      permission: "role.delete",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "roles.delete",
      summary: "Deletes a role that is bound to nobody.",
      example: { namespace: EXAMPLE_NAMESPACE, name },
      errors: { noSuchRole, internalRetry },
      handler: async ({ name }, exchange, _, namespace, deed) => {
        await auth.changes.deleteRole(by(exchange, deed), namespace, name);
        return OK;
      },
    }),

    endpoint({
      path: "/v2/roles.create",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: RolesCreateRequestSchema,
      reply: RoleV2,
      permission: "role.create",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "roles.create",
      summary: "Makes a role.",
      description: "Nobody can make a role that may do more than they may themselves.",
      example: EXAMPLE,
      errors: {
        noRoleName: noRoleNameV2,
        badPermission: badPermissionV2,
        standardRole,
        noSuchNamespace,
        roleExists,
        internalRetry,
      },
      check: (request) => {
        checkNamed(request);
        checkRoleName(request.name);
        checkPermissions(request.permissions);
      },
      handler: async (request, exchange, _, namespace, deed) => {
        const { name } = request;
        const given = { namespace, name, permissions: checkPermissions(request.permissions) };
        return reply(RoleV2, toRole(await auth.changes.createRole(by(exchange, deed), given)));
      },
    }),
    endpoint({
      path: "/v2/roles.update",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: RolesCreateRequestSchema,
      reply: RoleV2,
      permission: "role.update",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "roles.update",
      summary: "Gives a role other permissions, in place of those it has.",
      description: "It counts at once, for all to whom the role is bound.",
      example: { ...EXAMPLE, permissions: ["queue.lease"] },
      errors: {
        noRoleName: noRoleNameV2,
        badPermission: badPermissionV2,
        noSuchRole,
        internalRetry,
      },
      check: (request) => {
        checkNamed(request);
        checkRoleName(request.name);
        checkPermissions(request.permissions);
      },
      handler: async (request, exchange, _, namespace, deed) => {
        const { name } = request;
        const given = { namespace, name, permissions: checkPermissions(request.permissions) };
        return reply(RoleV2, toRole(await auth.changes.updateRole(by(exchange, deed), given)));
      },
    }),
    endpoint({
      path: "/v2/roles.list",
      bodyBytesMax: MEDIUM,
      request: ListRequestV2,
      reply: ListResponseV2,
      permission: "role.list",
      namespaceOf: named,
      metric: "roles.list",
      summary: "Lists the roles of a namespace in the order in which they were made.",
      example: { limit: 10 },
      errors: { badCursor },
      check: checkNamed,
      handler: (request, _, __, namespace) => {
        const { records, next } = pageOf(rolesOf(service, namespace), byId, request);
        return reply(ListResponseV2, { roles: records.map(toRole), ...next });
      },
    }),
    endpoint({
      path: "/v2/roles.delete",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: DeleteRequestV2,
      reply: DoneResponseSchema,
      permission: "role.delete",
      namespaceOf: named,
      audit: { isWithin: true, target: ({ name }) => name },
      metric: "roles.delete",
      summary: "Deletes a role that is bound to nobody.",
      example: { name },
      errors: { noRoleName: noRoleNameV2, noSuchRole, internalRetry },
      check: (request) => {
        checkNamed(request);
        checkGiven("name", request.name);
      },
      handler: async ({ name }, exchange, _, namespace, deed) => {
        await auth.changes.deleteRole(by(exchange, deed), namespace, name);
        return DONE;
      },
    }),
  ];
}

function checkRoleName(name: string): void {
  checkGiven("name", name);
  checkLength("name", name);
  checkNoColon("name", name);
}

// Each once, however often they are given.
function checkPermissions(given: readonly string[]): readonly Permission[] {
  const permissions = new Set<Permission>();
  for (const [i, each] of given.entries()) {
    if (isPermission(each)) permissions.add(each);
    else {
      throw invalidField(
        `permissions[${i}]`,
        `permission is invalid; '${each}' is not a recognized permission`,
      );
    }
  }
  return [...permissions];
}

function* rolesOf({ auth }: Service, namespace: string): Iterable<RoleRecord> {
  for (const role of auth.state.roles.values()) if (role.namespace === namespace) yield role;
}

function toRole(role: RoleRecord): Encodable<typeof RoleV2> {
  const { id, namespace, name, permissions, createdAt } = role;
  const isStandard = namespace === SYSTEM_NAMESPACE && Object.hasOwn(STANDARD_ROLES, name);
  return { id, namespace, name, permissions: [...permissions], createdAt, isStandard };
}

// --- documents ---

const NAME: FieldNote = {
  text: `Its name in the namespace. At most ${NAME_BYTES_MAX} bytes, without ':'.`,
  required: "both",
  request: { minLength: 1, maxLength: NAME_BYTES_MAX, pattern: "^[^:]+$" },
};
const PERMISSIONS = { text: "What it allows, by the names of permissions." };
const IN: FieldNote = { text: "The namespace that it is in.", required: "both" };
const IN_V1: FieldNote = { ...IN, request: { minLength: 1 } };
const MAYBE_IN = namespaceNote("The namespace that it is in; by default that of the caller.");
const SHOWN = {
  id: { text: "The id of the role.", required: "reply" },
  namespace: IN,
  name: { text: "Its name in the namespace.", required: "reply" },
  permissions: PERMISSIONS,
  created_at: CREATED,
} as const;

const FIELD_NOTES: Notes = {
  Role: SHOWN,
  RoleCreateRequest: { namespace: IN_V1, name: NAME, permissions: PERMISSIONS },
  RoleCreateResponse: { id: { text: "The id of the role.", required: "reply" } },
  RoleUpdateRequest: {
    namespace: IN_V1,
    name: { text: "Its name in the namespace.", required: "both", request: { minLength: 1 } },
    permissions: PERMISSIONS,
  },
  RolesListRequest: {
    namespace: { text: "Whose roles; those of _system if it is empty." },
    ...pageNotesV1("id"),
  },
  RolesListResponse: { items: { text: "In order of their ids." } },
  RolesDeleteRequest: {
    namespace: { text: "The namespace that it is in; _system if it is empty." },
    name: { text: "Its name in the namespace.", required: "request" },
  },
  "v2.Role": {
    ...SHOWN,
    permissions: { ...PERMISSIONS, required: "reply" },
    is_standard: { text: "Whether every server has it, so that it cannot be changed." },
  },
  "v2.RolesCreateRequest": { namespace: MAYBE_IN, name: NAME, permissions: PERMISSIONS },
  "v2.RolesListRequest": { namespace: MAYBE_IN, ...PAGE_NOTES },
  "v2.RolesListResponse": {
    roles: { text: "In the order in which they were made.", required: "reply" },
    next_cursor: NEXT_CURSOR,
  },
  "v2.RolesDeleteRequest": {
    namespace: MAYBE_IN,
    name: { text: "Its name in the namespace.", required: "request", request: { minLength: 1 } },
  },
};

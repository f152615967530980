// Who has changed what: the endpoint of audit.*. Who may read it sees the entries of one namespace, and who may in
// `_system` those of all.

import type { AuditEntry } from "../auth/audit.ts";
import { reply } from "../codec/answer.ts";
import {
  type AuditEntrySchema,
  AuditListRequestSchema,
  AuditListResponseSchema,
} from "../codec/gen/querator/v2/access_pb.ts";
import type { Encodable } from "../codec/message.ts";
import { invalidField } from "../errors.ts";
import { SYSTEM_NAMESPACE } from "../registry/names.ts";
import { checkNamed, NEXT_CURSOR, namespaceNote, ofField, PAGE_NOTES } from "./access.ts";
import { readCursor, toCursor } from "./cursor.ts";
import { endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { badCursor } from "./openapi/errors.ts";
import type { Notes } from "./openapi/fields.ts";
import type { Service } from "./service.ts";
import { checkListLimit, LIST_LIMIT_DEFAULT } from "./validate.ts";

const OUTCOMES = ["done", "denied", "unknown"] as const;
const ONE_OR_ALL = "all_namespaces is invalid; give either 'namespace' or 'all_namespaces'";

/** The endpoints. */
export function auditEndpoints(service: Service): readonly RowEndpoint[] {
  const endpoint = endpointsOf(
    {
      name: "audit",
      about: "Who has changed what, kept for 30 days.",
      fields: FIELD_NOTES,
    },
    service,
  );
  return [
    endpoint({
      path: "/v2/audit.list",
      bodyBytesMax: MEDIUM,
      request: AuditListRequestSchema,
      reply: AuditListResponseSchema,
      permission: "audit.read",
      namespaceOf: ({ namespace, allNamespaces }) => (allNamespaces ? SYSTEM_NAMESPACE : namespace),
      metric: "audit.list",
      summary: "Lists who has changed what in a namespace, the newest first.",
      description:
        "What is done with items all the time, such as to produce, to lease and to cancel them, is not among it.",
      example: { call: "queues.delete", limit: 10 },
      errors: { badCursor, oneOrAll: ofField("all_namespaces", ONE_OR_ALL) },
      check: (request) => {
        checkNamed(request);
        if (request.allNamespaces && request.namespace !== "") {
          throw invalidField("all_namespaces", ONE_OR_ALL);
        }
      },
      handler: async (request, _, __, about) => {
        const { userId, call, target, since, until, cursor, allNamespaces } = request;
        const limit = checkListLimit(request.limit, LIST_LIMIT_DEFAULT);
        const [before] = cursor === "" ? [""] : readCursor(cursor, 1);
        const found = await service.audit.list({
          namespace: allNamespaces ? "" : about,
          userId,
          call,
          target,
          since,
          until,
          before: String(before),
          limit: limit + 1,
        });
        const entries = found.slice(0, limit);
        const isMore = found.length > limit;
        return reply(AuditListResponseSchema, {
          entries: entries.map(toEntry),
          ...(isMore && { nextCursor: toCursor([entries.at(-1)!.id]) }),
        });
      },
    }),
  ];
}

function toEntry(entry: AuditEntry): Encodable<typeof AuditEntrySchema> {
  return entry;
}

// --- documents ---

const CALL =
  "The name of the call, such as queues.delete; of what the server does by itself, start.";
const TARGET = "What it was about: a queue, a namespace or a role by name, a user or a key by id.";

const FIELD_NOTES: Notes = {
  "v2.AuditListRequest": {
    namespace: namespaceNote("Whose entries; by default that of the caller."),
    all_namespaces: { text: "Those of all namespaces, for who may read the audit in _system." },
    user_id: { text: "Only what this user has done; anonymous is who has shown no key." },
    call: { text: "Only calls of this name, such as queues.delete." },
    target: { text: "Only what was done to this." },
    since: { text: "Only what was done at this time, or later." },
    until: { text: "Only what was done before this time." },
    ...PAGE_NOTES,
  },
  "v2.AuditListResponse": {
    entries: { text: "The newest first.", required: "reply" },
    next_cursor: NEXT_CURSOR,
  },
  "v2.AuditEntry": {
    id: { text: "Of the entry; later ones come later in order.", required: "reply" },
    at: { text: "When it was done.", required: "reply" },
    user_id: { text: "Who has done it: a user, anonymous, or server.", required: "reply" },
    username: { text: "What the user was called then." },
    key_id: { text: "The key that was shown; certificate of who has shown one of those." },
    key_tag: { text: "What stands in it behind qtr-." },
    address: {
      text: "Where the connection came from, which may be a proxy; unix of a Unix socket.",
    },
    namespace: { text: "What it was about lies in it.", required: "reply" },
    call: { text: CALL, required: "reply" },
    target: { text: TARGET },
    request_id: { text: "The X-Request-Id of the request." },
    outcome: {
      text: "done; denied of an attempt at what is not allowed; unknown if it has failed, and something of it may have been done.",
      required: "reply",
      reply: { enum: OUTCOMES },
    },
    changes: { text: "What has become another, cut where it is long." },
  },
  "v2.AuditChange": {
    field: { text: "A setting, or what else has changed.", required: "reply" },
    from: { text: "What it was; not set of what was not there." },
    to: { text: "What it is now; not set of what is there no more." },
  },
};

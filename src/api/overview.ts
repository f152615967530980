// What those who run the server look at: the endpoints of *.overview and of queue.history. What they answer is worked out on
// the first thread (observe/overview.ts), of what their caller may see.

import type { Permission } from "../auth/permissions.ts";
import type { Principal } from "../auth/principal.ts";
import { reply } from "../codec/answer.ts";
import {
  QueueConsumersRequestSchema,
  QueueConsumersResponseSchema,
  QueueHistoryRequestSchema,
  QueueHistoryResponseSchema,
  QueuesOverviewRequestSchema,
  QueuesOverviewResponseSchema,
  ServerOverviewRequestSchema,
  ServerOverviewResponseSchema,
} from "../codec/gen/querator/v2/overview_pb.ts";
import { invalidField, type QueueError, queueError } from "../errors.ts";
import { SPAN_NAMES, type Span } from "../observe/history.ts";
import { type Overview, QUEUE_SORTS, type QueueSort, type Seen } from "../observe/overview.ts";
import { NAMESPACE_PATTERN, nameOf } from "../registry/names.ts";
import { checkNamed, namespaceNote, noSuchNamespace, ofField } from "./access.ts";
import { listPrint, readCursor, toCursor } from "./cursor.ts";
import { byName, endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { namespacesSeen } from "./entry.ts";
import { badCursor, FOUND_V2 } from "./openapi/errors.ts";
import {
  CURSOR,
  type FieldNote,
  NEXT_CURSOR,
  type Notes,
  QUEUE_NAME,
  SIGNED_DURATION_PATTERN,
} from "./openapi/fields.ts";
import { findQueue, type Service } from "./service.ts";
import { checkListLimit, LIST_LIMIT_DEFAULT } from "./validate.ts";

/** What the endpoints ask, on whichever thread. */
export type OverviewService = Pick<Overview, "server" | "queues" | "history">;

const LIMIT_MAX = 1_000;
const SEARCH_LENGTH_MAX = 512;

/** The endpoints. */
export function overviewEndpoints(service: Service): readonly RowEndpoint[] {
  const endpoint = endpointsOf(
    {
      name: "overview",
      about:
        "What those who run the server look at. Nothing is counted for it, and storage is not asked.",
      fields: FIELDS,
    },
    service,
  );
  return [
    endpoint({
      path: "/v2/server.overview",
      bodyBytesMax: MEDIUM,
      request: ServerOverviewRequestSchema,
      reply: ServerOverviewResponseSchema,
      permission: "queue.stats",
      namespaceOf: named,
      isOfAll: true,
      metric: "server.overview",
      summary: "Shows how the server is, what it does, and what is wrong, in words.",
      description:
        "It is about all that the caller may see: the server as a whole, or some namespaces.",
      example: {},
      errors: { noSuchNamespace },
      check: checkNamed,
      handler: async (_, { principal }, __, about) => {
        const seen = seenBy(service, principal, about, ["queue.stats"]);
        return reply(ServerOverviewResponseSchema, await service.overview.server(seen));
      },
    }),
    endpoint({
      path: "/v2/queues.overview",
      bodyBytesMax: MEDIUM,
      request: QueuesOverviewRequestSchema,
      reply: QueuesOverviewResponseSchema,
      permission: "queue.list",
      alsoNeeds: "queue.stats",
      namespaceOf: named,
      isOfAll: true,
      metric: "queues.overview",
      summary: "Lists queues in numbers, searched and sorted by the server.",
      description:
        "A page is what stands at its place in the list as it is then: when numbers change meanwhile, a queue may show on two pages, or on none.",
      example: { sort: "waiting", descending: true, limit: 10 },
      errors: {
        noSuchNamespace,
        badCursor,
        badSort: ofField("sort", badSort("age").message),
        longSearch: ofField("search", longSearch().message),
      },
      check: (request) => {
        checkNamed(request);
        if (request.search.length > SEARCH_LENGTH_MAX) throw longSearch();
        sortOf(request.sort);
      },
      handler: async (request, { principal }, _, about) => {
        const { search, sort, descending: isDescending, cursor } = request;
        const limit = checkListLimit(request.limit, LIMIT_MAX);
        const print = listPrint([search, sort, isDescending ? 1 : 0, about]);
        const from = cursor === "" ? 0 : placeOf(cursor, print);
        const seen = seenBy(service, principal, about, ["queue.list", "queue.stats"]);
        const wanted = { seen, search, sort: sortOf(sort), isDescending, from, limit };
        const { total, queues } = await service.overview.queues(wanted);
        const isMore = from + queues.length < total;
        return reply(QueuesOverviewResponseSchema, {
          total,
          queues,
          ...(isMore && { nextCursor: toCursor([print, from + queues.length]) }),
        });
      },
    }),
    endpoint({
      path: "/v2/queue.history",
      bodyBytesMax: MEDIUM,
      request: QueueHistoryRequestSchema,
      reply: QueueHistoryResponseSchema,
      permission: "queue.stats",
      queueOf: byName,
      metric: "history",
      summary: "Shows what has become of a queue in the last hour, or of late up to seven days.",
      description:
        "Known to memory: it begins with the start of the server, or with the first thing that happened in the queue. The thousand queues that are used have one.",
      example: { queue_name: "jobs", span: "1h" },
      errors: { ...FOUND_V2, badSpan: ofField("span", badSpan("2h").message) },
      check: ({ span }) => {
        spanOf(span);
      },
      handler: async ({ queueName, span }) => {
        findQueue(service, queueName);
        const shown = await service.overview.history(queueName, spanOf(span));
        // It may have been deleted meanwhile.
        if (shown === undefined) {
          throw queueError("queue_not_found", { queue_name: nameOf(queueName) });
        }
        return reply(QueueHistoryResponseSchema, shown);
      },
    }),
    endpoint({
      path: "/v2/queue.consumers",
      bodyBytesMax: MEDIUM,
      request: QueueConsumersRequestSchema,
      reply: QueueConsumersResponseSchema,
      permission: "queue.stats",
      queueOf: byName,
      metric: "consumers",
      summary: "Shows who has leased from a queue, by the names that they gave, and when last.",
      example: { queue_name: "jobs", limit: 10 },
      errors: FOUND_V2,
      handler: async (request) => {
        const limit = checkListLimit(request.limit, LIMIT_MAX);
        const queue = findQueue(service, request.queueName);
        const { since, total, consumers } = await queue.consumers(limit);
        return reply(QueueConsumersResponseSchema, {
          since,
          total,
          consumers: consumers.map(({ name, at, waiting, leased }) => ({
            client: name,
            lastSeenAt: at,
            waiting,
            leased,
          })),
        });
      },
    }),
  ];
}

function named({ namespace }: { readonly namespace: string }): string {
  return namespace;
}

function seenBy(
  { auth }: Service,
  principal: Principal,
  about: string,
  needs: readonly Permission[],
): Seen {
  if (about === "") return namespacesSeen(needs, principal);
  auth.state.checkNamespace(about);
  return [about];
}

function sortOf(text: string): QueueSort {
  const sort = QUEUE_SORTS.find((each) => each === (text || "name"));
  if (sort === undefined) throw badSort(text);
  return sort;
}

function badSort(text: string): QueueError {
  return invalidField("sort", `sort is invalid; '${text}' is none of ${QUEUE_SORTS.join(", ")}`);
}

function longSearch(): QueueError {
  const text = `search is invalid; cannot be longer than ${SEARCH_LENGTH_MAX} characters`;
  return invalidField("search", text);
}

function spanOf(text: string): Span {
  const span = SPAN_NAMES.find((each) => each === (text || "1h"));
  if (span === undefined) throw badSpan(text);
  return span;
}

function badSpan(text: string): QueueError {
  return invalidField("span", `span is invalid; '${text}' is none of ${SPAN_NAMES.join(", ")}`);
}

function placeOf(cursor: string, print: string): number {
  const [asked, from] = readCursor(cursor, 2);
  if (asked === print && Number.isSafeInteger(from) && Number(from) >= 0) return Number(from);
  throw invalidField("cursor", "cursor is invalid; it is none of this list");
}

// --- documents ---

const IN = namespaceNote("Only this namespace; all that the caller may see if it is not given.");

// A number that is there also where it is 0.
function told(text: string): FieldNote {
  return { text, required: "reply", reply: { minimum: 0 } };
}

function column(text: string): FieldNote {
  return { text, required: "reply" };
}

const AGE: FieldNote = {
  text: "The time since the item was produced that is leased next, a duration: of several the longest. Left out if none waits, or it is not known.",
  reply: { pattern: SIGNED_DURATION_PATTERN },
};
const SOME_QUEUE: FieldNote = { text: "The queue, if it is about one." };
const SOME_NAMESPACE: FieldNote = { text: "Its namespace." };
const THE_QUEUE: FieldNote = { text: "The queue.", required: "reply" };
const ITS_NAMESPACE: FieldNote = { text: "Its namespace.", required: "reply" };
const AT = column(
  "When the time of each point ended, in seconds since 1970; the last is the present.",
);
const STEP = told("What lies between two points, in seconds.");

const LEVELS = {
  waiting: told("Items that wait to be leased."),
  leased: told("Items that are leased."),
  scheduled: told("Items that wait for their time."),
  held: told("Items that their group holds back: none in this version."),
  consumers_waiting: told("Lease requests that wait for items."),
} as const;

const LIMIT: FieldNote = {
  text: `How many at most, up to ${LIMIT_MAX}; 0 means ${LIST_LIMIT_DEFAULT}.`,
  request: { minimum: 0, maximum: LIMIT_MAX },
};

const FIELDS: Notes = {
  ServerOverviewRequest: { namespace: IN },
  ServerOverviewResponse: {
    version: { text: "Of the server.", required: "reply" },
    started_at: { text: "When it was started.", required: "reply" },
    at: { text: "When all this was so.", required: "reply" },
    mode: {
      text: "serving: one that does not serve answers an error.",
      required: "reply",
      reply: { enum: ["serving"] },
    },
    threads: { text: "Of the server; told with whole." },
    whole: {
      text: "Whether it is about the whole server; else it is about some namespaces, and tells nothing of storages and threads.",
      required: "reply",
    },
    storages: { text: "Where data lies; told with whole.", required: "reply" },
    totals: { text: "The sums over all queues that the caller sees.", required: "reply" },
    rates: { text: "Now: the mean of the last half a minute or so.", required: "reply" },
    windows: { text: "Of the last 1h, 6h, 24h and 7d.", required: "reply" },
    series: { text: "Of the last hour.", required: "reply" },
    worst: { text: "Queues that need a look, at most 20; the worst first.", required: "reply" },
    warnings: { text: "What is wrong, at most 50; the worst first.", required: "reply" },
  },
  StorageState: {
    name: { text: "As the configuration calls it.", required: "reply" },
    kind: {
      text: "memory, sqlite or postgres.",
      required: "reply",
      reply: { enum: ["memory", "sqlite", "postgres"] },
    },
    state: {
      text: "ok, trouble (it works, and needs attention) or failing.",
      required: "reply",
      reply: { enum: ["ok", "trouble", "failing"] },
    },
    trouble: { text: "What is wrong with it." },
    data_bytes: { text: "What it takes, where that is known." },
    free_bytes: { text: "What its disk has left, where that is known." },
  },
  OverviewTotals: {
    queues: told("How many queues there are."),
    ...LEVELS,
    dead: told("Items in queues that take what is dead in others."),
    oldest_age: AGE,
  },
  OverviewRates: {
    in: told("Produced, in a second."),
    out: told("Completed, cancelled or deleted, in a second."),
    dead: told("Dead, in a second, for whatever reason."),
  },
  OverviewWindow: {
    span: {
      text: "1h, 6h, 24h or 7d, until now.",
      required: "reply",
      reply: { enum: SPAN_NAMES },
    },
    in: told("Produced."),
    out: told("Completed, cancelled or deleted."),
    dead: told("Dead, for whatever reason."),
  },
  OverviewSeries: {
    step: STEP,
    at: AT,
    in: column("How many were produced in the time of each point."),
    out: column("How many were completed, cancelled or deleted."),
    waiting: column("How many waited at its end."),
    dead: column("How many died in it."),
  },
  WorstQueue: {
    queue_name: THE_QUEUE,
    namespace: ITS_NAMESPACE,
    what: {
      text: "Why: failing, no_consumers, dead_rising, lease_ends or oldest.",
      required: "reply",
      reply: { enum: ["failing", "no_consumers", "dead_rising", "lease_ends", "oldest"] },
    },
    value: told(
      "Of failing the partitions, of no_consumers the items that wait, of oldest the age in seconds; else how many a minute.",
    ),
    text: { text: "The same in words.", required: "reply" },
  },
  OverviewWarning: {
    code: { text: "What programs compare.", required: "reply" },
    text: { text: "What is wrong, since when, and what to do, for people.", required: "reply" },
    queue_name: SOME_QUEUE,
    namespace: SOME_NAMESPACE,
    severity: {
      text: "error of what does not work, or warning.",
      required: "reply",
      reply: { enum: ["error", "warning"] },
    },
  },
  QueuesOverviewRequest: {
    search: {
      text: "Only queues with this in their names, whatever its case.",
      request: { maxLength: SEARCH_LENGTH_MAX },
    },
    sort: {
      text: `What they are sorted by: ${QUEUE_SORTS.join(", ")}; name if it is not given. Of those that are alike the names decide.`,
      request: { enum: QUEUE_SORTS },
      accepted: { enum: ["", ...QUEUE_SORTS] },
    },
    descending: { text: "Whether the largest come first." },
    namespace: IN,
    cursor: CURSOR,
    limit: LIMIT,
  },
  QueuesOverviewResponse: {
    total: told("How many queues there are in the whole list."),
    queues: { text: "The queues.", required: "reply" },
    next_cursor: NEXT_CURSOR,
  },
  QueueOverview: {
    queue_name: THE_QUEUE,
    namespace: { ...ITS_NAMESPACE, reply: { pattern: NAMESPACE_PATTERN } },
    ...LEVELS,
    dead: told("How many of its items have died ever since it was made, for whatever reason."),
    oldest_age: AGE,
    in: told("How many come in a second, from producers and other queues."),
    out: told("How many go: completed, cancelled, deleted or moved to other queues."),
    state: {
      text: "ok; idle if nothing is there and nothing happens; stuck if items wait and nobody has asked for any for 5 minutes; failing if some of its partitions do not work.",
      required: "reply",
      reply: { enum: ["ok", "idle", "stuck", "failing"] },
    },
    spark: {
      text: "How many waited at the last points of its history, half a minute apart; at most 30.",
      required: "reply",
    },
    dead_queue: { text: "Where its items go when they die; left out if they are deleted." },
    takes_dead: {
      text: "Whether it takes what is dead in other queues.",
      required: "reply",
    },
  },
  QueueConsumersRequest: {
    queue_name: QUEUE_NAME,
    limit: LIMIT,
  },
  QueueConsumersResponse: {
    since: {
      text: "Since when they are known: the start of the server, or when the queue was made.",
      required: "reply",
    },
    total: told("How many are known, of at most 1000."),
    consumers: {
      text: "Those whose requests wait first, then those that have asked last. Who gives no name is not among them.",
      required: "reply",
    },
  },
  QueueConsumer: {
    client: { text: "The name that was given; client_id under /v1.", required: "reply" },
    last_seen_at: { text: "When a request of theirs was answered last; left out before that." },
    waiting: told("How many of their requests wait for items."),
    leased: told("How many items they were given."),
  },
  QueueHistoryRequest: {
    queue_name: QUEUE_NAME,
    span: {
      text: "How far back: 1h, 6h, 24h or 7d; 1h if it is not given.",
      request: { pattern: `^(${SPAN_NAMES.join("|")})$` },
      accepted: { pattern: `^(${SPAN_NAMES.join("|")}|)$` },
    },
  },
  QueueHistoryResponse: {
    queue_name: THE_QUEUE,
    span: { text: "As it was asked for.", required: "reply", reply: { enum: SPAN_NAMES } },
    step: STEP,
    kept: {
      text: "Whether points are kept of the queue; else there is only the present one.",
      required: "reply",
    },
    at: AT,
    in: column("How many came in the time of each point, from producers and other queues."),
    out: column("How many went: completed, cancelled, deleted or moved to other queues."),
    dead: column("How many died, for whatever reason."),
    retried: column("How many were given back after an attempt."),
    waiting: column("How many waited at its end."),
    leased: column("How many were leased at its end."),
    scheduled: column("How many were scheduled at its end."),
    wait_p50: column(
      "Half of the items waited no longer before they were leased, in seconds: of the five minutes before the end of the point, of coarser ones the longest; -1 where nothing was measured.",
    ),
    wait_p99: column("The same of 99 out of a hundred."),
    run_p50: column("The same of how long leases were held that consumers have ended."),
    run_p99: column("The same of 99 out of a hundred."),
  },
};

// What the server holds and does at this moment, for who looks for what is wrong: the endpoint of debug.*. Counts and names
// of queues, and nothing of items. What is told is put together in observe/dump.ts.

import { reply } from "../codec/answer.ts";
import {
  DebugDumpRequestSchema,
  DebugDumpResponseSchema,
  type DebugQueueSchema,
  type DebugThreadSchema,
} from "../codec/gen/querator/v2/debug_pb.ts";
import { encodeJson } from "../codec/json.ts";
import type { Encodable } from "../codec/message.ts";
import { formatDuration } from "../duration.ts";
import { invalidField } from "../errors.ts";
import {
  DUMP_QUEUES_DEFAULT,
  DUMP_QUEUES_MAX,
  type ServerDump,
  type SilentThread,
  type ThreadDump,
} from "../observe/dump.ts";
import { nameOf, namespaceOf, SYSTEM_NAMESPACE } from "../registry/names.ts";
import { ofField } from "./access.ts";
import { endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { count, type FieldNote, type Notes, PARTITION, QUEUE_NAME } from "./openapi/fields.ts";
import type { Service } from "./service.ts";

const BAD_LIMIT = `limit is invalid; must be a number from 1 to ${DUMP_QUEUES_MAX}`;

/** The endpoints. */
export function debugEndpoints(service: Service): readonly RowEndpoint[] {
  const endpoint = endpointsOf(
    {
      name: "debug",
      about: "What the server holds and does at this moment, for who looks for what is wrong.",
      fields: FIELD_NOTES,
    },
    service,
  );
  return [
    endpoint({
      path: "/v2/debug.dump",
      bodyBytesMax: MEDIUM,
      request: DebugDumpRequestSchema,
      reply: DebugDumpResponseSchema,
      permission: "system.debug",
      isOfServer: true,
      isFree: true,
      metric: "debug.dump",
      summary: "Tells what the threads and the loops of queues hold at this moment, in counts.",
      description:
        "Nothing of an item is told, and no key. Of many queues those that something is wrong with come first, and then those that hold most. What is 0 or not so is left out. For people: what is told may change with any version. `querator dump` shows it, and SIGUSR2 writes the same to the log.",
      example: { limit: 10 },
      errors: { badLimit: ofField("limit", BAD_LIMIT) },
      check: ({ limit }) => {
        if (limit < 0 || limit > DUMP_QUEUES_MAX) throw invalidField("limit", BAD_LIMIT);
      },
      handler: async ({ limit }) =>
        reply(DebugDumpResponseSchema, toMessage(await service.dump(limit || DUMP_QUEUES_DEFAULT))),
    }),
  ];
}

/** As it is written to the log: the same fields as over the API. */
export function toDump(dump: ServerDump): {
  readonly server: object;
  readonly threads?: readonly object[];
  readonly queues?: readonly object[];
  readonly queues_left_out?: string | number;
} {
  return JSON.parse(encodeJson(DebugDumpResponseSchema, toMessage(dump)).toString());
}

function toMessage({ server, threads, queues, queuesLeftOut }: ServerDump) {
  return {
    server: { ...server, uptime: formatDuration(server.uptime) },
    threads: threads.map(toThread),
    queues: queues.map(toQueue),
    queuesLeftOut,
  } satisfies Encodable<typeof DebugDumpResponseSchema>;
}

function toThread(told: ThreadDump | SilentThread): Encodable<typeof DebugThreadSchema> {
  if (told.home === undefined) return { thread: told.thread, silent: true };
  const { thread, latest, busy, heapBytes, connections, openRequests, home } = told;
  const { queues, waitingLeases, watchedItems, readyBytes, commits } = home;
  return {
    thread,
    latest: since(latest),
    busy,
    heapBytes,
    connections,
    openRequests,
    queues,
    waitingLeases,
    watchedItems,
    readyBytes,
    commits: commits.map(({ storage, isCommitting, time, waiting, failures }) => ({
      storage,
      // One that has only just begun is one all the same.
      underWay: isCommitting ? formatDuration(time) : "",
      waiting,
      failures,
    })),
  };
}

function toQueue(queue: ServerDump["queues"][number]): Encodable<typeof DebugQueueSchema> {
  const { name, turnTime, holds, rests, partitions, waitsFor, lentTo, ...rest } = queue;
  const namespace = namespaceOf(name);
  return {
    ...rest,
    ...holds,
    queueName: nameOf(name),
    namespace: namespace === SYSTEM_NAMESPACE ? "" : namespace,
    turnTime: since(turnTime),
    waitsFor,
    lentTo,
    rests: since(rests),
    partitions: partitions.map(({ retriesIn, ...partition }) => ({
      ...partition,
      retriesIn: since(retriesIn),
    })),
  };
}

// "" if it is not so.
function since(time: number): string {
  return time === 0 ? "" : formatDuration(time);
}

// --- documents ---

const NEXT_DUE: FieldNote = { text: "When it looks next by itself for what time brings about." };

const FIELD_NOTES: Notes = {
  DebugDumpRequest: {
    limit: {
      text: `Of how many queues at most, up to ${DUMP_QUEUES_MAX}; ${DUMP_QUEUES_DEFAULT} if it is not given.`,
      request: { minimum: 0, maximum: DUMP_QUEUES_MAX },
    },
  },
  DebugDumpResponse: {
    server: { text: "The process.", required: "reply" },
    threads: { text: "Each thread, in order of their numbers.", required: "reply" },
    queues: {
      text: "Those that something is wrong with first, then those that hold most.",
      required: "reply",
    },
    queues_left_out: count("Queues beside those."),
  },
  DebugServer: {
    version: { text: "Of Querator.", required: "reply" },
    node: { text: "The version of Node.", required: "reply" },
    pid: count("The id of the process."),
    mode: { text: "starting, serving, standby, or stopping.", required: "reply" },
    reason: { text: "Why it is on standby." },
    started_at: { text: "When the process began.", required: "reply" },
    uptime: { text: "Since when, a duration.", required: "reply" },
    resident_bytes: count("The memory of the process."),
  },
  DebugThread: {
    thread: { ...count("Its number; the first is 0, and has the registry."), required: "reply" },
    silent: { text: "It has not answered in time; nothing else is told of it." },
    latest: { text: "How late its timers came at worst in the last minute, a duration." },
    busy: {
      text: "The part of the last minute in which it had something to do.",
      reply: { minimum: 0 },
    },
    heap_bytes: count("What its heap holds."),
    connections: count("Open connections."),
    open_requests: count("Requests that are not answered, those that wait among them."),
    queues: count("Queues at home on it."),
    waiting_leases: count("Leases that wait for items."),
    watched_items: count("Items for whose end somebody waits."),
    ready_bytes: count("Items that wait and are in memory, in bytes."),
    commits: { text: "Those to each storage." },
  },
  DebugCommits: {
    storage: { text: "Its name.", required: "reply" },
    under_way: { text: "For how long the one under way has been so, a duration." },
    waiting: count("Changes of partitions that wait for the next one."),
    failures: count("Commits that have failed since the start."),
  },
  DebugQueue: {
    queue_name: QUEUE_NAME,
    namespace: { text: "Left out of the default one." },
    thread: { ...count("Where it is at home."), required: "reply" },
    state: {
      text: "idle, or awake until its turn begins; in a turn reading, planning, committing, or following what came of it; paused, closed.",
      required: "reply",
    },
    turn_time: { text: "For how long the turn under way has been so, a duration." },
    produce: count("Produce requests that wait for a turn."),
    lease: count("Lease requests that wait for items."),
    complete: count("Complete requests that wait for a turn."),
    retry: count("The same of what gives items back."),
    extend: count("The same of extensions."),
    put_off: count("Requests that wait for another queue to stand still."),
    deliveries: count("What other queues send."),
    visits: count("Queues that want this one to stand still."),
    operations: count("What operators have asked for."),
    in_turn: count("What the turn under way has taken."),
    unanswered: count("Requests that are not answered."),
    watchers: count("Who waits for the end of an item."),
    waits_for: { text: "The queue that it waits for; one of a namespace as NAMESPACE~QUEUE." },
    lent_to: { text: "The queue for which it stands still." },
    asked: count("Queues that it has asked to stand still."),
    come: count("Those that do."),
    rests: { text: "For how long it sends nothing to other queues, a duration." },
    redrives: count("Redrives that run."),
    repeats: count("Calls with an Idempotency-Key that are done in several steps."),
    next_due_at: NEXT_DUE,
    partitions: { text: "Those that fail first, if there are many; in order of their numbers." },
    partitions_left_out: count("Partitions beside those."),
  },
  DebugPartition: {
    partition: { ...PARTITION, required: "reply" },
    storage: { text: "The name of its storage.", required: "reply" },
    waiting: count("Items that wait to be leased."),
    leased: count("Leased items."),
    scheduled: count("Scheduled items."),
    held: count("Items that their group holds back."),
    ready: count("Of those that wait, those in memory."),
    ready_bytes: count("The same in bytes."),
    scheduled_window: count("Of the scheduled items that are due next, those in memory."),
    expiry_window: count("The same of expiries."),
    behind: count("Unique keys behind which a scheduled item waits."),
    next_due_at: NEXT_DUE,
    failures: count("Failures of its storage in a row."),
    stale: { text: "Whether it is read anew before it is used." },
    retries_in: { text: "When it is tried again, a duration." },
  },
};

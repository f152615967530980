// Endpoints for tests, there only with `--dev`: virtual time, and loops that can be held. They let
// a user's own tests see a lease expire without waiting for it. JSON only.

import { SYSTEM_NAMESPACE } from "../auth/permissions.ts";
import { denied } from "../auth/principal.ts";
import type { ClockChange } from "../clock.ts";
import { OK } from "../codec/answer.ts";
import { formatTimestamp, parseTimestamp, TIMESTAMP_PATTERN } from "../codec/timestamp.ts";
import { DURATION_PATTERN, DurationError, parseDuration } from "../duration.ts";
import { invalid, QueueError } from "../errors.ts";
import { type JsonRow, makeEndpoint, type Noun, type RowEndpoint, SMALL } from "./endpoint.ts";
import { noSuchQueue, refusal } from "./openapi/errors.ts";
import type { QueuesService } from "./service.ts";

const NAMED = {
  type: "object",
  additionalProperties: false,
  properties: { queue_name: { type: "string", description: "The queue." } },
  required: ["queue_name"],
};
const CLOCK = {
  type: "object",
  additionalProperties: false,
  properties: {
    advance: {
      type: "string",
      pattern: DURATION_PATTERN,
      description: "By how much time moves on; from then on it stands still.",
    },
    now: {
      type: "string",
      format: "date-time",
      pattern: TIMESTAMP_PATTERN,
      description: "What time it is to be, in place of advance; it stands still there.",
    },
    run: { type: "boolean", description: "Whether time then runs on." },
  },
};
const NOW = {
  type: "object",
  properties: {
    now: { type: "string", format: "date-time", description: "What time it is for the server." },
  },
  required: ["now"],
};

const NOUN: Noun = {
  name: "dev",
  about: "For tests of programs that use a queue: there only with `--dev`.",
  fields: {},
};

/** The endpoints by path. */
export function makeDevEndpoints(service: {
  readonly queues: Pick<QueuesService, "get">;
  /** Changes the clock of every thread; answers what time it is then. */
  readonly changeClock: (change: ClockChange) => Promise<number>;
}): ReadonlyMap<string, RowEndpoint> {
  const { queues, changeClock } = service;
  const ofQueue = {
    bodyBytesMax: SMALL,
    permission: "queue.update",
    audit: "never",
    schema: NAMED,
    queueOf: queueName,
    example: { queue_name: "jobs" },
    errors: { noSuchQueue },
  } as const;
  const rows: readonly JsonRow[] = [
    {
      path: "/v1/dev.clock",
      bodyBytesMax: SMALL,
      permission: "queue.update",
      audit: "never",
      metric: "dev.clock",
      summary: "Changes what time it is for the server.",
      schema: CLOCK,
      replySchema: NOW,
      example: { advance: "5m" },
      errors: { twoTimes: refusal("clock is invalid; give either 'advance' or 'now'") },
      handler: async (request) => {
        const now = `{"now":"${formatTimestamp(await changeClock(toChange(request)))}"}`;
        return { encode: () => now };
      },
    },
    {
      ...ofQueue,
      path: "/v1/dev.pause",
      metric: "dev.pause",
      summary: "Holds the loop of a queue.",
      handler: async (request) => {
        await queues.get(queueName(request)).pause();
        return OK;
      },
    },
    {
      ...ofQueue,
      path: "/v1/dev.resume",
      metric: "dev.resume",
      summary: "Lets the loop of a queue go on.",
      handler: async (request) => {
        await queues.get(queueName(request)).resume();
        return OK;
      },
    },
  ];
  return new Map(rows.map((row) => [row.path, endpointOf(row)]));
}

function endpointOf(row: JsonRow): RowEndpoint {
  const fields = Object.keys(row.schema.properties);
  return makeEndpoint(NOUN, row, async (body, _, { principal }) => {
    if (!principal.may(row.permission, SYSTEM_NAMESPACE)) throw denied();
    return row.handler(parse(body, fields));
  });
}

function toChange({ advance, now, run }: Record<string, unknown>): ClockChange {
  if (advance !== undefined && now !== undefined) {
    throw invalid("clock is invalid; give either 'advance' or 'now'");
  }
  if (run !== undefined && typeof run !== "boolean") {
    throw invalid("run is invalid; it must be true or false");
  }
  const set = typeof now === "string" ? parseTimestamp(now) : undefined;
  if (now !== undefined && set === undefined) {
    throw invalid("now is invalid; expected a time as in RFC 3339");
  }
  if (advance !== undefined) return { advance: parseAdvance(advance), run: run === true };
  if (set !== undefined) return { set, run: run === true };
  return run === false ? { advance: 0 } : { run: run === true };
}

function parseAdvance(advance: unknown): number {
  try {
    const duration = parseDuration(String(advance));
    if (duration >= 0) return Math.floor(duration);
    throw invalid("advance is invalid; time cannot go back");
  } catch (error) {
    if (!(error instanceof DurationError)) throw error;
    throw invalid(`advance is invalid; ${error.message} - expected format: 900ms, 5m or 15m`);
  }
}

function queueName({ queue_name: name }: Record<string, unknown>): string {
  if (typeof name === "string") return name;
  throw invalid("queue_name is invalid; it must be the name of a queue");
}

function parse(body: Buffer, fields: readonly string[]): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(body.toString());
  } catch (error) {
    throw new QueueError("content", `syntax error: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new QueueError("content", "the body must be an object");
  }
  for (const key of Object.keys(value)) {
    if (!fields.includes(key)) {
      throw new QueueError("content", `unknown field ${key}; known are ${fields.join(", ")}`);
    }
  }
  return value as Record<string, unknown>;
}

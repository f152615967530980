// Endpoints for tests, there only with `--dev`: virtual time, and loops that can be held. They let
// a user's own tests see a lease expire without waiting for it. JSON only.

import type { ClockChange } from "../clock.ts";
import { OK } from "../codec/answer.ts";
import { formatTimestamp, parseTimestamp } from "../codec/timestamp.ts";
import { DurationError, parseDuration } from "../duration.ts";
import { invalid, QueueError } from "../errors.ts";
import type { Endpoint } from "../http/edge.ts";
import type { QueuesService } from "./routes.ts";

const BODY_BYTES_MAX = 512;

export function makeDevEndpoints(service: {
  readonly queues: Pick<QueuesService, "get">;
  /** Changes the clock of every thread; answers what time it is then. */
  readonly changeClock: (change: ClockChange) => Promise<number>;
}): ReadonlyMap<string, Endpoint> {
  const { queues, changeClock } = service;
  return new Map<string, Endpoint>([
    [
      "/v1/dev.clock",
      {
        bodyBytesMax: BODY_BYTES_MAX,
        async handle(body) {
          const change = toChange(parse(body, ["advance", "now", "run"]));
          const now = `{"now":"${formatTimestamp(await changeClock(change))}"}`;
          return { encode: () => now };
        },
      },
    ],
    [
      "/v1/dev.pause",
      {
        bodyBytesMax: BODY_BYTES_MAX,
        async handle(body) {
          await queues.get(queueName(body)).pause();
          return OK;
        },
      },
    ],
    [
      "/v1/dev.resume",
      {
        bodyBytesMax: BODY_BYTES_MAX,
        async handle(body) {
          await queues.get(queueName(body)).resume();
          return OK;
        },
      },
    ],
  ]);
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

function queueName(body: Buffer): string {
  const { queue_name: name } = parse(body, ["queue_name"]);
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

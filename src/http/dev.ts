// Endpoints for tests, there only with `--dev`: virtual time, and loops that can be held. They let
// a user's own tests see a lease expire without waiting for it. JSON only.

import type { VirtualClock } from "../clock.ts";
import { DurationError, parseDuration } from "../duration.ts";
import { invalid, QueueError } from "../errors.ts";
import type { Queues } from "../queues.ts";
import { type Endpoint, OK } from "./server.ts";
import { formatTimestamp, parseTimestamp } from "./timestamp.ts";

const BODY_BYTES_MAX = 512;

export function makeDevEndpoints(service: {
  readonly queues: Queues;
  readonly clock: VirtualClock;
}): ReadonlyMap<string, Endpoint> {
  const { queues, clock } = service;
  return new Map<string, Endpoint>([
    [
      "/v1/dev.clock",
      {
        bodyBytesMax: BODY_BYTES_MAX,
        handle(body) {
          const request = parse(body, ["advance", "now", "run"]);
          setClock(clock, request);
          const now = `{"now":"${formatTimestamp(clock.now())}"}`;
          return { encode: () => now };
        },
      },
    ],
    [
      "/v1/dev.pause",
      {
        bodyBytesMax: BODY_BYTES_MAX,
        handle(body) {
          queues.get(queueName(body)).loop.pause();
          return OK;
        },
      },
    ],
    [
      "/v1/dev.resume",
      {
        bodyBytesMax: BODY_BYTES_MAX,
        handle(body) {
          queues.get(queueName(body)).loop.resume();
          return OK;
        },
      },
    ],
  ]);
}

function setClock(clock: VirtualClock, { advance, now, run }: Record<string, unknown>): void {
  if (advance !== undefined && now !== undefined) {
    throw invalid("clock is invalid; give either 'advance' or 'now'");
  }
  if (run !== undefined && typeof run !== "boolean") {
    throw invalid("run is invalid; it must be true or false");
  }
  if (advance !== undefined) clock.advance(parseAdvance(advance));
  if (now !== undefined) {
    const time = typeof now === "string" ? parseTimestamp(now) : undefined;
    if (time === undefined) throw invalid("now is invalid; expected a time as in RFC 3339");
    clock.set(time);
  }
  if (run === true) clock.run();
  if (run === false) clock.advance(0);
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

// Where an item of a dead queue has died, and why: as it is told wherever the item is shown.

import type { ItemSchema } from "../codec/gen/querator/v2/items_pb.ts";
import type { DeadSourceSchema } from "../codec/gen/querator/v2/policy_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import { invalidField } from "../errors.ts";
import { type Attributes, fingerprintOf, ID_PATTERN, type Origin } from "../queue/queue.ts";
import { fullName, nameOf, QUEUE_NAME_BYTES_MAX } from "../registry/names.ts";
import { DROP_REASONS } from "../storage/storage.ts";
import { count, type FieldNote, type Notes } from "./openapi/fields.ts";

// Far more than there is in one.
const FINGERPRINT_MAX = 64;

/** Where an item has died, if it has: `id` is its id. */
export function deadSourceOf(
  { from }: Attributes,
  id: string,
): Encodable<typeof DeadSourceSchema> | undefined {
  if (from === undefined) return undefined;
  const { queue, attempts, createdAt, diedAt, reason, fingerprint } = from;
  return { queueName: nameOf(queue), id, attempts, createdAt, diedAt, reason, fingerprint };
}

/** Where an item to import has died, as it was told, or now; its id is not looked at. */
export function readDeadSource(
  { source, kind, lastError }: Pick<Decoded<typeof ItemSchema>, "source" | "kind" | "lastError">,
  path: string,
  { now, namespace }: { readonly now: number; readonly namespace: string },
): Origin | undefined {
  if (source === undefined) return undefined;
  const { queueName, attempts, createdAt, diedAt, fingerprint } = source;
  const reason = DROP_REASONS.find((each) => each === source.reason);
  const checks = {
    reason: reason !== undefined,
    queue_name: isName(queueName),
    fingerprint: fingerprint.length <= FINGERPRINT_MAX,
    attempts: attempts >= 0,
  };
  for (const [name, isFine] of Object.entries(checks)) {
    const field = `${path}.source.${name}`;
    if (!isFine) throw invalidField(field, `${field} is invalid; no list can have told it`);
  }
  // Wherever it is shown it has both.
  const end = diedAt > 0 ? diedAt : now;
  const times = { createdAt: createdAt > 0 ? createdAt : end, diedAt: end };
  const known = fingerprint || fingerprintOf({ kind, error: lastError, reason: reason! });
  const queue = fullName(namespace, queueName);
  return { queue, attempts, ...times, reason: reason!, fingerprint: known };
}

function isName(name: string): boolean {
  return name !== "" && name.length <= QUEUE_NAME_BYTES_MAX && !name.includes("~");
}

/** Of the fields that show it. */
export const SOURCE: FieldNote = { text: "Of one in a dead queue: where it has died, and why." };

/** What its fields mean. */
export const DEAD_SOURCE_NOTES: Notes = {
  DeadSource: {
    queue_name: { text: "The queue in which it died.", required: "both" },
    id: {
      text: "Its id, which is the same; an import does not look at it.",
      required: "reply",
      reply: { pattern: ID_PATTERN },
    },
    attempts: count("How often it had been leased there."),
    created_at: {
      text: "When it came into that queue; of an import that does not say it, when it died.",
      required: "reply",
    },
    died_at: { text: "When it died; of an import that does not say it, then.", required: "reply" },
    reason: {
      text: "Why: attempts, expired or rejected.",
      required: "both",
      request: { enum: DROP_REASONS },
      reply: { enum: DROP_REASONS },
    },
    fingerprint: {
      text: "What is the same of items that died alike: of the same kind, with the same type of error and the same message, numbers, ids and quoted texts left out.",
      required: "reply",
    },
  },
};

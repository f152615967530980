// Where an item of a dead queue has died, and why: as it is told wherever the item is shown.

import type { DeadSourceSchema } from "../codec/gen/querator/v2/policy_pb.ts";
import type { Encodable } from "../codec/message.ts";
import { type Attributes, ID_PATTERN } from "../queue/queue.ts";
import { count, type FieldNote, type Notes } from "./openapi/fields.ts";

/** Where an item has died, if it has: `id` is its id. */
export function deadSourceOf(
  { from }: Attributes,
  id: string,
): Encodable<typeof DeadSourceSchema> | undefined {
  if (from === undefined) return undefined;
  const { queue: queueName, attempts, createdAt, diedAt, reason, fingerprint } = from;
  return { queueName, id, attempts, createdAt, diedAt, reason, fingerprint };
}

/** Of the fields that show it. */
export const SOURCE: FieldNote = { text: "Of one in a dead queue: where it has died, and why." };

/** What its fields mean. */
export const DEAD_SOURCE_NOTES: Notes = {
  DeadSource: {
    queue_name: { text: "The queue in which it died.", required: "reply" },
    id: { text: "Its id, which is the same.", required: "reply", reply: { pattern: ID_PATTERN } },
    attempts: count("How often it had been leased there."),
    created_at: { text: "When it came into that queue.", required: "reply" },
    died_at: { text: "When it died.", required: "reply" },
    reason: {
      text: "Why: attempts, expired or rejected.",
      required: "reply",
      reply: { enum: ["attempts", "expired", "rejected"] },
    },
    fingerprint: {
      text: "What is the same of items that died alike: of the same kind, with the same type of error and the same message, numbers, ids and quoted texts left out.",
      required: "reply",
    },
  },
};

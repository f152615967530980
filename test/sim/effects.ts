// What the calls of clients may have done, read from their replies alone: a call that succeeded
// has happened, one that was refused has not, and of one whose answer is not known, or says that
// the outcome is not, either may be true.

import { parseTime } from "./observe.ts";
import type { Call } from "./world.ts";

export type Certainty = "done" | "maybe" | "none";

const OUTCOME_UNKNOWN = [
  "internal error, try your request again",
  "request timeout; the storage did not answer in time, the outcome is unknown",
];

/** Whether a call has happened. */
export function certaintyOf(call: Call): Certainty {
  switch (call.state) {
    case "pending":
      return "none";
    case "gone":
    case "lost":
      return "maybe";
    case "answered":
      if (call.status === 200) return "done";
      if (OUTCOME_UNKNOWN.includes(call.body)) return "maybe";
      // It goes from partition to partition.
      if (call.path === "queue.clear" && call.status >= 453) return "maybe";
      return "none";
  }
}

/** Something that may happen to one item, because a client asked for it. */
export interface ItemEvent {
  readonly call: Call;
  readonly isCertain: boolean;
  readonly what:
    | { readonly kind: "produce"; readonly dueAt: number }
    | { readonly kind: "import"; readonly isLeased: boolean; readonly attempts: number }
    | { readonly kind: "arrive" }
    | {
        readonly kind: "lease";
        readonly id: string;
        readonly attempts: number;
        readonly deadline: number;
      }
    | { readonly kind: "lease-unseen" }
    | { readonly kind: "complete"; readonly id: string }
    | {
        readonly kind: "retry";
        readonly id: string;
        readonly dueAt: number;
        readonly dead: boolean;
        readonly isRelease: boolean;
      }
    /** `deadline` 0: nobody was told. */
    | { readonly kind: "extend"; readonly id: string; readonly deadline: number }
    | {
        readonly kind: "clear";
        readonly items: boolean;
        readonly destructive: boolean;
        readonly scheduled: boolean;
      }
    | { readonly kind: "delete-item"; readonly id: string }
    | { readonly kind: "delete-queue" };
}

/** What calls may do to the items of one queue. */
export interface Effects {
  /** By the number of the item. */
  readonly births: ReadonlyMap<number, ItemEvent>;
  readonly leases: ReadonlyMap<number, readonly ItemEvent[]>;
  /** By the id that they name. */
  readonly byId: ReadonlyMap<string, readonly ItemEvent[]>;
  /** What may happen to any item. */
  readonly toAll: readonly ItemEvent[];
}

/** Whether an import has answered, in place of this item, the one that its source was there with. */
export function wasThere({ request, body }: Call, i: number): boolean {
  return body.items[i].payload !== (request.items as { payload: string }[])[i]!.payload;
}

/** The number that a payload carries. */
export function numberOf(payload: string): number {
  return Number(Buffer.from(payload, "base64").toString());
}

/** Reads the effects of calls on one queue. */
export function effectsOn(queue: string, calls: readonly Call[]): Effects {
  const births = new Map<number, ItemEvent>();
  const leases = new Map<number, ItemEvent[]>();
  const byId = new Map<string, ItemEvent[]>();
  const toAll: ItemEvent[] = [];
  for (const call of calls) {
    const certainty = certaintyOf(call);
    const isCertain = certainty === "done";
    if (certainty === "none" || call.request.queue_name !== queue) continue;
    const note = (id: string, what: ItemEvent["what"]): void => {
      byId.set(id, [...(byId.get(id) ?? []), { call, isCertain, what }]);
    };
    // biome-ignore lint/suspicious/noExplicitAny: requests have every shape
    const request = call.request as any;
    switch (call.path) {
      case "queue.produce":
        for (const { utf8, enqueue_at } of request.items) {
          const due = parseTime(enqueue_at);
          const dueAt = due >= call.startedAt + 100_000 ? due : 0;
          births.set(Number(utf8), { call, isCertain, what: { kind: "produce", dueAt } });
        }
        break;
      case "v2/queue.produce":
        // Of one that is a duplicate nothing is born.
        for (const [i, { utf8 }] of request.items.entries()) {
          if (isCertain && call.body.results[i].status !== "created") continue;
          births.set(Number(utf8), { call, isCertain, what: { kind: "produce", dueAt: 0 } });
        }
        break;
      case "storage/items.import":
        for (const [i, item] of request.items.entries()) {
          if (isCertain && wasThere(call, i)) continue;
          const { is_leased: isLeased = false, attempts = 0 } = item;
          const what = { kind: "import" as const, isLeased, attempts };
          births.set(numberOf(item.payload), { call, isCertain, what });
        }
        break;
      case "queue.lease":
        if (!isCertain) toAll.push({ call, isCertain, what: { kind: "lease-unseen" } });
        else {
          for (const { id, attempts, lease_deadline, bytes } of call.body.items) {
            const deadline = parseTime(lease_deadline);
            const n = numberOf(bytes);
            const event = {
              call,
              isCertain,
              what: { kind: "lease" as const, id, attempts, deadline },
            };
            leases.set(n, [...(leases.get(n) ?? []), event]);
          }
        }
        break;
      case "queue.complete":
        for (const id of request.ids) note(id, { kind: "complete", id });
        break;
      case "queue.retry":
        for (const { id, retry_at, dead = false } of request.items) {
          const due = parseTime(retry_at);
          const dueAt = due >= call.startedAt + 100_000 ? due : 0;
          note(id, { kind: "retry", id, dueAt, dead, isRelease: false });
        }
        break;
      case "v2/queue.release":
        // Each lease by itself, here and below: of one that is refused nothing was done.
        for (const [i, { lease_id: id, at }] of request.leases.entries()) {
          if (isCertain && call.body.results[i].ok !== true) continue;
          const due = parseTime(at);
          const dueAt = due >= call.startedAt + 100_000 ? due : 0;
          note(id, { kind: "retry", id, dueAt, dead: false, isRelease: true });
        }
        break;
      case "v2/queue.extend":
        for (const [i, { lease_id: id }] of request.leases.entries()) {
          const result = isCertain ? call.body.results[i] : { ok: true };
          const deadline = parseTime(result.lease_deadline);
          if (result.ok) note(id, { kind: "extend", id, deadline });
        }
        break;
      case "queue.clear": {
        const { queue: items = false, destructive = false, scheduled = false } = request;
        toAll.push({ call, isCertain, what: { kind: "clear", items, destructive, scheduled } });
        break;
      }
      case "storage/items.delete":
        for (const id of request.ids) note(id, { kind: "delete-item", id });
        break;
      case "queues.delete":
        toAll.push({ call, isCertain, what: { kind: "delete-queue" } });
        break;
    }
  }
  return { births, leases, byId, toAll };
}

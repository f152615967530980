// What the calls of clients may have done, read from their replies alone: a call that succeeded
// has happened, one that was refused has not, and of one whose answer is not known, or says that
// the outcome is not, either may be true.

import { numberLeased, numberOf, parseTime } from "./observe.ts";
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

/** What a client was told of the end of one lease; undefined if it was told nothing. */
export type Told = "ok" | "item_cancelled" | undefined;

/** Something that may happen to one item, because a client asked for it. */
export interface ItemEvent {
  readonly call: Call;
  readonly isCertain: boolean;
  readonly what: /** `isReplacing`: in the place of another, of which it may have the time. */
    | { readonly kind: "produce"; readonly dueAt: number; readonly isReplacing: boolean }
    | { readonly kind: "import"; readonly isLeased: boolean; readonly attempts: number }
    | { readonly kind: "arrive"; readonly byRedrive: boolean }
    | {
        readonly kind: "lease";
        readonly id: string;
        readonly attempts: number;
        readonly deadline: number;
      }
    | { readonly kind: "lease-unseen" }
    /** `result` "": none. */
    | {
        readonly kind: "complete";
        readonly id: string;
        readonly told: Told;
        readonly result: string;
      }
    | {
        readonly kind: "retry";
        readonly id: string;
        readonly told: Told;
        /** -1: by the policy. */
        readonly dueAt: number;
        readonly dead: boolean;
        readonly isRelease: boolean;
      }
    /** `deadline` 0: nobody was told. */
    | { readonly kind: "extend"; readonly id: string; readonly deadline: number }
    | { readonly kind: "cancel" }
    /** `dueAt` -1 and `expireIn` 0: as it was. */
    | { readonly kind: "change"; readonly dueAt: number; readonly expireIn: number }
    /** Another takes its place. */
    | { readonly kind: "replaced" }
    /** Out of the dead queue. */
    | { readonly kind: "redrive" }
    /** What waited behind another has its turn. */
    | { readonly kind: "turn" }
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
  /** By the id of the item, which it keeps wherever it is. */
  readonly byItem: ReadonlyMap<string, readonly ItemEvent[]>;
  /** By the unique key that they ask for. */
  readonly byKey: ReadonlyMap<string, readonly ItemEvent[]>;
  /** What may happen to any item. */
  readonly toAll: readonly ItemEvent[];
}

/** Whether an import has answered, in place of this item, the one that its source was there with. */
export function wasThere({ request, body }: Call, i: number): boolean {
  return body.items[i].payload !== (request.items as { payload: string }[])[i]!.payload;
}

/** Which of the items that a call produces in a queue it may have produced, and how it was answered. */
export function producedBy(call: Call, queue: string): readonly { n: number; index: number }[] {
  const mine = call.request.queue_name === queue;
  const { items = [], produce = [] } = call.request as {
    items?: readonly { utf8: string }[];
    produce?: readonly { queue_name: string; items: readonly { utf8: string }[] }[];
  };
  if (call.path === "v2/queue.produce" || call.path === "queue.produce") {
    return mine ? items.map(({ utf8 }, index) => ({ n: Number(utf8), index })) : [];
  }
  if (call.path !== "v2/queue.complete") return [];
  return produce
    .filter(({ queue_name }) => queue_name === queue)
    .flatMap((each) => each.items.map(({ utf8 }, index) => ({ n: Number(utf8), index })));
}

const MAYBE_DONE = ["outcome_unknown", "storage_unavailable"];

/** What a call was told of its lease number `i`; "none" if nothing was done to it. */
export function toldOf(call: Call, i: number): Told | "none" {
  if (certaintyOf(call) !== "done") return undefined;
  const { ok, code } = call.body.results[i];
  if (ok === true) return "ok";
  if (code === "item_cancelled") return code;
  return MAYBE_DONE.includes(code) ? undefined : "none";
}

class Reader {
  readonly births = new Map<number, ItemEvent>();
  readonly leases = new Map<number, ItemEvent[]>();
  readonly byId = new Map<string, ItemEvent[]>();
  readonly byItem = new Map<string, ItemEvent[]>();
  readonly byKey = new Map<string, ItemEvent[]>();
  readonly toAll: ItemEvent[] = [];
  readonly #queue: string;

  constructor(queue: string) {
    this.#queue = queue;
  }

  read(call: Call): void {
    const certainty = certaintyOf(call);
    const isCertain = certainty === "done";
    if (certainty === "none") return;
    if (call.path === "v2/item.cancel" || call.path === "v2/item.update") {
      this.#readItem(call, isCertain);
      return;
    }
    if (call.path === "v2/queue.complete") this.#readFollowers(call, isCertain);
    if (call.request.queue_name !== this.#queue) return;
    const note = (id: string, what: ItemEvent["what"], told: Told = "ok"): void => {
      add(this.byId, id, { call, isCertain: isCertain && told !== undefined, what });
    };
    // biome-ignore lint/suspicious/noExplicitAny: requests have every shape
    const request = call.request as any;
    switch (call.path) {
      case "queue.produce":
        for (const { utf8, enqueue_at } of request.items) {
          const dueAt = laterOf(parseTime(enqueue_at), call);
          const what = { kind: "produce" as const, dueAt, isReplacing: false };
          this.births.set(Number(utf8), { call, isCertain, what });
        }
        break;
      case "v2/queue.produce":
        this.#readProduce(call, isCertain);
        break;
      case "storage/items.import":
        for (const [i, item] of request.items.entries()) {
          if (isCertain && wasThere(call, i)) continue;
          const { is_leased: isLeased = false, attempts = 0 } = item;
          const what = { kind: "import" as const, isLeased, attempts };
          this.births.set(numberOf(item.payload), { call, isCertain, what });
        }
        break;
      case "queue.lease":
      case "v2/queue.lease":
        if (!isCertain) this.toAll.push({ call, isCertain, what: { kind: "lease-unseen" } });
        else {
          for (const item of call.body.items) {
            const { id, lease_id = id, attempts, lease_deadline } = item;
            const deadline = parseTime(lease_deadline);
            const what = { kind: "lease" as const, id: lease_id, attempts, deadline };
            add(this.leases, numberLeased(item), { call, isCertain, what });
          }
        }
        break;
      case "queue.complete":
        for (const id of request.ids)
          note(id, { kind: "complete", id, told: undefined, result: "" });
        break;
      case "queue.retry":
        for (const { id, retry_at, dead = false } of request.items) {
          const dueAt = laterOf(parseTime(retry_at), call);
          note(id, { kind: "retry", id, told: undefined, dueAt, dead, isRelease: false });
        }
        break;
      case "v2/queue.complete":
        // Each lease by itself, here and below: of one that is refused nothing was done.
        for (const [i, { lease_id: id, result = "" }] of request.leases.entries()) {
          const told = toldOf(call, i);
          if (told !== "none") note(id, { kind: "complete", id, told, result }, told);
        }
        break;
      case "v2/queue.retry":
      case "v2/queue.reject":
      case "v2/queue.release":
        for (const [i, { lease_id: id, at, delay }] of request.leases.entries()) {
          const told = toldOf(call, i);
          if (told === "none") continue;
          const byPolicy =
            at === undefined && delay === undefined && call.path === "v2/queue.retry";
          const dueAt = byPolicy ? -1 : laterOf(parseTime(at), call);
          const [dead, isRelease] = [call.path.endsWith("reject"), call.path.endsWith("release")];
          note(id, { kind: "retry", id, told, dueAt, dead, isRelease }, told);
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
        this.toAll.push({
          call,
          isCertain,
          what: { kind: "clear", items, destructive, scheduled },
        });
        break;
      }
      case "storage/items.delete":
        for (const id of request.ids) note(id, { kind: "delete-item", id });
        break;
      case "queues.delete":
        this.toAll.push({ call, isCertain, what: { kind: "delete-queue" } });
        break;
    }
  }

  // Of one that is a duplicate, or refused, nothing is born.
  #readProduce(call: Call, isCertain: boolean): void {
    const { items } = call.request as {
      items: { utf8: string; enqueue_at?: string; unique_key?: string; on_duplicate?: string }[];
    };
    for (const [i, { utf8, enqueue_at, unique_key, on_duplicate = "" }] of items.entries()) {
      const { status = "" } = isCertain ? call.body.results[i] : {};
      if (isCertain && !["created", "scheduled", "replaced"].includes(status)) continue;
      const isReplacing =
        on_duplicate === "keep_latest" ||
        (REPLACING.includes(on_duplicate) && (!isCertain || status === "replaced"));
      const dueAt = laterOf(parseTime(enqueue_at), call);
      const what = { kind: "produce" as const, dueAt, isReplacing };
      // Whoever comes later in the same request may take its place, and then it never was.
      const last = items.findLastIndex((each) => each.unique_key === unique_key);
      const isSure = isCertain && (unique_key === undefined || last === i);
      this.births.set(Number(utf8), { call, isCertain: isSure, what });
      if (isReplacing && unique_key !== undefined) {
        add(this.byKey, unique_key, { call, isCertain: false, what: { kind: "replaced" } });
      }
    }
  }

  #readFollowers(call: Call, isCertain: boolean): void {
    for (const { n } of producedBy(call, this.#queue)) {
      const what = { kind: "produce" as const, dueAt: 0, isReplacing: false };
      this.births.set(n, { call, isCertain, what });
    }
  }

  // Where the item was is told by the answer.
  #readItem(call: Call, isCertain: boolean): void {
    const { id, enqueue_at, expire_in } = call.request as {
      id: string;
      enqueue_at?: string;
      expire_in?: string;
    };
    if (isCertain && call.body.queue_name !== this.#queue) return;
    if (call.path === "v2/item.cancel") {
      add(this.byItem, id, { call, isCertain, what: { kind: "cancel" } });
      return;
    }
    const dueAt = enqueue_at === undefined ? -1 : laterOf(parseTime(enqueue_at), call);
    const expireIn = expire_in === undefined ? 0 : secondsOf(expire_in);
    add(this.byItem, id, { call, isCertain, what: { kind: "change", dueAt, expireIn } });
  }
}

const REPLACING = ["replace", "extend", "keep_latest"];

function add<K>(to: Map<K, ItemEvent[]>, key: K, event: ItemEvent): void {
  to.set(key, [...(to.get(key) ?? []), event]);
}

// What is due within a moment is due at once.
function laterOf(due: number, { startedAt }: Call): number {
  return due >= startedAt + 100_000 ? due : 0;
}

/** Microseconds of a text such as 30s. */
export function secondsOf(text: string): number {
  return Number(/^(\d+)s$/.exec(text)![1]) * 1e6;
}

/** Reads the effects of calls on one queue. */
export function effectsOn(queue: string, calls: readonly Call[]): Effects {
  const reader = new Reader(queue);
  for (const call of calls) reader.read(call);
  return reader;
}

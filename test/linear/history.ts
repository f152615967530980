// What the clients of one queue have seen: a list of operations with their begin and their end on
// one monotonic clock, in microseconds. Everything here is observation; what it means is the
// business of plan.ts. An operation without a reply never ended: its outcome is unknown. One that
// the server says was not executed is left out of a history altogether.

/** One operation of one client. */
export interface Call {
  readonly client: string;
  readonly start: number;
  /** When the reply was there; infinite if none came. */
  readonly end: number;
  /** "ok", the message of the error, or undefined if no reply came. */
  readonly reply: string | undefined;
}

export interface Produce extends Call {
  readonly kind: "produce";
  /** Each payload occurs once in a history: it is what an item is known by. */
  readonly payloads: readonly string[];
  /** The unique key of its only item; "" for none. */
  readonly key: string;
  /** The id of its only item, if it has a key and the reply is ok; else "". */
  readonly id: string;
}

/** A produce with a unique key that was answered that another item has it. */
export interface Taken extends Call {
  readonly kind: "taken";
  readonly key: string;
  /** Of the item that has it. */
  readonly id: string;
}

/** Of an item by its id; undefined if no reply came. */
export interface Cancel extends Call {
  readonly kind: "cancel";
  readonly id: string;
  /** `marked`: it is leased, and ends with its lease. */
  readonly outcome: "cancelled" | "marked" | "absent" | undefined;
}

/** A look at one item, by its id. */
export interface Get extends Call {
  readonly kind: "get";
  readonly id: string;
  /** `marked`: it is leased, and was cancelled. */
  readonly state: "waiting" | "leased" | "marked" | "absent" | undefined;
}

export interface LeasedItem {
  readonly payload: string;
  readonly id: string;
  readonly attempts: number;
  /** On the clock of the client. */
  readonly deadline: number;
  /** As the server wrote it: leases of one pass have the same. */
  readonly deadlineText: string;
}

export interface Lease extends Call {
  readonly kind: "lease";
  readonly batch: number;
  /** How long it was ready to wait, in microseconds. */
  readonly wait: number;
  /** Empty unless the reply is ok. */
  readonly items: readonly LeasedItem[];
}

export interface Complete extends Call {
  readonly kind: "complete";
  readonly ids: readonly string[];
}

export interface Retry extends Call {
  readonly kind: "retry";
  readonly items: readonly { readonly id: string; readonly dead: boolean }[];
}

/** What became of the extension of one lease: "ok", or the code of the error; undefined if no reply came. */
export type ExtendOutcome =
  | "ok"
  | "lease_ended"
  | "not_leased"
  | "item_not_found"
  | "item_cancelled"
  | undefined;

/** Each lease by itself. */
export interface Extend extends Call {
  readonly kind: "extend";
  readonly items: readonly {
    readonly id: string;
    /** In microseconds, from then on. */
    readonly duration: number;
    readonly outcome: ExtendOutcome;
    /** On the clock of the client, if it is ok. */
    readonly deadline: number;
  }[];
}

export interface ListedItem {
  readonly payload: string;
  readonly id: string;
  readonly attempts: number;
  readonly leased: boolean;
}

/** A page that shows the whole queue, leased items included. */
export interface List extends Call {
  readonly kind: "list";
  readonly items: readonly ListedItem[];
}

export type Operation = Produce | Taken | Lease | Complete | Retry | Extend | Cancel | Get | List;

/** All that was seen of one queue. */
export interface History {
  readonly queue: string;
  /** Microseconds. */
  readonly leaseTimeout: number;
  readonly operations: readonly Operation[];
}

/** The texts of replies that mean something to the checker. */
export const REPLIES = {
  ok: "ok",
  nothing: "request timeout; no items are in the queue, try again",
  absent: (id: string) => `invalid storage id; '${id}' does not exist`,
  notLeased: (id: string, verb: "completed" | "retried") =>
    `item(s) cannot be ${verb}; '${id}' is not marked as leased`,
} as const;

/** A history as text, to be kept. */
export function toText(history: History): string {
  const open = (_: string, value: unknown): unknown => (value === Infinity ? "none" : value);
  return JSON.stringify(history, open);
}

/** The history that `toText` wrote. */
export function fromText(text: string): History {
  const open = (_: string, value: unknown): unknown => (value === "none" ? Infinity : value);
  const history = JSON.parse(text, open) as History;
  // JSON knows no undefined.
  const operations = history.operations.map((each) => ({
    ...each,
    reply: each.reply ?? undefined,
    ...(each.kind === "cancel" ? { outcome: each.outcome ?? undefined } : {}),
    ...(each.kind === "get" ? { state: each.state ?? undefined } : {}),
    ...(each.kind === "extend"
      ? { items: each.items.map((item) => ({ ...item, outcome: item.outcome ?? undefined })) }
      : {}),
  })) as Operation[];
  return { ...history, operations };
}

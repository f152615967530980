// One client of one queue: does what it is told over a connection of its own, and writes down what
// it saw. Its connection may be cut before the reply; then nobody knows what became of the request.

import { MESSAGES } from "../../src/errors.ts";
import { requestText } from "../support/http-text.ts";
import { type Outcome, RawConnection } from "../support/raw-connection.ts";
import {
  type Call,
  type ExtendOutcome,
  type LeasedItem,
  type ListedItem,
  type Operation,
  REPLIES,
} from "./history.ts";
import { now, onOurClock } from "./times.ts";

/** How a connection is cut: within the request, or some time after it, unless the reply comes first. */
export type Cut =
  | { readonly part: number }
  | { readonly afterMs: number; readonly reset: boolean }
  | undefined;

/** Where the operations of a queue are written down. */
export interface Notebook {
  readonly queue: string;
  readonly url: URL;
  readonly operations: Operation[];
}

interface Item {
  readonly id: string;
  readonly attempts?: number;
  readonly lease_deadline?: string;
  readonly is_leased?: boolean;
  readonly bytes?: string;
  readonly payload?: string;
}

interface Body {
  readonly message?: string;
  readonly detail?: string;
  readonly code?: string;
  readonly details?: { readonly id?: string };
  readonly state?: string;
  readonly cancelled?: boolean;
  readonly results?: readonly {
    readonly id?: string;
    readonly status?: string;
    readonly ok?: boolean;
    readonly code?: Exclude<ExtendOutcome, "ok">;
    readonly lease_deadline?: string;
  }[];
  readonly items?: readonly Item[];
}

type Seen = Call & { readonly body: Body };

// Replies that say that nothing was done: no operation has taken place.
const NOT_EXECUTED: readonly string[] = [MESSAGES.requestTimeout, MESSAGES.overloaded];
// Replies that leave open whether anything was done.
const UNKNOWN: readonly string[] = [MESSAGES.outcomeUnknown, MESSAGES.internalRetry];

// Far longer than any time-out of a request: no answer for so long is a defect.
const SILENCE_MS = 60_000;

/** A client of one queue. */
export class Client {
  readonly name: string;
  readonly #notebook: Notebook;
  #connection: RawConnection | undefined;
  #leases = 0;

  constructor(name: string, notebook: Notebook) {
    this.name = name;
    this.#notebook = notebook;
  }

  async produce(payloads: readonly string[], cut?: Cut): Promise<void> {
    const items = payloads.map((utf8) => ({ utf8 }));
    const seen = await this.#call("queue.produce", { request_timeout: "10s", items }, cut);
    if (seen === undefined) return;
    this.#note({ kind: "produce", ...callOf(seen), payloads, key: "", id: "" });
  }

  /**
   * Produces one item with a unique key; answers its id. That of one which has the key already is not answered: it
   * may be one whose reply was lost, and nothing tells which.
   */
  async claim(key: string, utf8: string, refuses: boolean, cut?: Cut): Promise<string> {
    const on_duplicate = refuses ? "reject" : "return";
    const request = { items: [{ utf8, unique_key: key, on_duplicate }] };
    const seen = await this.#call("v2/queue.produce", request, cut, ["unique_key_taken"]);
    if (seen === undefined) return "";
    const { results = [], details } = seen.body;
    const id = results[0]?.id ?? details?.id ?? "";
    const isTaken = details !== undefined || results[0]?.status === "duplicate";
    if (isTaken) this.#note({ kind: "taken", ...callOf(seen), key, id });
    else this.#note({ kind: "produce", ...callOf(seen), payloads: [utf8], key, id });
    return isTaken ? "" : id;
  }

  /** Cancels an item. */
  async cancel(id: string, cut?: Cut): Promise<void> {
    const seen = await this.#call("v2/item.cancel", { id }, cut, ["item_not_found"]);
    if (seen === undefined) return;
    const state = stateOf(seen);
    const outcome = state === "waiting" || state === "leased" ? "absent" : state;
    // What is answered as if it were not cancelled is not right in any order.
    this.#note({ kind: "cancel", ...callOf(seen), id, outcome });
  }

  /** Looks at an item. */
  async get(id: string): Promise<void> {
    const seen = await this.#call("v2/item.get", { id }, undefined, ["item_not_found"]);
    if (seen === undefined) return;
    const state = stateOf(seen);
    this.#note({
      kind: "get",
      ...callOf(seen),
      id,
      state: state === "cancelled" ? "absent" : state,
    });
  }

  /** Answers what it got, if anything. */
  async lease(batch: number, waitMs: number, cut?: Cut): Promise<readonly LeasedItem[]> {
    const request = {
      client_id: `${this.name}-${this.#leases++}`,
      batch_size: batch,
      request_timeout: `${waitMs}ms`,
    };
    const seen = await this.#call("queue.lease", request, cut);
    if (seen === undefined) return [];
    const items = (seen.body.items ?? []).map((item): LeasedItem => {
      const deadlineText = item.lease_deadline ?? "";
      const deadline = onOurClock(deadlineText);
      const { id, attempts = 0, bytes } = item;
      return { payload: textOf(bytes), id, attempts, deadline, deadlineText };
    });
    this.#note({ kind: "lease", ...callOf(seen), batch, wait: waitMs * 1_000, items });
    return items;
  }

  async complete(ids: readonly string[], cut?: Cut): Promise<void> {
    const seen = await this.#call("queue.complete", { request_timeout: "10s", ids }, cut);
    if (seen !== undefined) this.#note({ kind: "complete", ...callOf(seen), ids });
  }

  async retry(items: readonly { id: string; dead: boolean }[], cut?: Cut): Promise<void> {
    const seen = await this.#call("queue.retry", { items }, cut);
    if (seen !== undefined) this.#note({ kind: "retry", ...callOf(seen), items });
  }

  /** Extends leases by so many milliseconds each; answers those that were, with their deadlines. */
  async extend(
    leases: readonly { readonly id: string; readonly ms: number }[],
    cut?: Cut,
  ): Promise<ReadonlyMap<string, number>> {
    const request = leases.map(({ id, ms }) => ({ lease_id: id, for: `${ms}ms` }));
    const seen = await this.#call("v2/queue.extend", { leases: request }, cut);
    const extended = new Map<string, number>();
    if (seen === undefined) return extended;
    const { results = [] } = seen.body;
    const items = leases.map(({ id, ms }, i) => {
      const { ok = false, code, lease_deadline } = results[i] ?? {};
      const outcome = ok ? ("ok" as const) : code;
      const deadline = lease_deadline === undefined ? 0 : onOurClock(lease_deadline);
      if (ok) extended.set(id, deadline);
      return { id, duration: ms * 1_000, outcome, deadline };
    });
    this.#note({ kind: "extend", ...callOf(seen), items });
    return extended;
  }

  async list(cut?: Cut): Promise<readonly ListedItem[]> {
    const seen = await this.#call("storage/items.list", { limit: 10_000 }, cut);
    if (seen === undefined) return [];
    const items = (seen.body.items ?? []).map(({ id, attempts = 0, payload, is_leased }) => {
      return { payload: textOf(payload), id, attempts, leased: is_leased ?? false };
    });
    this.#note({ kind: "list", ...callOf(seen), items });
    return items;
  }

  close(): void {
    this.#connection?.destroy();
  }

  #note(operation: Operation): void {
    this.#notebook.operations.push(operation);
  }

  // Answers undefined if the request has certainly not been executed.
  // Errors with one of the codes are answers like others.
  async #call(
    method: string,
    request: object,
    cut: Cut,
    codes: readonly string[] = [],
  ): Promise<Seen | undefined> {
    const { queue, url } = this.#notebook;
    const text = requestText(method, { queue_name: queue, ...request });
    if (this.#connection?.isOpen !== true) {
      this.#connection = await RawConnection.open(Number(url.port), url.hostname);
    }
    const connection = this.#connection;
    if (cut !== undefined && "part" in cut) {
      // Never its last byte.
      const bytes = Math.max(1, Math.min(Math.floor(text.length * cut.part), text.length - 1));
      await connection.sendAndLeave(text.slice(0, bytes));
      return undefined;
    }
    const start = now();
    const answer = connection.send(text, { waitMs: SILENCE_MS });
    const timer = cut && setTimeout(() => connection.destroy(cut), cut.afterMs);
    const outcome = await answer;
    clearTimeout(timer);
    if (outcome.kind === "silent") throw new Error(`no reply to ${text}`);
    return this.#see(start, outcome, codes);
  }

  #see(start: number, outcome: Outcome, codes: readonly string[]): Seen | undefined {
    const open = { client: this.name, start, end: Infinity, reply: undefined, body: {} };
    if (outcome.kind !== "reply") return open;
    const { reply: response, at } = outcome;
    const { status } = response;
    const body = JSON.parse(response.body.toString()) as Body;
    const { message = body.detail ?? "" } = body;
    if (UNKNOWN.includes(message)) return open;
    if (NOT_EXECUTED.includes(message)) return undefined;
    const expected = status === 400 || message === REPLIES.nothing;
    const isOk = status === 200 || codes.includes(body.code ?? "");
    const reply = isOk ? REPLIES.ok : expected ? message : `${status} ${message}`;
    return { client: this.name, start, end: Math.round(at * 1_000), reply, body };
  }
}

function callOf({ client, start, end, reply }: Seen): Call {
  return { client, start, end, reply };
}

// Of an item as it was answered; undefined if no reply came.
function stateOf({
  reply,
  body,
}: Seen): "waiting" | "leased" | "marked" | "cancelled" | "absent" | undefined {
  if (reply === undefined) return undefined;
  if (body.code === "item_not_found") return "absent";
  if (body.state === "leased") return body.cancelled === true ? "marked" : "leased";
  return body.state === "cancelled" ? "cancelled" : "waiting";
}

function textOf(base64: string | undefined): string {
  return Buffer.from(base64 ?? "", "base64").toString();
}

// What clients of the simulated server know, and what they send for a command: ids that they were given, stale
// ones among them, and items of which each has a number of its own.

import type { Command, IdPick, ItemChoice } from "./commands.ts";
import { KINDS, QUEUES, UNIQUE_KEYS } from "./commands.ts";
import { formatTime, type View } from "./observe.ts";
import { type Own, type Produced, traceOf, type Wish } from "./produced.ts";

const SECOND = 1_000_000;

interface KnownId {
  /** Of its place, or its lease. */
  readonly id: string;
  /** What it keeps wherever it is. */
  readonly itemId: string;
  readonly partition: number;
}

export interface Sent {
  readonly path: string;
  readonly request: Record<string, unknown>;
}

/** Commands that are a request. */
export type SentCommand = Exclude<
  Extract<Command, { readonly queue: number }>,
  { readonly kind: "create" | "update" }
>;

export class Clients {
  /** By the number of the item. */
  readonly produced = new Map<number, Produced>();
  items = 0;
  // By queue: ids of leases, and all ids ever.
  readonly #leased = new Map<string, KnownId[]>();
  readonly #known = new Map<string, KnownId[]>();
  readonly #partitions = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** What a command sends. */
  requestOf(command: SentCommand): Sent {
    const queue = QUEUES[command.queue]!;
    const request = { queue_name: queue };
    switch (command.kind) {
      case "produce": {
        const items = command.delays.map((delay) => ({
          ...this.#oldItem(queue),
          ...(delay === 0 ? {} : { enqueue_at: this.#in(delay) }),
        }));
        return { path: "queue.produce", request: { ...request, request_timeout: "30s", items } };
      }
      case "produce2": {
        const items = command.items.map((item) => this.#item(queue, item));
        const together = command.allOrNone ? { all_or_none: true } : {};
        return { path: "v2/queue.produce", request: { ...request, items, ...together } };
      }
      case "lease": {
        const { timeout, client, batch } = command;
        const who = { request_timeout: `${timeout}s`, client_id: `client ${client}` };
        return { path: "queue.lease", request: { ...request, ...who, batch_size: batch } };
      }
      case "lease2": {
        const { timeout, batch, kinds, seconds } = command;
        const choice = {
          ...(kinds.length > 0 && { kinds: kinds.map((kind) => KINDS[kind]) }),
          ...(seconds !== 0 && { lease_timeout: `${seconds}s` }),
        };
        const much = { request_timeout: `${timeout}s`, batch_size: batch };
        return { path: "v2/queue.lease", request: { ...request, ...much, ...choice } };
      }
      case "complete": {
        const { partition, ids } = this.#ids(queue, command.picks);
        const which = { partition, ids, request_timeout: "30s" };
        return { path: "queue.complete", request: { ...request, ...which } };
      }
      case "complete2": {
        const { ids } = this.#ids(queue, command.picks);
        const leases = ids.map((id) => ({ lease_id: id, result: id }));
        return {
          path: "v2/queue.complete",
          request: { ...request, leases, ...this.#followers(command) },
        };
      }
      case "retry": {
        const { partition, ids } = this.#ids(queue, command.picks);
        const items = ids.map((id, i) => {
          const { delay } = command.picks[i]!;
          if (delay === -1) return { id, dead: true };
          return delay === 0 ? { id } : { id, retry_at: this.#in(delay) };
        });
        return { path: "queue.retry", request: { ...request, partition, items } };
      }
      case "retry2": {
        const { ids } = this.#ids(queue, command.picks);
        const leases = ids.map((lease_id, i) => {
          const { delay } = command.picks[i]!;
          return {
            lease_id,
            error: { type: "Failed", message: lease_id },
            ...(delay === -1 ? {} : delay === 0 ? { delay: "0s" } : { at: this.#in(delay) }),
          };
        });
        return { path: "v2/queue.retry", request: { ...request, leases } };
      }
      case "reject": {
        const { ids } = this.#ids(queue, command.picks);
        const leases = ids.map((lease_id) => ({ lease_id, error: { message: lease_id } }));
        return { path: "v2/queue.reject", request: { ...request, leases } };
      }
      case "release": {
        const { ids } = this.#ids(queue, command.picks);
        const leases = ids.map((id, i) => {
          const { delay } = command.picks[i]!;
          return delay === 0 ? { lease_id: id } : { lease_id: id, at: this.#in(delay) };
        });
        return { path: "v2/queue.release", request: { ...request, leases } };
      }
      case "extend": {
        const { ids } = this.#ids(queue, command.picks);
        const leases = ids.map((id, i) => {
          return { lease_id: id, for: `${command.picks[i]!.seconds}s` };
        });
        return { path: "v2/queue.extend", request: { ...request, leases } };
      }
      case "cancel": {
        const id = this.#itemId(queue, command.pick);
        return { path: "v2/item.cancel", request: { ...request, id } };
      }
      case "change": {
        const { delay, expireIn, pick } = command;
        const id = this.#itemId(queue, pick);
        const change = {
          ...(delay !== -1 && { enqueue_at: this.#in(delay) }),
          ...(expireIn !== 0 && { expire_in: `${expireIn}s` }),
        };
        return { path: "v2/item.update", request: { ...request, id, ...change } };
      }
      case "clear": {
        const { items, destructive, scheduled } = command;
        return {
          path: "queue.clear",
          request: { ...request, queue: items, destructive, scheduled },
        };
      }
      case "delete-items": {
        const { partition, ids } = this.#ids(queue, command.picks);
        const valid = ids.filter((id) => id.length === 27);
        return { path: "storage/items.delete", request: { ...request, partition, ids: valid } };
      }
      case "import": {
        const items = command.sources.map((source) => ({
          payload: Buffer.from(String(++this.items)).toString("base64"),
          ...(source === 0 ? {} : { source_id: `source ${source}` }),
          ...(command.leased
            ? { is_leased: true, lease_deadline: this.#in(4_000), attempts: 1 }
            : {}),
        }));
        return { path: "storage/items.import", request: { ...request, items } };
      }
      case "reload":
        return { path: "queue.reload", request };
      case "delete":
        return { path: "queues.delete", request: { ...request, force: command.force } };
    }
  }

  #newItem(
    queue: string,
    own: Own,
    wish: Wish | undefined,
  ): { utf8: string; kind: string; traceparent?: string } {
    const n = ++this.items;
    const kind = KINDS[n % KINDS.length]!;
    const traceparent = traceOf(n);
    this.produced.set(n, { queue, kind, wish, own, traceparent });
    return { utf8: String(n), kind, ...(traceparent !== "" && { traceparent }) };
  }

  // /v1 knows nothing of traces.
  #oldItem(queue: string): { utf8: string; kind: string } {
    const { utf8, kind } = this.#newItem(queue, {}, undefined);
    const n = Number(utf8);
    this.produced.set(n, { ...this.produced.get(n)!, traceparent: "" });
    return { utf8, kind };
  }

  #item(queue: string, choice: ItemChoice): Record<string, unknown> {
    const { delay, unique, maxAttempts, expireIn, retryDelay } = choice;
    const wish =
      unique === undefined
        ? undefined
        : {
            key: UNIQUE_KEYS[unique.key]!,
            until: unique.until,
            period: unique.until === "period" ? unique.period * SECOND : 0,
            onDuplicate: unique.onDuplicate,
          };
    const own: Own = {
      ...(maxAttempts !== 0 && { maxAttempts }),
      ...(expireIn !== 0 && { expireIn: expireIn * SECOND }),
      ...(retryDelay !== 0 && { retryDelay: retryDelay * SECOND }),
    };
    return {
      ...this.#newItem(queue, own, wish),
      ...(delay !== 0 && { enqueue_at: this.#in(delay) }),
      ...(wish !== undefined && {
        unique_key: wish.key,
        on_duplicate: wish.onDuplicate,
        ...(wish.until === "period"
          ? { unique_for: `${unique!.period}s` }
          : { unique_while: wish.until }),
      }),
      ...(maxAttempts !== 0 && { max_attempts: maxAttempts }),
      ...(expireIn !== 0 && { expire_in: `${expireIn}s` }),
      ...(retryDelay !== 0 && { retry: { delay: `${retryDelay}s` } }),
    };
  }

  #followers({ follow, followers }: { follow: number; followers: number }): object {
    if (follow === -1) return {};
    const queue = QUEUES[follow]!;
    const items = Array.from({ length: followers }, () => this.#newItem(queue, {}, undefined));
    return { produce: [{ queue_name: queue, items }] };
  }

  #in(milliseconds: number): string {
    return formatTime(this.#now() + milliseconds * 1000);
  }

  // The ids that picks name; all of one request lie in one partition, that of the first.
  #ids(queue: string, picks: readonly IdPick[]): { partition: number; ids: string[] } {
    let partition: number | undefined;
    const ids = picks.map(({ from, index }) => {
      if (from === "nonsense") return index % 2 === 0 ? "no id" : "0".repeat(27);
      const all = (from === "leased" ? this.#leased : this.#known).get(queue) ?? [];
      const mine = all.filter((each) => partition === undefined || each.partition === partition);
      const found = mine[index % Math.max(mine.length, 1)];
      partition ??= found?.partition;
      return found?.id ?? "z".repeat(9).padStart(27, "0");
    });
    const count = this.#partitions.get(queue) ?? 1;
    return { partition: Math.min(partition ?? 0, count - 1), ids };
  }

  #itemId(queue: string, { from, index }: IdPick): string {
    const all = (from === "leased" ? this.#leased : this.#known).get(queue) ?? [];
    return all[index % Math.max(all.length, 1)]?.itemId ?? "0".repeat(27);
  }

  /** Clients know the ids that they were given; stale ones stay known. */
  learn(view: View): void {
    for (const queue of view.queues.values()) {
      const leased: KnownId[] = [];
      const known = this.#known.get(queue.name) ?? [];
      const ids = new Set(known.map(({ id }) => id));
      for (const [partition, { items, scheduled }] of queue.partitions.entries()) {
        for (const { id, itemId, isLeased } of [...items, ...scheduled]) {
          if (isLeased) leased.push({ id, itemId, partition });
          if (!ids.has(id)) known.push({ id, itemId, partition });
        }
      }
      this.#leased.set(queue.name, leased);
      this.#known.set(queue.name, known.slice(-60));
      this.#partitions.set(queue.name, queue.partitions.length);
    }
  }
}

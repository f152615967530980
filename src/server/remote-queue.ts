// A queue that is at home on another thread: every call travels there and back. What there is for each
// item is packed, so that a batch of items costs a few objects; requests are by packing.ts.

import {
  type AnyHotRequest,
  type ClearOptions,
  type DeadQueue,
  IdSpace,
  IdSpaces,
  type ImportedItem,
  type ImportResult,
  type LeaseRequest,
  type ListedItem,
  type PageOptions,
  type QueueHandle,
  type QueueRules,
  type QueueStats,
} from "../queue/queue.ts";
import { packRecords, unpackRecords } from "../storage/rows/records.ts";
import type { Link } from "./link.ts";
import { packRequest, unpackAnswer } from "./packing.ts";
import type { PackedItems, QueueCalls } from "./queue-calls.ts";

export class RemoteQueue implements QueueHandle {
  readonly name: string;
  readonly #ids: IdSpaces;
  readonly #link: Link<QueueCalls>;

  /** A queue by its name, and what its ids begin with, partition by partition. */
  constructor(name: string, idPrefixes: readonly string[], link: Link<QueueCalls>) {
    this.name = name;
    this.#ids = new IdSpaces(idPrefixes.map((prefix) => new IdSpace(prefix)));
    this.#link = link;
  }

  get partitionCount(): number {
    return this.#ids.count;
  }

  ids(partition: number): IdSpace {
    return this.#ids.of(partition);
  }

  partitionOf(id: string): number {
    return this.#ids.partitionOf(id);
  }

  async submit<R extends AnyHotRequest>(request: R): Promise<R["result"]> {
    const { kind } = request;
    const answer = await this.#link.call("submit", this.name, kind, ...packRequest(request));
    return unpackAnswer(kind, answer) as R["result"];
  }

  cancel({ ticket }: LeaseRequest): void {
    this.#link.call("cancel", this.name, ticket).catch(() => undefined);
  }

  giveBack(partition: number, ids: readonly string[]): void {
    this.#link.call("giveBack", this.name, partition, ids).catch(() => undefined);
  }

  stats(): Promise<QueueStats> {
    return this.#link.call("stats", this.name);
  }

  clear(options: ClearOptions): Promise<void> {
    return this.#link.call("clear", this.name, options);
  }

  reload(): Promise<void> {
    return this.#link.call("reload", this.name);
  }

  async list(
    partition: number,
    { isGone, ...options }: PageOptions,
  ): Promise<readonly ListedItem[]> {
    if (isGone?.() === true) return [];
    return unpackItems(await this.#link.call("list", this.name, partition, options));
  }

  async import(
    partition: number,
    items: readonly ImportedItem[],
  ): Promise<readonly ImportResult[]> {
    const records = packRecords(items.map(({ record }) => record));
    const rest = items.map(({ record: _, ...each }) => each);
    const result = await this.#link.call("import", this.name, partition, rest, records);
    return unpackItems(result).map((item, i) => ({ ...item, status: result.statuses[i]! }));
  }

  delete(partition: number, ids: readonly string[]): Promise<readonly string[]> {
    return this.#link.call("delete", this.name, partition, ids);
  }

  pause(): Promise<void> {
    return this.#link.call("pause", this.name);
  }

  resume(): Promise<void> {
    return this.#link.call("resume", this.name);
  }

  configure(rules: QueueRules): Promise<void> {
    return this.#link.call("configure", this.name, rules);
  }

  get deadQueue(): DeadQueue {
    return {
      deadStorage: undefined,
      deliver: async (letters) => {
        const sourceIds = letters.map(({ sourceId }) => sourceId);
        const records = packRecords(letters.map(({ record }) => record));
        await this.#link.call("deliver", this.name, sourceIds, records);
      },
    };
  }
}

function unpackItems({ items, records }: PackedItems): readonly ListedItem[] {
  const unpacked = unpackRecords(records);
  return items.map((item, i) => ({ ...item, record: unpacked[i]! }));
}

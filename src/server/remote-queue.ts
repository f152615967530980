// A queue that is at home on another thread: every call travels there and back. Requests are packed by
// packing.ts; what operators ask for is forwarded by its name, whatever it is.

import {
  type AnyHotRequest,
  IdSpace,
  IdSpaces,
  type Intake,
  type LeaseRequest,
  type ListedItem,
  type PageOptions,
  type QueueHandle,
  type QueueOperations,
} from "../queue/queue.ts";
import type { Link } from "./link.ts";
import { packItems, unpackItems } from "./packed-items.ts";
import { packRequest, unpackAnswer } from "./packing.ts";
import type { QueueCalls } from "./queue-calls.ts";

const Forwarded = forwarding<QueueOperations>({
  stats: true,
  consumers: true,
  clear: true,
  reload: true,
  list: true,
  import: true,
  delete: true,
  find: true,
  listEnded: true,
  cancelItem: true,
  updateItem: true,
  watch: true,
  unwatch: true,
  explain: true,
  recall: true,
  remember: true,
  forget: true,
  deadGroups: true,
  redrive: true,
  redrives: true,
  sentTo: true,
  redriveInfo: true,
  cancelRedrive: true,
  pause: true,
  resume: true,
  configure: true,
});

export class RemoteQueue extends Forwarded implements QueueHandle {
  readonly name: string;
  readonly #ids: IdSpaces;
  readonly #link: Link<QueueCalls>;

  /** A queue by its name, and what its ids begin with, partition by partition. */
  constructor(name: string, idPrefixes: readonly string[], link: Link<QueueCalls>) {
    super();
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

  override async list(
    partition: number,
    { isGone, ...options }: PageOptions,
  ): Promise<readonly ListedItem[]> {
    return isGone?.() === true ? [] : super.list(partition, options);
  }

  get intake(): Intake {
    return {
      storage: undefined,
      deliver: (letters, _, how) =>
        this.#link.call("deliver", this.name, packItems(letters), how?.patience),
    };
  }

  override async forward(
    method: keyof QueueOperations,
    args: readonly unknown[],
  ): Promise<unknown> {
    return unpackItems(await this.#link.call("operate", this.name, method, args.map(packItems)));
  }
}

interface Forwards<T> {
  forward(method: keyof T, args: readonly unknown[]): Promise<unknown>;
}

// A class with these methods, each of which only calls `forward` of the class that extends it.
function forwarding<T>(
  methods: Readonly<Record<keyof T & string, true>>,
): abstract new () => T & Forwards<T> {
  abstract class Forwarding implements Forwards<T> {
    abstract forward(method: keyof T, args: readonly unknown[]): Promise<unknown>;
  }
  for (const method of Object.keys(methods) as (keyof T & string)[]) {
    Object.defineProperty(Forwarding.prototype, method, {
      value(this: Forwarding, ...args: readonly unknown[]) {
        return this.forward(method, args);
      },
    });
  }
  return Forwarding as unknown as abstract new () => T & Forwards<T>;
}

// A storage that does as a test tells it: fails, loses its reply, fails half-way, or waits. It
// also counts what is written, so that a test can say how often an item was.

import type { PartitionChanges, Storage } from "../../src/storage/storage.ts";

/**
 * fail: nothing happens, and the call rejects. lose-reply: everything happens, and the call
 * rejects. half-way: the driver begins, meets something it cannot do, and must undo the rest.
 * wait: nothing happens until `release` is called. pass: no fault, so that the next one comes later.
 */
export type Fault = "fail" | "lose-reply" | "half-way" | "wait" | "pass";

type Method = {
  [K in keyof Storage]-?: Storage[K] extends (...args: never[]) => Promise<unknown> ? K : never;
}[keyof Storage];

export class FaultyStorage {
  /** The storage to hand to the code under test. */
  readonly storage: Storage;
  /** All commits that were asked for. */
  readonly commits: (readonly PartitionChanges[])[] = [];
  readonly #inner: Storage;
  readonly #next = new Map<string, Fault[]>();
  readonly #always = new Map<string, Fault>();
  #waiting: (() => void)[] = [];
  #onWait: (() => void)[] = [];

  constructor(inner: Storage) {
    this.#inner = inner;
    this.storage = new Proxy(inner, {
      get: (target, key) => {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== "function") return member;
        return (...args: unknown[]) => this.#call(String(key), args);
      },
    });
  }

  /** The next call of a method has this fault, the one after it the next that was asked for. */
  next(method: Method, ...faults: Fault[]): void {
    this.#next.set(method, [...(this.#next.get(method) ?? []), ...faults]);
  }

  /** Every call of a method has this fault until `heal`. */
  always(method: Method, fault: Fault): void {
    this.#always.set(method, fault);
  }

  heal(): void {
    this.#next.clear();
    this.#always.clear();
  }

  /** Resolves when a call waits. */
  waits(): Promise<void> {
    if (this.#waiting.length > 0) return Promise.resolve();
    return new Promise((resolve) => this.#onWait.push(resolve));
  }

  /** Lets all calls that wait go on. */
  release(): void {
    for (const go of this.#waiting.splice(0)) go();
  }

  /** How often commits wrote an item: added, marked as leased, moved or removed it. */
  writesOf(seq: number): number {
    let writes = 0;
    const within = (range: { first: number; last: number }): boolean =>
      range.first <= seq && seq <= range.last;
    for (const change of this.commits.flat()) {
      writes += [...change.adds, ...change.addsScheduled].filter((item) => item.seq === seq).length;
      writes += change.leases.filter(within).length;
      writes += change.moves.filter((m) => m.fromSeq === seq || m.toSeq === seq).length;
      writes += [...change.removes, ...change.removesScheduled].filter(within).length;
    }
    return writes;
  }

  async #call(method: string, args: unknown[]): Promise<unknown> {
    const inner = (given: unknown[]): Promise<unknown> =>
      Reflect.apply(Reflect.get(this.#inner, method) as () => Promise<unknown>, this.#inner, given);
    if (method === "commit") this.commits.push(args[0] as readonly PartitionChanges[]);
    switch (this.#next.get(method)?.shift() ?? this.#always.get(method)) {
      case "fail":
        throw new Error(`${method} fails because the test says so`);
      case "lose-reply":
        await inner(args);
        throw new Error(`the reply to ${method} is lost because the test says so`);
      case "half-way": {
        const changes = args[0] as readonly PartitionChanges[];
        await inner([[...changes, { ...changes[0]!, partition: Number.MAX_SAFE_INTEGER }]]);
        throw new Error("half a commit was accepted");
      }
      case "wait":
        await new Promise<void>((resolve) => {
          this.#waiting.push(resolve);
          for (const resolveWait of this.#onWait.splice(0)) resolveWait();
        });
        return inner(args);
      default:
        return inner(args);
    }
  }
}

// A storage as one run of the simulated server sees it. It lies over a disk that outlives the
// server, does as the simulation tells it - fails, loses its reply, hangs, takes its time - and
// dies with its server: once that has crashed, no call has an effect or an end. Deterministic:
// time is counted in turns of the event loop, never in milliseconds.

import type { Storage } from "../../src/storage/storage.ts";

/**
 * fail: nothing happens, the call rejects. lose: everything happens, the call rejects. hang-*: the
 * call waits until `release`, then happens (hang), or is a `fail` or a `lose` after all.
 */
export type Fault = "fail" | "lose" | "hang" | "hang-fail" | "hang-lose";

/** What a storage that fails because it was told to throws. */
export class InjectedError extends Error {}

export const METHODS = [
  "commit",
  "createPartitions",
  "dropPartitions",
  "sweep",
  "loadPartition",
  "listPartitions",
  "readItems",
  "readScheduled",
  "readExpiries",
  "findKeys",
  "listKeys",
  "putQueues",
  "deleteQueue",
] as const satisfies readonly (keyof Storage)[];

export type Method = (typeof METHODS)[number];

/** What all storages of one run of the server share. */
export interface Run {
  /** Counts everything that happens, so that it is known when nothing does any more. */
  activity: number;
  /** Calls that a disk has not answered yet: something will still happen. */
  onDisk: number;
  /** Storage calls until the server crashes, before or after the last of them. */
  crashAfter: { calls: number; applied: boolean } | undefined;
  crashed: boolean;
  onCrash(): void;
}

interface ArmedFault {
  readonly method: Method;
  readonly fault: Fault;
}

export class FragileStorage {
  readonly storage: Storage;
  readonly #disk: Storage;
  readonly #run: Run;
  #faults: ArmedFault[] = [];
  #hanging: (() => void)[] = [];
  /** Turns of the event loop that each call takes. */
  latency = 0;

  constructor(disk: Storage, run: Run) {
    this.#disk = disk;
    this.#run = run;
    this.storage = new Proxy(disk, {
      get: (target, key) => {
        const member: unknown = Reflect.get(target, key, target);
        if (!(METHODS as readonly unknown[]).includes(key)) {
          if (typeof member !== "function") return member;
          return (...args: unknown[]) => this.#wait(member.apply(target, args));
        }
        return (...args: unknown[]) => this.#call(key as Method, args);
      },
    });
  }

  // What has no faults takes its time all the same.
  #wait(result: unknown): unknown {
    if (!(result instanceof Promise)) return result;
    this.#run.onDisk++;
    return result.finally(() => {
      this.#run.onDisk--;
    });
  }

  /** The next call of the method that has no fault yet gets this one. */
  arm(method: Method, fault: Fault): void {
    this.#faults.push({ method, fault });
  }

  get isArmed(): boolean {
    return this.#faults.length > 0;
  }

  get isHanging(): boolean {
    return this.#hanging.length > 0;
  }

  /** Lets all calls that hang go on. */
  release(): void {
    for (const go of this.#hanging.splice(0)) go();
  }

  /** From now on everything works at once; what hangs goes on. */
  heal(): void {
    this.#faults = [];
    this.latency = 0;
    this.release();
  }

  async #call(method: Method, args: unknown[]): Promise<unknown> {
    const run = this.#run;
    const dead = new Promise<never>(() => undefined);
    if (run.crashed) return dead;
    run.activity++;
    for (let i = 0; i < this.latency; i++) await new Promise(setImmediate);
    const armed = this.#faults.findIndex((each) => each.method === method);
    const fault = armed === -1 ? undefined : this.#faults.splice(armed, 1)[0]!.fault;
    if (fault?.startsWith("hang") === true) {
      await new Promise<void>((resolve) => this.#hanging.push(resolve));
    }
    if (run.crashed) return dead;
    run.activity++;
    const crash = run.crashAfter;
    const crashes = crash !== undefined && --crash.calls <= 0;
    if (crashes && !crash.applied) {
      run.onCrash();
      return dead;
    }
    if (fault === "fail" || fault === "hang-fail") throw new InjectedError(`${method} fails`);
    const disk = this.#disk as unknown as Record<Method, (...args: unknown[]) => Promise<unknown>>;
    run.onDisk++;
    const result = await disk[method](...args).finally(() => {
      run.onDisk--;
    });
    if (crashes) {
      run.onCrash();
      return dead;
    }
    if (fault === "lose" || fault === "hang-lose")
      throw new InjectedError(`the reply of ${method} is lost`);
    return result;
  }
}

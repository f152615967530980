// The simulated world: one virtual clock, disks that outlive the server, the server's queues and
// endpoints on top of them, and the calls of clients. It goes through the same handlers as HTTP,
// without sockets. Everything happens in turns of one event loop, in an order that depends on the
// commands alone.

import { makeEndpoints } from "../../src/api/routes.ts";
import { ANYONE } from "../../src/auth/principal.ts";
import type { AuthService } from "../../src/auth/service.ts";
import { AuthState } from "../../src/auth/state.ts";
import { type CancelTimer, type Clock, VirtualClock } from "../../src/clock.ts";
import { QueueError, type Refusal, SomeRefusedError } from "../../src/errors.ts";
import type { Endpoint } from "../../src/http/edge.ts";
import { DEFAULT_LIMITS, type Limits } from "../../src/limits.ts";
import { Turns } from "../../src/queue/queue.ts";
import { Accounts } from "../../src/quotas.ts";
import { Directory } from "../../src/registry/directory.ts";
import { LocalHome } from "../../src/registry/homes.ts";
import { Queues } from "../../src/registry/queues.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { FragileStorage, InjectedError, type Run } from "./fragile-storage.ts";

/** What became of a call: a client that is gone or lost its server does not know. */
export type CallState = "pending" | "answered" | "gone" | "lost";

export interface Call {
  readonly number: number;
  readonly path: string;
  readonly request: Record<string, unknown>;
  /** Microseconds since 1970, as if the wall clock had always been set as it is now. */
  startedAt: number;
  endedAt: number;
  state: CallState;
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: replies have every shape
  body: any;
  /** With an error: what was refused. */
  refusals: readonly Refusal[] | undefined;
  gone: (() => void) | undefined;
}

export interface WorldOptions {
  readonly limits?: Partial<Limits>;
  /** Opens the disk of this name as it is after the last run. */
  readonly openDisk: (name: string) => Promise<Storage>;
}

export const DISKS = ["a", "b"] as const;

/** Whether a call is one that waits for items. */
export function isLease({ path }: Call): boolean {
  return path === "queue.lease" || path === "v2/queue.lease";
}

// So many turns without any activity mean that nothing will happen by itself.
const QUIET_TURNS = 30;
const TURNS_MAX = 20_000;

/** A clock that stops ringing when its server has crashed. */
class MortalClock implements Clock {
  readonly #clock: Clock;
  readonly #run: Run;
  readonly #cancels = new Set<CancelTimer>();

  constructor(clock: Clock, run: Run) {
    this.#clock = clock;
    this.#run = run;
  }

  now(): number {
    return this.#clock.now();
  }

  steady(): number {
    return this.#clock.steady();
  }

  get isStill(): boolean {
    return this.#clock.isStill;
  }

  wakeAfter(duration: number, wake: () => void): CancelTimer {
    return this.#unlessDead((alive) => this.#clock.wakeAfter(duration, alive), wake);
  }

  wakeAt(at: number, wake: () => void): CancelTimer {
    return this.#unlessDead((alive) => this.#clock.wakeAt(at, alive), wake);
  }

  #unlessDead(set: (alive: () => void) => CancelTimer, wake: () => void): CancelTimer {
    if (this.#run.crashed) return () => undefined;
    const cancel = set(() => {
      this.#cancels.delete(cancel);
      this.#run.activity++;
      wake();
    });
    this.#cancels.add(cancel);
    return cancel;
  }

  kill(): void {
    for (const cancel of this.#cancels) cancel();
  }
}

/** One life of the server. */
interface Server {
  readonly run: Run;
  readonly clock: MortalClock;
  readonly disks: readonly Storage[];
  readonly storages: readonly FragileStorage[];
  readonly queues: Queues;
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly waiting: { leases: number; items: number };
  readonly budget: { bytes: number };
}

export class World {
  readonly clock = new VirtualClock();
  readonly calls: Call[] = [];
  readonly limits: Limits;
  readonly #options: WorldOptions;
  #server: Server | undefined;
  #random = 0;

  private constructor(options: WorldOptions) {
    this.#options = options;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
  }

  static async open(options: WorldOptions): Promise<World> {
    const world = new World(options);
    await world.start(false);
    return world;
  }

  get server(): Server {
    if (this.#server === undefined) throw new Error("the server is not running");
    return this.#server;
  }

  get hasCrashed(): boolean {
    return this.#server?.run.crashed !== false;
  }

  storage(index: number): FragileStorage {
    return this.server.storages[index]!;
  }

  /** Starts the server on what the disks hold; the second disk may be away for the time being. */
  async start(secondIsAway: boolean): Promise<void> {
    const run: Run = {
      activity: 0,
      onDisk: 0,
      crashAfter: undefined,
      crashed: false,
      onCrash: () => this.#crashed(),
    };
    const disks = await Promise.all(DISKS.map((name) => this.#options.openDisk(name)));
    const storages = disks.map((disk) => new FragileStorage(disk, run));
    if (secondIsAway) storages[1]!.arm("listPartitions", "fail");
    const clock = new MortalClock(this.clock, run);
    const waiting = { leases: 0, items: 0 };
    const budget = { bytes: 0 };
    const log = {
      debug() {},
      info() {},
      warn() {},
      error: (fields: unknown, text?: string) => this.#logged(fields, text),
    };
    const directory = new Directory();
    const home = new LocalHome({
      context: {
        clock,
        limits: this.limits,
        log,
        turns: new Turns(),
        budget,
        waiting,
        random: () => 0.5,
      },
      storages: new Map(storages.map(({ storage }) => [storage.name, storage])),
      directory,
    });
    const queues = await Queues.open({
      clock,
      log,
      limits: this.limits,
      records: storages[0]!.storage,
      partitions: storages.map(({ storage }) => ({ storage, affinity: 1, home: 0 })),
      homes: [home],
      directory,
      randomBytes: (size) => this.#bytes(size),
    });
    const endpoints = makeEndpoints({
      queues,
      auth: { isOn: false, state: new AuthState(clock), accounts: new Accounts() } as AuthService,
      audit: { record: async () => undefined, deny: () => undefined, list: async () => [] },
      overview: undefined as never,
      clock,
      limits: this.limits,
      checkRunning: () => undefined,
    });
    this.#server = { run, clock, disks, storages, queues, endpoints, waiting, budget };
  }

  // A defect of the loop is logged and survived; the simulation must not survive it.
  defect: string | undefined;
  #logged(fields: unknown, text: string | undefined): void {
    if (text !== "queue loop failed" && text !== "operation failed") return;
    const { err } = fields as { err: Error };
    if (err instanceof InjectedError) return;
    this.defect = `${text}: ${err.stack}`;
  }

  // Bytes that are as different as random ones, and the same in each run.
  #bytes(size: number): Buffer {
    const bytes = Buffer.alloc(size);
    for (let i = 0; i < size; i++) {
      this.#random = (Math.imul(this.#random, 1_664_525) + 1_013_904_223) >>> 0;
      bytes[i] = this.#random >>> 24;
    }
    return bytes;
  }

  // --- calls ---

  /** Sends a request; the call changes as it is answered. */
  call(path: string, request: Record<string, unknown>): Call {
    const call: Call = {
      number: this.calls.length,
      path,
      request,
      startedAt: this.clock.now(),
      endedAt: 0,
      state: "pending",
      status: 0,
      body: undefined,
      refusals: undefined,
      gone: undefined,
    };
    this.calls.push(call);
    const { endpoints, run } = this.server;
    const body = Buffer.from(JSON.stringify(request));
    const exchange = {
      requestId: "",
      idempotencyKey: "",
      namespace: "",
      principal: ANYONE,
      address: "",
      isGone: () => call.state === "gone",
      onGone(gone: () => void) {
        call.gone = gone;
      },
    };
    const answer = (status: number, reply: unknown): void => {
      if (call.state !== "pending") return;
      run.activity++;
      call.state = "answered";
      call.endedAt = this.clock.now();
      call.status = status;
      call.body = reply;
    };
    const handle = async (): Promise<void> => {
      try {
        const whole = path.startsWith("v2/") ? `/${path}` : `/v1/${path}`;
        const reply = await endpoints.get(whole)!.handle(body, "json", exchange);
        answer(200, JSON.parse(reply.encode("json").toString()));
      } catch (error) {
        if (!(error instanceof QueueError)) this.defect = `${path}: ${(error as Error).stack}`;
        else {
          if (error instanceof SomeRefusedError) call.refusals = error.results;
          answer(error.status, error.message);
        }
      }
    };
    void handle();
    return call;
  }

  /** Sends a request and waits for the answer, which must come without time passing. */
  async ask(path: string, request: Record<string, unknown>): Promise<Call> {
    const call = this.call(path, request);
    await this.settle();
    if (call.state !== "answered") throw new Error(`${path} is not answered: the server is stuck`);
    return call;
  }

  /** The client of a waiting lease goes away. */
  disconnect(call: Call): void {
    if (call.state !== "pending") return;
    call.state = "gone";
    call.endedAt = this.clock.now();
    call.gone?.();
  }

  get pending(): readonly Call[] {
    return this.calls.filter((call) => call.state === "pending");
  }

  /** Leases that wait for items. */
  get waitingLeases(): readonly Call[] {
    return this.pending.filter(isLease);
  }

  // --- time, and the end of the server ---

  /** Lets everything happen that happens by itself while the clock stands still. */
  async settle(): Promise<void> {
    let quiet = 0;
    let seen = -1;
    for (let turn = 0; quiet < QUIET_TURNS; turn++) {
      if (turn > TURNS_MAX) throw new Error("the server is busy without end");
      // A disk that is asked over the network answers some turns later.
      do await new Promise(setImmediate);
      while ((this.#server?.run.onDisk ?? 0) > 0);
      const activity = this.#server?.run.activity ?? 0;
      quiet = activity === seen ? quiet + 1 : 0;
      seen = activity;
    }
    if (this.defect !== undefined) throw new Error(this.defect);
  }

  /** Somebody sets the wall clock; no time passes. */
  step(by: number): void {
    for (const call of this.pending) call.startedAt += by;
    this.clock.step(by);
  }

  /** The server ends between two turns, as if it had been killed. */
  crash(): void {
    if (!this.hasCrashed) this.#crashed();
  }

  #crashed(): void {
    const { run, clock } = this.server;
    run.crashed = true;
    clock.kill();
    for (const call of this.pending) {
      call.state = "lost";
      call.endedAt = this.clock.now();
    }
  }

  /** The server is told to stop, and ends what it is doing; everything that waits is answered. */
  async stop(): Promise<void> {
    const { queues, run } = this.server;
    const closing = queues.close();
    await this.settle();
    await closing;
    await this.settle();
    run.crashed = true;
    this.server.clock.kill();
  }
}

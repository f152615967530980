// One simulated history: turns commands into what clients and the outside world do, lets the server
// work, looks at everything whenever it is quiet, and has each window checked. What it prints is the
// history in words, the same for the same commands.

import { IdSpace } from "../../src/queue/ids.ts";
import { KEY } from "../../src/queue/keys.ts";
import type { KeyEntry } from "../../src/storage/storage.ts";
import { Auditor } from "./auditor.ts";
import { boundIn, mayRedrive } from "./checks.ts";
import { Clients, type SentCommand } from "./clients.ts";
import { type Command, DEAD_QUEUE, QUEUES, type SettingsChoice, UNIQUE_KEYS } from "./commands.ts";
import { checkCalm } from "./model.ts";
import { numberLeased, observe, type Settings, type View } from "./observe.ts";
import type { AllProduced } from "./produced.ts";
import { type Call, isLease, World, type WorldOptions } from "./world.ts";

const SECOND = 1_000_000;

// What a queue is that says nothing of it.
const USUAL = {
  retryDelay: 0,
  retryFactor: 2,
  retryMaxDelay: 3_600 * SECOND,
  retryJitter: 0.2,
  onLeaseEnd: "retry_now" as const,
  keep: 0,
  keepMax: 10_000,
};

/** The figures of a history that has not begun. */
export const NO_FIGURES = {
  commands: 0,
  calls: 0,
  windows: 0,
  calmWindows: 0,
  crashes: 0,
  faults: 0,
  items: 0,
};

/** Figures of one history. */
export type RunFigures = typeof NO_FIGURES;

export class Simulation {
  readonly history: string[] = [];
  readonly figures: RunFigures = { ...NO_FIGURES };
  readonly #world: World;
  readonly #clients: Clients;
  readonly #auditor: Auditor;
  #view: View;
  // Since the last view.
  #calls: Call[] = [];
  // How many of them have been under way since before it.
  #waiting = 0;
  #settings = new Map<string, Settings[]>();
  #hasTrouble = false;
  #isExact = true;
  #hasAdvanced = false;
  #drains = 0;

  private constructor(world: World) {
    this.#world = world;
    this.#clients = new Clients(() => world.clock.now());
    this.#auditor = new Auditor(this.#clients.produced);
    this.#view = { at: world.clock.now(), steady: world.clock.steady(), queues: new Map() };
  }

  static async start(options: WorldOptions): Promise<Simulation> {
    const simulation = new Simulation(await World.open(options));
    const usual = { lease: 10, expire: 86_400, maxAttempts: 0, hasDeadQueue: true };
    for (const queue of [DEAD_QUEUE, 0, 1, 2]) {
      const settings = { ...usual, partitions: queue + 1, maxAttempts: queue };
      const one = { kind: "create" as const, queue, settings, together: false };
      await simulation.#do({
        ...one,
        settings: queue === DEAD_QUEUE ? { ...settings, partitions: 1 } : settings,
      });
    }
    return simulation;
  }

  /** Ends the server of a history that has broken something: it may never come to rest by itself. */
  abandon(): void {
    this.#world.crash();
  }

  /** Runs a whole history, and then lets everything come to its end. Throws if a check fails. */
  async run(commands: readonly Command[]): Promise<void> {
    for (const command of commands) await this.#do(command);
    await this.#do({ kind: "heal", together: false });
    await this.#drain();
    this.figures.calls = this.#world.calls.length;
    this.figures.items = this.#clients.items;
  }

  async #do(command: Command): Promise<void> {
    this.figures.commands++;
    if (this.#world.hasCrashed) await this.#restart(false);
    this.history.push(describe(command));
    await this.#act(command);
    if (command.together && command.kind !== "step") return;
    await this.#world.settle();
    if (this.#world.hasCrashed) await this.#restart(false);
    await this.#check();
  }

  async #act(command: Command): Promise<void> {
    const world = this.#world;
    switch (command.kind) {
      case "advance":
        // Time passes when everything has happened that was asked for before.
        await world.settle();
        if (this.#hasAdvanced) this.#isExact = false;
        this.#hasAdvanced = true;
        world.clock.advance(command.seconds * SECOND);
        return;
      case "step":
        // A window of its own, so that in every other both clocks go on together. Not while anything
        // is wrong: then there may be no window.
        await world.settle();
        if (this.#hasTrouble || world.hasCrashed) return;
        await this.#check();
        world.step(Math.round(command.seconds * SECOND));
        this.#isExact = false;
        return;
      case "disconnect": {
        const waiting = world.waitingLeases;
        const call = waiting[command.index % Math.max(waiting.length, 1)];
        if (call !== undefined) world.disconnect(call);
        this.#isExact = false;
        return;
      }
      case "fault":
        this.#trouble();
        this.figures.faults++;
        world.storage(command.storage).arm(command.method, command.fault);
        return;
      case "slow":
        this.#trouble();
        world.storage(command.storage).latency = command.turns;
        return;
      case "heal":
        if (!this.#hasTrouble) return;
        world.server.run.crashAfter = undefined;
        for (const storage of world.server.storages) storage.heal();
        await world.settle();
        // Until everything that rests after a failure has been tried again.
        for (let i = 0; i < 4 && !world.hasCrashed; i++) {
          world.clock.advance(2 * SECOND);
          await world.settle();
        }
        return;
      case "crash":
        this.#trouble();
        if (command.calls === 0) world.crash();
        else world.server.run.crashAfter = { calls: command.calls, applied: command.applied };
        return;
      case "restart":
        this.#trouble();
        world.server.run.crashAfter = undefined;
        for (const storage of world.server.storages) storage.heal();
        await world.stop();
        await this.#restart(command.secondIsAway);
        return;
      case "create":
      case "update":
        this.#configure(command.kind, command.queue, command.settings);
        return;
      case "redrive": {
        const { to, limit } = command;
        this.#call("v2/queue.redrive", {
          queue_name: QUEUES[DEAD_QUEUE],
          ...(to !== -1 && { to: QUEUES[to] }),
          ...(limit !== 0 && { limit }),
        });
        return;
      }
      default: {
        const { path, request } = this.#clients.requestOf(command satisfies SentCommand);
        this.#call(path, request);
      }
    }
  }

  #trouble(): void {
    this.#hasTrouble = true;
    this.#isExact = false;
  }

  async #restart(secondIsAway: boolean): Promise<void> {
    this.#trouble();
    this.figures.crashes++;
    this.history.push("  the server starts again");
    await this.#world.start(secondIsAway);
    await this.#world.settle();
  }

  // --- what clients send ---

  #configure(kind: "create" | "update", queue: number, choice: SettingsChoice): void {
    const name = QUEUES[queue]!;
    const { policy } = choice;
    // An item whose copy lies in the dead queue of another storage, while its removal here has
    // failed, must not be given more leases before that is repeated: it would be there twice.
    // docs/RELIABILITY.md says so.
    const rules = kind === "update" && this.#hasTrouble ? this.#rulesOfDeath(name) : {};
    const said = {
      leaseTimeout: choice.lease * SECOND,
      expireTimeout: choice.expire * SECOND,
      maxAttempts: choice.maxAttempts,
      deadQueue: choice.hasDeadQueue && queue !== DEAD_QUEUE ? QUEUES[DEAD_QUEUE]! : "",
      ...(policy !== undefined && {
        retryDelay: policy.retryDelay * SECOND,
        retryFactor: policy.retryFactor,
        retryMaxDelay: policy.retryMaxDelay * SECOND,
        retryJitter: 0.2,
        onLeaseEnd: policy.onLeaseEnd,
        keep: policy.keep * SECOND,
        keepMax: policy.keepMax,
      }),
      ...rules,
    };
    const before = this.#settings.get(name) ?? [];
    const now = this.#view.queues.get(name)?.settings;
    // Of what it does not name an update leaves what there is.
    const bases = kind === "create" ? [USUAL] : [...before, ...(now === undefined ? [] : [now])];
    const settings = bases.map((base) => ({ ...base, ...said }));
    this.#settings.set(name, [...before, ...settings]);
    const { deadQueue, maxAttempts } = said;
    const request = {
      queue_name: name,
      lease_timeout: `${choice.lease}s`,
      expire_timeout: `${choice.expire}s`,
      max_attempts: maxAttempts,
      requested_partitions: choice.partitions,
      dead_queue: deadQueue,
    };
    if (policy === undefined) this.#call(`queues.${kind}`, request);
    else {
      const last = settings.at(-1);
      this.#call(`v2/queues.${kind}`, {
        ...request,
        retry: {
          delay: `${policy.retryDelay}s`,
          factor: policy.retryFactor,
          max_delay: `${policy.retryMaxDelay}s`,
          jitter: 0.2,
        },
        on_lease_end: last?.onLeaseEnd ?? policy.onLeaseEnd,
        keep_completed: `${policy.keep}s`,
        keep_max: policy.keepMax,
      });
    }
  }

  #rulesOfDeath(name: string): Partial<Settings> {
    const settings = this.#view.queues.get(name)?.settings;
    if (settings === undefined) return { maxAttempts: 0, deadQueue: "" };
    const { maxAttempts, deadQueue, onLeaseEnd } = settings;
    return { maxAttempts, deadQueue, onLeaseEnd };
  }

  #call(path: string, request: Record<string, unknown>): void {
    const call = this.#world.call(path, request);
    this.#calls.push(call);
    this.history.push(`  ${call.number} ${path} ${JSON.stringify(request)}`);
  }

  // --- checks ---

  async #check(): Promise<void> {
    const world = this.#world;
    const { storages, run } = world.server;
    if (run.crashAfter !== undefined) return;
    if (storages.some((storage) => storage.isHanging || storage.isArmed)) return;
    // Work that waits for a partition to recover waits for time.
    if (this.#hasTrouble) await this.#act({ kind: "heal", together: false });
    // A redrive waits a moment for another queue that waits for its own, and so may whoever asks either.
    const isRedriving = mayRedrive({ before: this.#view, calls: this.#calls });
    if (this.#calls.some(reachesOut) || isRedriving) {
      this.#isExact = false;
      for (let i = 0; i < 3; i++) {
        world.clock.advance(0.6 * SECOND);
        await world.settle();
      }
    }
    if (world.hasCrashed) await this.#restart(false);
    const stuck = world.pending.filter((call) => !isLease(call));
    if (stuck.length > 0) throw new Error(`call ${stuck[0]!.number} is never answered`);
    const calls = [...this.#calls];
    const after = await observe(world);
    for (const call of calls) this.history.push(`  ${call.number} = ${outcome(call)}`);
    const window = {
      before: this.#view,
      after,
      calls,
      fresh: calls.slice(this.#waiting),
      hasTrouble: this.#hasTrouble,
      settings: this.#settings,
    };
    const { holds } = this.#auditor;
    this.#auditor.check(window);
    checkNotStuck(after, world, this.#clients.produced);
    this.figures.windows++;
    if (
      this.#isExact &&
      checkCalm(window, this.#hasAdvanced, holds, (queue, n) => this.#auditor.ownOf(queue, n))
    )
      this.figures.calmWindows++;
    this.#clients.learn(after);
    this.#view = after;
    this.#calls = [...world.pending];
    this.#waiting = this.#calls.length;
    this.#settings.clear();
    this.#hasTrouble = false;
    this.#isExact = true;
    this.#hasAdvanced = false;
  }

  // At the end everything that was ever accepted can still be leased and completed.
  async #drain(): Promise<void> {
    const world = this.#world;
    // What is on its way to a queue that is not there any more waits for one of its name.
    for (const { boundTo } of boundIn(this.#view)) {
      if (this.#view.queues.has(boundTo)) continue;
      const queue = (QUEUES as readonly string[]).indexOf(boundTo);
      await this.#do({ kind: "create", queue, settings: LASTING, together: false });
    }
    await this.#do({ kind: "advance", seconds: 130, together: false });
    for (const queue of [0, 1, 2, DEAD_QUEUE]) {
      const name = QUEUES[queue]!;
      for (let round = 0; ; round++) {
        const view = this.#view.queues.get(name);
        const left = view?.partitions.flatMap(({ items, scheduled }) => [...items, ...scheduled]);
        if (left === undefined || left.length === 0) break;
        if (round > 200) throw new Error(`${name} cannot be drained`);
        this.#call("queue.lease", {
          queue_name: name,
          request_timeout: "1s",
          client_id: `drains ${++this.#drains}`,
          batch_size: 20,
        });
        await world.settle();
        await this.#check();
        for (const [partition, { items }] of this.#view.queues.get(name)!.partitions.entries()) {
          const ids = items.filter((item) => item.isLeased).map((item) => item.id);
          if (ids.length === 0) continue;
          const request = { queue_name: name, partition, ids, request_timeout: "1s" };
          this.#call("queue.complete", request);
        }
        await world.settle();
        await this.#check();
        await this.#do({ kind: "advance", seconds: 11, together: false });
      }
    }
    await checkNothingLeft(world, this.#view);
  }
}

const LASTING: SettingsChoice = {
  lease: 10,
  expire: 86_400,
  maxAttempts: 0,
  partitions: 1,
  hasDeadQueue: false,
};

// Whether the dead queue waits for others, which may wait for it to take what dies (decision 59): with a redrive,
// or with a complete that produces for them.
function reachesOut({ path, request }: Call): boolean {
  if (path === "v2/queue.redrive") return true;
  const isFromDead = request.queue_name === QUEUES[DEAD_QUEUE];
  return path === "v2/queue.complete" && isFromDead && request.produce !== undefined;
}

// When everything is done, storage holds no more than the empty queues.
async function checkNothingLeft(world: World, view: View): Promise<void> {
  const { disks } = world.server;
  const partitions = [...view.queues.values()].reduce((sum, q) => sum + q.partitions.length, 0);
  let found = 0;
  const ids = await idsEverGiven(world);
  for (const disk of disks) {
    for (const { key, queue } of await disk.listPartitions()) {
      found++;
      const { leases, leased } = await disk.loadPartition(key);
      const sources = await disk.findKeys(key, KEY.source, [
        ...["source 1", "source 2", "source 3"],
        ...ids,
      ]);
      const moved = await disk.findKeys(key, KEY.id, ids);
      const taken = await disk.findKeys(key, KEY.unique, UNIQUE_KEYS);
      // What has ended by itself is swept now and then.
      const latest = world.clock.now() + world.setBack;
      const isOver = ({ until }: KeyEntry): boolean => until !== 0 && until <= latest;
      const unique = new Map([...taken].filter(([, entry]) => !isOver(entry)));
      const rest = leases.length + leased.length + sources.size + moved.size + unique.size;
      if (rest > 0) {
        const names = [sources, moved, unique].map((each) => [...each.keys()].join(" "));
        throw new Error(`storage still holds something of ${queue}: ${names.join(", ")}`);
      }
    }
  }
  if (found !== partitions) throw new Error(`storage holds ${found} of ${partitions} partitions`);
}

async function idsEverGiven(world: World): Promise<readonly string[]> {
  const ids: string[] = [];
  for (const disk of world.server.disks) {
    for (const { key, idPrefix } of await disk.listPartitions()) {
      const space = new IdSpace(idPrefix);
      const { tail } = (await disk.loadPartition(key)).counters;
      for (let seq = 1; seq < tail; seq++) ids.push(space.id(seq));
    }
  }
  return ids;
}

// Leases do not wait while there is something for them, whatever it has become leasable by.
function checkNotStuck(view: View, world: World, produced: AllProduced): void {
  for (const call of world.waitingLeases) {
    const { kinds } = call.request as { kinds?: readonly string[] };
    const queue = view.queues.get(String(call.request.queue_name));
    const fits = (n: number): boolean =>
      kinds === undefined || kinds.includes(produced.get(n)?.kind ?? "");
    const waiting = queue?.partitions.flatMap(({ items }) =>
      items.filter((item) => !item.isLeased && fits(item.n)),
    );
    if (waiting !== undefined && waiting.length > 0) {
      throw new Error(`call ${call.number} waits although item ${waiting[0]!.n} could be leased`);
    }
  }
}

function outcome(call: Call): string {
  if (call.state !== "answered") return call.state;
  if (call.status !== 200) return `${call.status} ${call.body}`;
  if (!isLease(call)) {
    const { results, state = "" } = call.body;
    return results === undefined ? `200 ${state}` : `200 ${JSON.stringify(results)}`;
  }
  const { partition = 0, items = [] } = call.body;
  const shown = items.map(
    (item: { bytes: string; attempts: number }) => `${numberLeased(item)}(${item.attempts})`,
  );
  return `200 partition ${partition}: ${shown.join(" ")}`;
}

function describe({ together, ...command }: Command): string {
  return `${JSON.stringify(command)}${together ? " +" : ""}`;
}

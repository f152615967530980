// One simulated history: turns commands into what clients and the outside world do, lets the server
// work, looks at everything whenever it is quiet, and has each window checked. What it prints is the
// history in words, the same for the same commands.

import { IdSpace } from "../../src/queue/ids.ts";
import { KEY } from "../../src/queue/keys.ts";
import { Auditor } from "./auditor.ts";
import {
  type Command,
  DEAD_QUEUE,
  type IdPick,
  QUEUES,
  type SettingsChoice,
  UNIQUE_KEYS,
} from "./commands.ts";
import { numberOf } from "./effects.ts";
import { checkCalm } from "./model.ts";
import { formatTime, observe, type Settings, type View } from "./observe.ts";
import { checkUnique, type KeysOfItems } from "./unique.ts";
import { type Call, World, type WorldOptions } from "./world.ts";

const SECOND = 1_000_000;

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

interface KnownId {
  readonly id: string;
  readonly partition: number;
}

export class Simulation {
  readonly history: string[] = [];
  readonly figures: RunFigures = { ...NO_FIGURES };
  readonly #world: World;
  readonly #auditor = new Auditor();
  #view: View;
  // Since the last view.
  #calls: Call[] = [];
  // How many of them have been under way since before it.
  #waiting = 0;
  #settings = new Map<string, Settings[]>();
  #hasTrouble = false;
  #isExact = true;
  #hasAdvanced = false;
  // What clients know: ids of leases, and all ids ever, by queue.
  readonly #leased = new Map<string, KnownId[]>();
  readonly #known = new Map<string, KnownId[]>();
  #items = 0;
  // The unique keys that items were produced with, by number.
  readonly #keys: KeysOfItems = new Map();
  #clients = 0;

  private constructor(world: World) {
    this.#world = world;
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

  /** Runs a whole history, and then lets everything come to its end. Throws if a check fails. */
  async run(commands: readonly Command[]): Promise<void> {
    for (const command of commands) await this.#do(command);
    await this.#do({ kind: "heal", together: false });
    await this.#drain();
    this.figures.calls = this.#world.calls.length;
    this.figures.items = this.#items;
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
        const waiting = world.pending.filter((call) => call.path === "queue.lease");
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
      default:
        this.#send(command);
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

  #send(command: Command & { readonly queue: number }): void {
    const name = QUEUES[command.queue]!;
    const request = { queue_name: name };
    switch (command.kind) {
      case "produce":
        this.#call("queue.produce", {
          ...request,
          request_timeout: "30s",
          items: command.delays.map((delay) => ({
            utf8: String(++this.#items),
            kind: `k${this.#items % 3}`,
            ...(delay === 0 ? {} : { enqueue_at: this.#in(delay) }),
          })),
        });
        return;
      case "unique":
        this.#call("v2/queue.produce", {
          ...request,
          items: command.keys.map((key) => {
            const [n, unique_key] = [++this.#items, UNIQUE_KEYS[key]!];
            this.#keys.set(n, { queue: name, key: unique_key });
            return { utf8: String(n), unique_key };
          }),
        });
        return;
      case "lease":
        this.#call("queue.lease", {
          ...request,
          request_timeout: `${command.timeout}s`,
          client_id: `client ${command.client}`,
          batch_size: command.batch,
        });
        return;
      case "complete": {
        const { partition, ids } = this.#ids(name, command.picks);
        this.#call("queue.complete", { ...request, partition, ids, request_timeout: "30s" });
        return;
      }
      case "retry": {
        const { partition, ids } = this.#ids(name, command.picks);
        const items = ids.map((id, i) => {
          const { delay } = command.picks[i]!;
          if (delay === -1) return { id, dead: true };
          return delay === 0 ? { id } : { id, retry_at: this.#in(delay) };
        });
        this.#call("queue.retry", { ...request, partition, items });
        return;
      }
      case "release": {
        const { ids } = this.#ids(name, command.picks);
        const leases = ids.map((id, i) => {
          const { delay } = command.picks[i]!;
          return delay === 0 ? { lease_id: id } : { lease_id: id, at: this.#in(delay) };
        });
        this.#call("v2/queue.release", { ...request, leases });
        return;
      }
      case "extend": {
        const { ids } = this.#ids(name, command.picks);
        const leases = ids.map((id, i) => {
          return { lease_id: id, for: `${command.picks[i]!.seconds}s` };
        });
        this.#call("v2/queue.extend", { ...request, leases });
        return;
      }
      case "clear": {
        const { items, destructive, scheduled } = command;
        this.#call("queue.clear", { ...request, queue: items, destructive, scheduled });
        return;
      }
      case "delete-items": {
        const { partition, ids } = this.#ids(name, command.picks);
        const valid = ids.filter((id) => id.length === 27);
        this.#call("storage/items.delete", { ...request, partition, ids: valid });
        return;
      }
      case "import":
        this.#call("storage/items.import", {
          ...request,
          items: command.sources.map((source) => ({
            payload: Buffer.from(String(++this.#items)).toString("base64"),
            ...(source === 0 ? {} : { source_id: `source ${source}` }),
            ...(command.leased
              ? { is_leased: true, lease_deadline: this.#in(4_000), attempts: 1 }
              : {}),
          })),
        });
        return;
      case "reload":
        this.#call("queue.reload", request);
        return;
      case "delete":
        this.#call("queues.delete", { ...request, force: command.force });
        return;
      case "create":
      case "update":
        this.#configure(command.kind, command.queue, command.settings);
        return;
    }
  }

  #configure(kind: "create" | "update", queue: number, choice: SettingsChoice): void {
    const name = QUEUES[queue]!;
    const settings: Settings = {
      leaseTimeout: choice.lease * SECOND,
      expireTimeout: choice.expire * SECOND,
      maxAttempts: choice.maxAttempts,
      deadQueue: choice.hasDeadQueue && queue !== DEAD_QUEUE ? QUEUES[DEAD_QUEUE]! : "",
      // An item whose copy lies in the dead queue of another storage, while its removal here has
      // failed, must not be given more leases before that is repeated: it would be there twice.
      // docs/RELIABILITY.md says so.
      ...(kind === "update" && this.#hasTrouble ? this.#rulesOfDeath(name) : {}),
    };
    this.#settings.set(name, [...(this.#settings.get(name) ?? []), settings]);
    this.#call(`queues.${kind}`, {
      queue_name: name,
      lease_timeout: `${choice.lease}s`,
      expire_timeout: `${choice.expire}s`,
      max_attempts: settings.maxAttempts,
      requested_partitions: choice.partitions,
      dead_queue: settings.deadQueue,
    });
  }

  #rulesOfDeath(name: string): Pick<Settings, "maxAttempts" | "deadQueue"> {
    const { maxAttempts = 0, deadQueue = "" } = this.#view.queues.get(name)?.settings ?? {};
    return { maxAttempts, deadQueue };
  }

  #in(milliseconds: number): string {
    return formatTime(this.#world.clock.now() + milliseconds * 1000);
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
    const count = this.#view.queues.get(queue)?.partitions.length ?? 1;
    return { partition: Math.min(partition ?? 0, count - 1), ids };
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
    if (world.hasCrashed) await this.#restart(false);
    const stuck = world.pending.filter((call) => call.path !== "queue.lease");
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
    checkUnique(window, this.#keys);
    checkNotStuck(after, world);
    this.figures.windows++;
    if (this.#isExact && checkCalm(window, this.#hasAdvanced, holds)) this.figures.calmWindows++;
    this.#learn(after);
    this.#view = after;
    this.#calls = [...world.pending];
    this.#waiting = this.#calls.length;
    this.#settings.clear();
    this.#hasTrouble = false;
    this.#isExact = true;
    this.#hasAdvanced = false;
  }

  // Clients know the ids that they were given; stale ones stay known.
  #learn(view: View): void {
    for (const queue of view.queues.values()) {
      const leased: KnownId[] = [];
      const known = this.#known.get(queue.name) ?? [];
      const ids = new Set(known.map(({ id }) => id));
      for (const [partition, { items, scheduled }] of queue.partitions.entries()) {
        for (const { id, isLeased } of [...items, ...scheduled]) {
          if (isLeased) leased.push({ id, partition });
          if (!ids.has(id)) known.push({ id, partition });
        }
      }
      this.#leased.set(queue.name, leased);
      this.#known.set(queue.name, known.slice(-60));
    }
  }

  // At the end everything that was ever accepted can still be leased and completed.
  async #drain(): Promise<void> {
    const world = this.#world;
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
          client_id: `drains ${++this.#clients}`,
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
      const unique = await disk.findKeys(key, KEY.unique, UNIQUE_KEYS);
      const rest = leases.length + leased.length + sources.size + moved.size + unique.size;
      if (rest > 0) throw new Error(`storage still holds something of ${queue}: ${key}`);
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
function checkNotStuck(view: View, world: World): void {
  for (const call of world.pending) {
    const queue = view.queues.get(String(call.request.queue_name));
    const waiting = queue?.partitions.flatMap(({ items }) =>
      items.filter((item) => !item.isLeased),
    );
    if (waiting !== undefined && waiting.length > 0) {
      throw new Error(`call ${call.number} waits although item ${waiting[0]!.n} could be leased`);
    }
  }
}

function outcome(call: Call): string {
  if (call.state !== "answered") return call.state;
  if (call.status !== 200) return `${call.status} ${call.body}`;
  if (call.path !== "queue.lease") return "200";
  const { partition = 0, items = [] } = call.body;
  const shown = items.map(
    (item: { bytes: string; attempts: number }) => `${numberOf(item.bytes)}(${item.attempts})`,
  );
  return `200 partition ${partition}: ${shown.join(" ")}`;
}

function describe({ together, ...command }: Command): string {
  return `${JSON.stringify(command)}${together ? " +" : ""}`;
}

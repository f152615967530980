// Which storage holds which partition: deals new partitions to the storages by affinity, drops those
// of deleted queues, and removes what is left of both. A storage may be away, or may not be the one
// that the records speak of; then only the partitions that lie there suffer, and nothing is put
// there or removed there until it is back.

import { type Clock, SECOND } from "../clock.ts";
import { plainError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { newIdPrefix } from "../queue/queue.ts";
import type { Storage, StoredPartition } from "../storage/storage.ts";
import type { Timers } from "../timers.ts";
import type { PartitionPlace } from "./records.ts";

// Rows of deleted queues that one step removes from storage.
const SWEEP_STEP = 2_000;
// After what time storage is asked again for what it has failed to do.
const SWEEP_RETRY = SECOND;

/** What placement needs of a storage, which may be another thread's. */
export type PlaceableStorage = Pick<
  Storage,
  | "name"
  | "isDurable"
  | "listPartitions"
  | "createPartitions"
  | "loadPartition"
  | "dropPartitions"
  | "sweep"
>;

/** A storage for partitions. */
export interface PartitionSite {
  readonly storage: PlaceableStorage;
  /** The share that it gets of the partitions of a queue, beside others of the same home; 0: no new ones. */
  readonly affinity: number;
  /** The index of the home that owns it. All partitions of a queue are at one home. */
  readonly home: number;
}

export interface PlacementContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly timers: Timers;
  readonly randomBytes: (size: number) => Buffer;
}

/** What one storage holds, as far as it is known. */
interface Site extends PartitionSite {
  /** By key; undefined while the storage is away. */
  partitions: Map<number, StoredPartition> | undefined;
  isSweeping: boolean;
}

export class Placement {
  readonly #sites: readonly Site[];
  readonly #context: PlacementContext;

  constructor(sites: readonly PartitionSite[], context: PlacementContext) {
    this.#sites = sites.map((each) => ({ ...each, partitions: undefined, isSweeping: false }));
    this.#context = context;
  }

  /** Looks what every storage holds; one that cannot tell is away. */
  async open(): Promise<void> {
    for (const site of this.#sites) {
      const err = await look(site);
      if (err !== undefined) this.#warn(site, "storage is away", { err });
    }
  }

  /** The storage of this name; undefined if the configuration does not name it. */
  storage(name: string): PlaceableStorage | undefined {
    return this.#site(name)?.storage;
  }

  /** The home of a queue whose partitions lie in this storage. */
  home(storage: string): number {
    return this.#site(storage)!.home;
  }

  get isAnyAway(): boolean {
    return this.#sites.some(({ partitions }) => partitions === undefined);
  }

  /** Whether the storage holds the very partition that a record speaks of; unknown while it is away. */
  holds(place: PartitionPlace): boolean | undefined {
    const partitions = this.#site(place.storage)?.partitions;
    return partitions && partitions.get(place.key)?.idPrefix === place.idPrefix;
  }

  /** Leaves a storage alone that is not the one that records speak of. */
  setAside(name: string, reason: string): void {
    const site = this.#site(name);
    if (site?.partitions === undefined) return;
    site.partitions = undefined;
    this.#warn(site, "storage is left alone", { reason });
  }

  #site(name: string): Site | undefined {
    return this.#sites.find(({ storage }) => storage.name === name);
  }

  #warn({ storage }: Site, message: string, fields: object): void {
    this.#context.log.warn({ storage: storage.name, ...fields }, message);
  }

  /** Looks whether storages that were away are back: they must hold all that records speak of. */
  async lookAgain(recorded: () => Iterable<PartitionPlace>): Promise<void> {
    const away = this.#sites.filter((site) => site.partitions === undefined);
    if (away.length === 0) return;
    for (const site of away) await look(site);
    for (const place of recorded()) {
      if (this.holds(place) === false) this.#site(place.storage)!.partitions = undefined;
    }
    for (const site of away) {
      if (site.partitions === undefined) continue;
      this.#context.log.info({ storage: site.storage.name }, "storage is back");
      this.#sweep(site);
    }
  }

  // --- making ---

  /**
   * Makes the partitions of a queue: in the storages that are named, one each, or else dealt by
   * affinity. Rejects if there is no storage at present.
   */
  async create(
    queue: string,
    options: {
      readonly count: number;
      readonly storages?: readonly string[];
      /** The number of the first; 0 by default. */
      readonly first?: number;
    },
  ): Promise<readonly PartitionPlace[]> {
    const { storages: names = this.#shares(options.count), first = 0 } = options;
    const { clock, randomBytes } = this.#context;
    const createdAt = clock.now();
    const made = names.map((storage, i) => {
      const idPrefix = newIdPrefix(createdAt, randomBytes(16));
      return { storage, key: 0, queue, number: first + i, idPrefix, createdAt, dropped: false };
    });
    for (const name of new Set(names)) {
      const site = this.#site(name)!;
      const mine = made.filter((each) => each.storage === name);
      const keys = await site.storage.createPartitions(mine);
      for (const [i, each] of mine.entries()) {
        each.key = keys[i]!;
        site.partitions?.set(each.key, each);
      }
    }
    return made.map(({ storage, key, idPrefix }) => ({ storage, key, idPrefix, createdAt }));
  }

  // At the home that has the fewest partitions; there by affinity. What cannot be divided goes, one by
  // one, where least lies for its affinity, so that queues of one partition are spread as well.
  #shares(count: number): readonly string[] {
    const loads = new Map<number, number>();
    for (const { home, affinity, partitions } of this.#sites) {
      if (partitions === undefined || affinity === 0) continue;
      loads.set(home, (loads.get(home) ?? 0) + partitions.size);
    }
    const [home] = [...loads].sort((a, b) => a[1] - b[1])[0] ?? [];
    if (home === undefined) throw plainError("storage_unavailable");
    const sites = this.#sites.filter((site) => site.home === home && site.partitions !== undefined);
    const sum = sites.reduce((total, { affinity }) => total + affinity, 0);
    const shares = sites.map(({ storage, affinity, partitions }) => {
      return {
        name: storage.name,
        affinity,
        held: partitions!.size,
        count: Math.floor((affinity / sum) * count),
      };
    });
    const load = ({ held, count: given, affinity }: (typeof shares)[number]): number =>
      (held + given + 1) / affinity;
    const dealt = shares.reduce((total, share) => total + share.count, 0);
    for (let left = count - dealt; left > 0; left--) {
      shares.reduce((least, share) => (load(share) < load(least) ? share : least)).count++;
    }
    return shares.flatMap((share) => Array<string>(share.count).fill(share.name));
  }

  // --- removing ---

  /** Drops partitions; answers those that could not be dropped yet, because their storage is away. */
  async drop(places: readonly PartitionPlace[]): Promise<readonly PartitionPlace[]> {
    let left = places;
    for (const site of this.#sites) {
      const name = site.storage.name;
      const mine = places.filter((place) => place.storage === name);
      if (mine.length === 0 || site.partitions === undefined) continue;
      const keys = mine.filter((place) => this.holds(place)).map(({ key }) => key);
      try {
        await site.storage.dropPartitions(keys);
      } catch (err) {
        this.#warn(site, "cannot remove deleted queues yet", { err });
        continue;
      }
      for (const key of keys) site.partitions.delete(key);
      left = left.filter((place) => place.storage !== name);
      this.#sweep(site);
    }
    return left;
  }

  /** Removes what a creation has left behind that failed, or whose reply was lost; rejects if it cannot. */
  async tidyAgain(recorded: () => Iterable<PartitionPlace>): Promise<void> {
    for (const site of this.#sites) {
      if (site.partitions === undefined) continue;
      const error = await look(site);
      if (error !== undefined) throw error;
    }
    if (!(await this.tidy(recorded()))) throw new Error("not everything could be tidied");
  }

  /** Removes partitions that no record speaks of: what is left of a queue whose creation was cut off. False if it could not. */
  async tidy(recorded: Iterable<PartitionPlace>): Promise<boolean> {
    let isDone = true;
    const known = new Set(Array.from(recorded, ({ storage, key }) => `${storage} ${key}`));
    for (const site of this.#sites) {
      const strangers = [...(site.partitions?.values() ?? [])].filter(
        ({ key, dropped }) => !dropped && !known.has(`${site.storage.name} ${key}`),
      );
      try {
        for (const stranger of strangers) await this.#tidyOne(site, stranger);
      } catch (err) {
        this.#warn(site, "cannot look for partitions that belong to no queue", { err });
        isDone = false;
      }
      this.#sweep(site);
    }
    return isDone;
  }

  async #tidyOne(site: Site, { key, queue }: StoredPartition): Promise<void> {
    const { counters } = await site.storage.loadPartition(key);
    if (counters.tail === 1) {
      await site.storage.dropPartitions([key]);
      return;
    }
    const fields = { queue, partition: key };
    this.#warn(site, "partition belongs to no queue that is known; left alone", fields);
  }

  // Removes the rows of dropped partitions, a few at a time, so that nobody waits for it.
  #sweep(site: Site): void {
    if (site.isSweeping || site.partitions === undefined) return;
    site.isSweeping = true;
    const { timers } = this.#context;
    let isTold = false;
    const step = async (): Promise<void> => {
      try {
        if (await site.storage.sweep(SWEEP_STEP)) timers.soon(() => void step());
        else site.isSweeping = false;
      } catch (err) {
        if (!isTold) this.#warn(site, "cannot remove deleted queues yet", { err });
        isTold = true;
        timers.after(SWEEP_RETRY, () => void step());
      }
    };
    timers.soon(() => void step());
  }
}

// Asks a storage what it holds; answers why it cannot tell.
async function look(site: Site): Promise<unknown> {
  try {
    const partitions = await site.storage.listPartitions();
    site.partitions = new Map(partitions.map((each) => [each.key, each]));
    return undefined;
  } catch (error) {
    site.partitions = undefined;
    return error;
  }
}

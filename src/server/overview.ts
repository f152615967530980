// The overview of a server, put together: what it is made of is collected from all threads, and what is known of storages
// and namespaces comes from the first one.

import type { Clock } from "../clock.ts";
import type { Config, StorageConfig } from "../config/config.ts";
import { formatDuration } from "../duration.ts";
import type { Logger } from "../log.ts";
import { type HistoryStore, Overview } from "../observe/overview.ts";
import type { ThreadFigures } from "../observe/render.ts";
import type { QuotaUse, StorageFacts } from "../observe/warnings.ts";
import type { WantedFigures } from "../registry/figures.ts";
import { fullName, SYSTEM_NAMESPACE } from "../registry/names.ts";
import type { Queues } from "../registry/queues.ts";
import type { Storage } from "../storage/storage.ts";
import { VERSION } from "../version.ts";
import type { Shard } from "./shard.ts";

/** What it is made of. */
export interface OverviewParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  readonly shard: Shard;
  readonly queues: Queues;
  /** Where the records of queues lie. */
  readonly records: Storage;
  /** Of all threads; some may be there twice. */
  readonly storages: readonly StorageConfig[];
  readonly collect: (wanted: WantedFigures) => Promise<readonly ThreadFigures[]>;
}

const PREFIX = "~history~";

// What is limited and counted at a time, as people call it.
const LEVELS = {
  items: "items",
  bytes: "bytes of payload",
  waitingLeases: "waiting lease requests",
  connections: "connections",
} as const;

/** Opens it; it takes samples from now on. */
export async function openOverview(parts: OverviewParts): Promise<Overview> {
  const { config, clock, log, shard, queues, records, collect } = parts;
  const kinds = new Map(parts.storages.map(({ name, driver }) => [name, driver]));
  const overview = new Overview({
    clock,
    log,
    version: VERSION,
    startedAt: Math.round(performance.timeOrigin * 1_000),
    threads: config.threads,
    collect,
    async storages(): Promise<readonly StorageFacts[]> {
      const { byStorage } = await queues.failing();
      return Array.from(kinds, ([name, kind]) => {
        // Those of records that no partition lies in may have troubles on one thread and partitions on another.
        const told = byStorage.filter((each) => each.name === name);
        return {
          name,
          kind,
          failing: told.reduce((sum, { failing }) => sum + failing, 0),
          partitions: told.reduce((sum, { partitions }) => sum + partitions, 0),
          troubles: told.flatMap(({ troubles }) => troubles),
        };
      });
    },
    deadQueueOf(name) {
      const record = shard.directory.find(name)?.record;
      if (record === undefined || record.deadQueue === "") return "";
      return fullName(record.namespace, record.deadQueue);
    },
    leaseTimeoutOf(name) {
      const record = shard.directory.find(name)?.record;
      return record === undefined ? "" : formatDuration(record.leaseTimeout);
    },
    quotas: () => quotasOf(shard),
    isNamespace: (name) => name === SYSTEM_NAMESPACE || shard.auth.namespaces.has(name),
    kept: records.isDurable ? storeIn(records, queues) : undefined,
  });
  await overview.open();
  return overview;
}

// Among the records of queues, under names that no other record has.
function storeIn(records: Storage, queues: Queues): HistoryStore {
  return {
    async read() {
      const all = await records.listQueues();
      const own = all.filter(({ name }) => name.startsWith(PREFIX));
      return new Map(own.map(({ name, record }) => [name.slice(PREFIX.length), record]));
    },
    write(texts, gone) {
      const puts = Array.from(texts, ([name, record]) => ({ name: `${PREFIX}${name}`, record }));
      const names = gone.map((name) => `${PREFIX}${name}`);
      return queues.inOrder(() => records.putQueues(puts, names));
    },
  };
}

function quotasOf({ accounts, directory }: Shard): readonly QuotaUse[] {
  const uses: QuotaUse[] = [];
  for (const account of accounts.allLimited()) {
    const { namespace, quotas } = account;
    const note = (what: string, used: number, max: number): void => {
      if (max > 0) uses.push({ namespace, what, used, max });
    };
    note("queues", directory.countIn(namespace), quotas.queues);
    for (const [level, what] of Object.entries(LEVELS) as [keyof typeof LEVELS, string][]) {
      note(what, account.used(level), quotas[level]);
    }
  }
  return uses;
}

// The queues that the configuration names: they are made like any other when the server starts, and those that exist
// are left alone.

import { SERVER_DEED } from "../auth/audit.ts";
import type { Config, QueueConfig } from "../config/config.ts";
import { ConfigError } from "../config/section.ts";
import { QueueError } from "../errors.ts";
import { SYSTEM_NAMESPACE } from "../registry/names.ts";
import type { Queues } from "../registry/queues.ts";
import { readSettings } from "../registry/settings.ts";

/** Makes those that are not there yet. Rejects with what is wrong of one, and where that stands. */
export async function createConfigured(queues: Queues, config: Config): Promise<void> {
  const known = new Set(
    queues
      .list({ namespace: SYSTEM_NAMESPACE, pivot: "", limit: Number.POSITIVE_INFINITY })
      .map((record) => record.name),
  );
  for (const queue of deadQueuesFirst(config.queues)) {
    if (known.has(queue.name)) continue;
    const storages = queue.partitions.map((partition) => partition.storageName);
    try {
      const settings = {
        ...readSettings(queue),
        name: queue.name,
        namespace: SYSTEM_NAMESPACE,
        ...(storages.length > 0 ? { storages, requestedPartitions: storages.length } : {}),
      };
      await queues.create(settings, undefined, SERVER_DEED);
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      const text = `${queue.place}: ${error.message}`;
      throw error.kind === "invalid"
        ? new ConfigError(text)
        : new QueueError(error.kind, text, { cause: error, code: error.code });
    }
  }
}

// A dead queue must be there before the queue that names it, wherever it stands in the file.
function deadQueuesFirst(queues: readonly QueueConfig[]): readonly QueueConfig[] {
  const named = new Set(queues.map(({ deadQueue }) => deadQueue));
  const rank = ({ name, deadQueue }: QueueConfig): number => {
    if (deadQueue === "") return 0;
    return named.has(name) ? 1 : 2; // one that is both will be refused, by its right reason
  };
  return queues.toSorted((a, b) => rank(a) - rank(b));
}

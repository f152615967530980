// The life of one queue in the churn: made, filled, used in every way, deleted with much still in it
// and a lease waiting at it; then made once more under the same name, which must find nothing of the
// first.

import { setTimeout as sleep } from "node:timers/promises";
import { Api } from "../support/api.ts";
import type { Reply } from "../support/http-text.ts";
import { PipeClient } from "../support/pipe-client.ts";
import type { Random } from "../support/random.ts";

const SETTINGS = { expire_timeout: "24h", max_attempts: 2 };
const ANSWER_MS = 10_000;
// The timer of a loop is set to the time-outs it has seen: one that is kept must not fire within the calm
// that is waited for, or nobody finds it.
const OUTLASTS_CALM = "1m";
const SHUTDOWN = "queue is shutting down";

export interface LifeOptions {
  readonly port: number;
  readonly name: string;
  /** An existing queue that takes the dead items of some. */
  readonly graveyard: string;
  readonly random: Random;
}

/** Lives one life; rejects with what was not as it must be. Answers the items it has had. */
export async function liveAndDie(options: LifeOptions): Promise<number> {
  const { port, name, random } = options;
  const api = new Api(port);
  const waiter = new PipeClient(port);
  try {
    const partitions = 1 + random.below(3);
    await create(api, options, partitions);
    const items = await use(api, options);
    const waiting = await waitEmptyHanded(waiter, api, name);
    await api.ok("queues.delete", { queue_name: name });
    const { status, body } = await inTime(waiting.reply, name);
    const { message } = JSON.parse(body.toString()) as { message?: string };
    // An item may have come in the last moment.
    const fine = status === 200 || (status === 453 && message === SHUTDOWN);
    if (!fine) throw new Error(`${name}: a lease got ${status} ${message}`);
    await beReborn(api, options);
    return items;
  } finally {
    waiter.close();
    api.close();
  }
}

async function create(
  api: Api,
  { name, graveyard, random }: LifeOptions,
  partitions: number,
): Promise<void> {
  await api.ok("queues.create", {
    ...SETTINGS,
    queue_name: name,
    // With some, leases end before the queue does.
    lease_timeout: random.pick(["1h", "50ms"]),
    dead_queue: random.oneIn(2) ? graveyard : "",
    requested_partitions: partitions,
  });
}

// Produces, leases, completes some, gives some back for later, leaves the rest as it is.
async function use(api: Api, { name, random }: LifeOptions): Promise<number> {
  const common = { queue_name: name, request_timeout: OUTLASTS_CALM };
  let items = 0;
  for (let i = 0; i < 3; i++) {
    const count = 5 + random.below(40);
    items += count;
    const produced = Array.from({ length: count }, (_, n) => ({
      reference: name,
      utf8: `${n}`.padEnd(random.length(2_000), "x"),
      ...laterSometimes(random),
    }));
    await api.ok("queue.produce", { ...common, items: produced });
    const lease = { ...common, client_id: `c${i}`, batch_size: 1 + random.below(20) };
    const reply = await api.call("queue.lease", { ...lease, request_timeout: "50ms" });
    if (reply.status !== 200) continue;
    const { items: leased, partition = 0 } = reply.body as {
      items: { id: string }[];
      partition?: number;
    };
    const ids = leased.map(({ id }) => id).slice(0, random.below(leased.length + 1));
    const late = new Date(Date.now() + 3_600_000).toISOString();
    const retried = ids.splice(0, random.below(3)).map((id) => ({ id, retry_at: late }));
    // Where leases end early these may have ended: then they are refused.
    if (ids.length > 0) await api.call("queue.complete", { ...common, partition, ids });
    if (retried.length > 0)
      await api.call("queue.retry", { queue_name: name, partition, items: retried });
  }
  const source_id = `source of ${name}`;
  const imports = [{ source_id }, { is_leased: true }, { kind: "imported" }];
  await api.ok("storage/items.import", { queue_name: name, items: imports });
  return items + imports.length;
}

function laterSometimes(random: Random): { enqueue_at?: string } {
  if (!random.oneIn(4)) return {};
  const ms = random.pick([150, 300, 3_600_000]);
  return { enqueue_at: new Date(Date.now() + ms).toISOString() };
}

// A lease that finds nothing waits; deleting the queue ends it.
async function waitEmptyHanded(
  waiter: PipeClient,
  api: Api,
  name: string,
): Promise<{ readonly reply: Promise<Reply> }> {
  await api.ok("queue.clear", { queue_name: name, queue: true });
  for (let i = 0; ; i++) {
    const lease = { queue_name: name, client_id: `w${i}`, batch_size: 1_000 };
    let answered = false;
    const reply = waiter.post("queue.lease", { ...lease, request_timeout: "10m" }).finally(() => {
      answered = true; // an item has come meanwhile: its lease has ended, or its time has come
    });
    while (!answered) if ((await leasesWaiting(api, name)) === 1) return { reply };
    await reply;
  }
}

async function inTime(reply: Promise<Reply>, name: string): Promise<Reply> {
  const silent = new AbortController();
  const late = sleep(ANSWER_MS, undefined, { signal: silent.signal }).then(() => {
    throw new Error(`${name}: a lease that waited was not answered when its queue was deleted`);
  });
  try {
    return await Promise.race([reply, late]);
  } finally {
    silent.abort();
    late.catch(() => undefined);
  }
}

async function leasesWaiting(api: Api, name: string): Promise<number> {
  const { logicalQueues } = await api.ok("queue.stats", { queue_name: name });
  return logicalQueues[0].lease_waiting ?? 0;
}

// The same name again: empty, and as good as new.
async function beReborn(api: Api, options: LifeOptions): Promise<void> {
  const { name } = options;
  await create(api, options, 1);
  for (const table of ["items", "scheduled"]) {
    const { items = [] } = await api.ok(`storage/${table}.list`, { queue_name: name });
    if (items.length > 0) throw new Error(`${name} is born with ${items.length} ${table}`);
  }
  const common = { queue_name: name, request_timeout: OUTLASTS_CALM };
  await api.ok("queue.produce", { ...common, items: [{ utf8: "new" }] });
  const { items } = await api.ok("queue.lease", { ...common, client_id: "c", batch_size: 100 });
  const payloads = (items as { bytes: string }[]).map(({ bytes }) => atob(bytes));
  if (payloads.join() !== "new") throw new Error(`${name}: leased ${payloads.join()}`);
  await api.ok("queues.delete", { queue_name: name });
}

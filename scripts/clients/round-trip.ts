// A round trip with the client that openapi-typescript and openapi-fetch make of the OpenAPI document:
// `node round-trip.ts ADDRESS`, with the types beside it (scripts/generate-clients.ts).

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.ts";

const client = createClient<paths>({ baseUrl: process.argv[2]! });
const queue_name = "openapi-typescript";

type Failure = components["schemas"]["ErrorReply"] | components["schemas"]["Problem"];

function must<T>({ data, error }: { data?: T; error?: Failure }): T {
  if (data === undefined) throw new Error(JSON.stringify(error) ?? "no data");
  return data;
}

function check(holds: boolean, what: unknown): void {
  if (!holds) throw new Error(`not what was expected: ${JSON.stringify(what)}`);
}

must(
  await client.POST("/v1/queues.create", {
    body: { queue_name, lease_timeout: "1m", expire_timeout: "24h", requested_partitions: 1 },
  }),
);
must(
  await client.POST("/v1/queue.produce", {
    body: { queue_name, request_timeout: "10s", items: [{ utf8: "hello", kind: "mail" }] },
  }),
);
const leased = must(
  await client.POST("/v1/queue.lease", {
    body: { queue_name, request_timeout: "10s", client_id: "round trip", batch_size: 1 },
  }),
);
const [item] = leased.items;
if (atob(item?.bytes ?? "") !== "hello" || item?.kind !== "mail") throw new Error("another item");
must(
  await client.POST("/v1/queue.complete", {
    body: { queue_name, request_timeout: "10s", partition: leased.partition ?? 0, ids: [item.id] },
  }),
);
const { error } = await client.POST("/v1/queue.stats", { body: { queue_name: "nowhere" } });
if (error?.code !== 400 || !error.message.includes("'nowhere'")) throw new Error("no error");

// --- under /v2 ---

const jobs = `${queue_name}-jobs`;
const dead = `${queue_name}-dead`;
const applied = must(
  await client.POST("/v2/queues.apply", {
    body: {
      queues: [
        { queue_name: dead },
        { queue_name: jobs, dead_queue: dead, keep_completed: "1h", retry: { delay: "0s" } },
      ],
    },
  }),
);
check(applied.queues?.[1]?.action === "created", applied);

async function produce(kind: string): Promise<string> {
  const made = must(
    await client.POST("/v2/queue.produce", {
      body: { queue_name: jobs, items: [{ json: { n: [1] }, kind, unique_key: kind }] },
    }),
  );
  check(made.results[0]?.id !== undefined, made);
  return made.results[0]!.id!;
}

async function lease(kind: string): Promise<components["schemas"]["QueueLeaseItemV2"]> {
  const { items } = must(
    await client.POST("/v2/queue.lease", { body: { queue_name: jobs, kinds: [kind] } }),
  );
  check(items?.length === 1, items);
  return items![0]!;
}

const id = await produce("mail");
check((await produce("mail")) === id, "a unique key made two items");
must(await client.POST("/v2/item.update", { body: { queue_name: jobs, id, json: { n: [2] } } }));
const explained = must(await client.POST("/v2/item.explain", { body: { queue_name: jobs, id } }));
check(explained.state === "waiting", explained);
let held = await lease("mail");
check(held.id === id && JSON.stringify(held.json) === '{"n":[2]}', held);
const { lease_id } = held;
must(
  await client.POST("/v2/queue.release", { body: { queue_name: jobs, leases: [{ lease_id }] } }),
);
held = await lease("mail");
const extended = must(
  await client.POST("/v2/queue.extend", {
    body: { queue_name: jobs, leases: [{ lease_id: held.lease_id, for: "5m", progress: 50 }] },
  }),
);
check(extended.results[0]?.ok === true, extended);
must(
  await client.POST("/v2/queue.complete", {
    body: {
      queue_name: jobs,
      leases: [{ lease_id: held.lease_id, result: { ok: true } }],
      produce: [{ items: [{ utf8: "next", kind: "next" }] }],
    },
  }),
);
const ended = must(await client.POST("/v2/item.wait", { body: { queue_name: jobs, id } }));
check(ended.state === "completed" && JSON.stringify(ended.result) === '{"ok":true}', ended);

const lost = await lease("next");
must(
  await client.POST("/v2/queue.reject", {
    body: {
      queue_name: jobs,
      leases: [{ lease_id: lost.lease_id, error: { type: "E", message: "m" } }],
    },
  }),
);
const groups = must(await client.POST("/v2/queue.dead_groups", { body: { queue_name: dead } }));
check(groups.groups?.[0]?.error_type === "E", groups);
let redrive = must(await client.POST("/v2/queue.redrive", { body: { queue_name: dead } }));
while (redrive.state === "running") {
  redrive = must(
    await client.POST("/v2/redrives.info", { body: { queue_name: dead, id: redrive.id! } }),
  );
}
check(redrive.moved === 1, redrive);
const redrives = must(await client.POST("/v2/redrives.list", { body: { queue_name: dead } }));
check(redrives.redrives?.length === 1, redrives);
const listed = must(
  await client.POST("/v2/items.list", { body: { queue_name: jobs, kind: "next" } }),
);
check(listed.items?.[0]?.id === lost.id, listed);
const cancelled = must(
  await client.POST("/v2/item.cancel", { body: { queue_name: jobs, id: lost.id } }),
);
check(cancelled.state === "cancelled", cancelled);
const stats = must(await client.POST("/v2/queue.stats", { body: { queue_names: [jobs, dead] } }));
check(stats.queues?.[0]?.totals?.counts?.completed === 1, stats);
const { error: problem } = await client.POST("/v2/item.get", { body: { queue_name: dead, id } });
check(problem?.code === "item_not_found" || problem?.status === 404, problem);

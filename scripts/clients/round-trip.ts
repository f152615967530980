// A round trip with the client that openapi-typescript and openapi-fetch make of the OpenAPI document:
// `node round-trip.ts ADDRESS`, with the types beside it (scripts/generate-clients.ts).

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.ts";

const client = createClient<paths>({ baseUrl: process.argv[2]! });
const queue_name = "openapi-typescript";

function must<T>({ data, error }: { data?: T; error?: components["schemas"]["ErrorReply"] }): T {
  if (data === undefined) throw new Error(error?.message ?? "no data");
  return data;
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

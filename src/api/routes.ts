// All endpoints. What each of them does is in the file of its noun; to find what the server does for a
// path, begin there.

import type { RowEndpoint } from "./endpoint.ts";
import { itemsEndpoints } from "./items.ts";
import { queueEndpoints } from "./queue.ts";
import { queuesEndpoints } from "./queues.ts";
import type { Service } from "./service.ts";

/** All endpoints by path, in the order in which the documents show them. */
export function makeEndpoints(service: Service): ReadonlyMap<string, RowEndpoint> {
  const queue = queueEndpoints(service);
  const ofV2 = queue.filter(({ row }) => row.path.startsWith("/v2/"));
  const ofV1 = queue.filter((each) => !ofV2.includes(each));
  const all = [...ofV1, ...queuesEndpoints(service), ...itemsEndpoints(service), ...ofV2];
  return new Map(all.map((each) => [each.row.path, each]));
}

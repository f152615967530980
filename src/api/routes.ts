// All endpoints. What each of them does is in the file of its noun; to find what the server does for a
// path, begin there.

import { auditEndpoints } from "./audit.ts";
import { bindingsEndpoints } from "./bindings.ts";
import { redrivesEndpoints } from "./dead.ts";
import type { RowEndpoint } from "./endpoint.ts";
import { itemEndpoints } from "./item.ts";
import { itemsEndpoints } from "./items.ts";
import { keysEndpoints } from "./keys.ts";
import { namespacesEndpoints } from "./namespaces.ts";
import { overviewEndpoints } from "./overview.ts";
import { queueEndpoints } from "./queue.ts";
import { queuesEndpoints } from "./queues.ts";
import { rolesEndpoints } from "./roles.ts";
import type { Service } from "./service.ts";
import { storageEndpoints } from "./storage.ts";
import { usersEndpoints } from "./users.ts";

/** All endpoints by path, in the order in which the documents show them: first those of /v2. */
export function makeEndpoints(service: Service): ReadonlyMap<string, RowEndpoint> {
  const all = [
    ...queueEndpoints(service),
    ...queuesEndpoints(service),
    ...itemEndpoints(service),
    ...itemsEndpoints(service),
    ...redrivesEndpoints(service),
    ...overviewEndpoints(service),
    ...storageEndpoints(service),
    ...namespacesEndpoints(service),
    ...usersEndpoints(service),
    ...keysEndpoints(service),
    ...rolesEndpoints(service),
    ...bindingsEndpoints(service),
    ...auditEndpoints(service),
  ];
  const isV2 = ({ row }: RowEndpoint): boolean => row.path.startsWith("/v2/");
  const ordered = [...all.filter(isV2), ...all.filter((each) => !isV2(each))];
  return new Map(ordered.map((each) => [each.row.path, each]));
}

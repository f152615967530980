// What the endpoints work on, as the thread that serves them reaches it.

import type { Audit } from "../auth/audit.ts";
import type { AuthService } from "../auth/service.ts";
import type { Clock } from "../clock.ts";
import { QueueError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { QueueHandle } from "../queue/queue.ts";
import type { Queues } from "../registry/queues.ts";
import type { OverviewService } from "./overview.ts";

/** Which queues there are, and what changes that; on one thread the registry itself. */
export type QueuesService = Pick<
  Queues,
  | "get"
  | "record"
  | "giverOf"
  | "hasNamespaces"
  | "namespaceOf"
  | "countIn"
  | "list"
  | "create"
  | "update"
  | "apply"
  | "delete"
>;

/** What the endpoints work on. */
export interface Service {
  readonly queues: QueuesService;
  readonly auth: AuthService;
  readonly audit: Audit;
  readonly overview: OverviewService;
  readonly clock: Clock;
  readonly limits: Limits;
  /** Throws the answer that every call gets while the server stops. */
  checkRunning(): void;
}

/** The same of a queue that a field of a request names beside the one that it is for: errors name that field. */
export function findOtherQueue(service: Service, field: string, name: string): QueueHandle {
  try {
    return findQueue(service, name);
  } catch (error) {
    if (!(error instanceof QueueError)) throw error;
    const { kind, message, code, details, detail } = error;
    throw new QueueError(kind, message, { code, details, detail, field });
  }
}

/** The queue of a full name; throws if there is none, or if the server stops. */
export function findQueue(service: Service, name: string): QueueHandle {
  service.checkRunning();
  return service.queues.get(name);
}

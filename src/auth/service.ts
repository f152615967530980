// What there is to be done about namespaces, users, keys, roles and bindings: as endpoints ask for it, on
// whichever thread. Times are microseconds since 1970, 0 for none. What is refused is a QueueError of the
// catalogue.

import type { Permission } from "./permissions.ts";
import type { Principal } from "./principal.ts";

/** What a namespace may use; 0 is no limit. */
export interface Quotas {
  readonly queues: number;
  readonly items: number;
  readonly bytes: number;
  readonly requestsPerSecond: number;
  readonly itemsPerSecond: number;
  readonly waitingLeases: number;
  readonly connections: number;
}

export const NO_QUOTAS: Quotas = {
  queues: 0,
  items: 0,
  bytes: 0,
  requestsPerSecond: 0,
  itemsPerSecond: 0,
  waitingLeases: 0,
  connections: 0,
};

export interface NamespaceRecord {
  readonly name: string;
  readonly description: string;
  /** The tag of keys that are made for it, if none is given; "" for `live`. */
  readonly keyTag: string;
  readonly createdAt: number;
  readonly quotas: Quotas;
}

export interface UserRecord {
  readonly id: string;
  readonly username: string;
  readonly email: string;
  readonly externalId: string;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** A key without what makes it one: only its digest is kept. */
export interface KeyRecord {
  readonly id: string;
  readonly userId: string;
  /** "" if it is for all namespaces. */
  readonly namespace: string;
  readonly name: string;
  /** `qtr-<tag>-` and the first 8 characters behind it. */
  readonly prefix: string;
  readonly expiresAt: number;
  readonly lastUsedAt: number;
  readonly createdAt: number;
}

export interface RoleRecord {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly permissions: readonly Permission[];
  readonly createdAt: number;
}

export interface BindingRecord {
  readonly id: string;
  readonly namespace: string;
  readonly userId: string;
  readonly roleId: string;
  readonly createdAt: number;
}

/** A page of a list that is in order of names or ids: from `from`, or the next one, on. */
export interface Page {
  readonly from: string;
  readonly limit: number;
}

/** A key that was just made: told once, and kept nowhere. */
export interface MadeKey {
  readonly record: KeyRecord;
  readonly key: string;
}

/** Who asks for a change, for the audit and for what they may give away. */
export type By = Pick<Principal, "userId" | "keyId" | "keyTag" | "scope" | "grants">;

export interface AuthService {
  /** Throws `namespace_not_found` unless there is one of this name. */
  checkNamespace(name: string): void;
}

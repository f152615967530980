// What there is to be done about namespaces, users, keys, roles and bindings: as endpoints ask for it, on
// whichever thread. Times are microseconds since 1970, 0 for none. What is refused is a QueueError of the
// catalogue.

import { HOUR } from "../clock.ts";
import type { Accounts, Quotas } from "../quotas.ts";
import type { Deed } from "./audit.ts";
import type { Permission } from "./permissions.ts";
import { ANYONE, type Grants, type Principal, type PrincipalFacts } from "./principal.ts";
import type { AuthState } from "./state.ts";

/** For how long a key that was rotated is still taken, if nothing else was said. */
export const OVERLAP_DEFAULT = HOUR;

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

/** Who asks for a change, for the audit and for what they may give away; it goes from thread to thread. */
export interface By extends PrincipalFacts {
  readonly grants: Grants;
  /** Whether there is no authentication. */
  readonly isAnyone: boolean;
  readonly deed: Deed;
}

export function byOf(principal: Principal, deed: Deed): By {
  const { userId, keyId, keyTag, scope, expiresAt, grants } = principal;
  const facts = { userId, keyId, keyTag, scope, expiresAt };
  return { ...facts, grants, isAnyone: principal === ANYONE, deed };
}

export type NewNamespace = Omit<NamespaceRecord, "createdAt">;
export type NamespaceChange = Partial<Pick<NamespaceRecord, "description" | "keyTag">> & {
  readonly quotas?: Partial<Quotas>;
};
export type NewUser = Pick<UserRecord, "username" | "email" | "externalId">;
export type NewKey = Pick<KeyRecord, "userId" | "name" | "namespace" | "expiresAt"> & {
  /** "" for that of the namespace. */
  readonly keyTag: string;
};
/** Those that match all that is given; at least one must be. */
export interface WhichKeys {
  readonly id?: string;
  readonly userId?: string;
  /** Made before this time. */
  readonly before?: number;
}
export type NewRole = Pick<RoleRecord, "namespace" | "name" | "permissions">;
export interface NamedBinding {
  readonly namespace: string;
  readonly roleName: string;
  readonly userId: string;
}

/** What is changed on the first thread, in one order. */
export interface AuthChanges {
  createNamespace(by: By, given: NewNamespace): Promise<NamespaceRecord>;
  updateNamespace(by: By, name: string, change: NamespaceChange): Promise<NamespaceRecord>;
  deleteNamespace(by: By, name: string): Promise<void>;
  createUser(by: By, given: NewUser): Promise<UserRecord>;
  deleteUser(by: By, id: string): Promise<void>;
  createKey(by: By, given: NewKey): Promise<MadeKey>;
  rotateKey(by: By, id: string, overlap: number, inNamespace?: string): Promise<MadeKey>;
  revokeKeys(by: By, which: WhichKeys, inNamespace?: string): Promise<number>;
  createRole(by: By, given: NewRole): Promise<RoleRecord>;
  updateRole(by: By, given: NewRole): Promise<RoleRecord>;
  deleteRole(by: By, namespace: string, name: string): Promise<void>;
  createBinding(by: By, given: NamedBinding, orStandard: boolean): Promise<BindingRecord>;
  deleteBinding(by: By, given: NamedBinding, orStandard: boolean): Promise<void>;
}

/** What endpoints work with. */
export interface AuthService {
  /** Whether callers have to say who they are. */
  readonly isOn: boolean;
  /** What this thread knows: to be looked up and listed. */
  readonly state: AuthState;
  /** What namespaces use of their quotas. */
  readonly accounts: Accounts;
  readonly changes: AuthChanges;
}

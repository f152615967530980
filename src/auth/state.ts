// All that a thread knows of who there is and what they may do, in memory: a request costs one look-up. The first
// thread's store writes it (store.ts), and every thread follows what is announced, before the call that
// changed it is answered.

import type { Clock } from "../clock.ts";
import { plainError, QueueError, queueError } from "../errors.ts";
import type { Permission } from "./permissions.ts";
import { SYSTEM_NAMESPACE } from "./permissions.ts";
import { type Grants, Principal } from "./principal.ts";
import type { Change, Mark, StoredKey } from "./records.ts";
import { digestOf, tagOf } from "./secrets.ts";
import type { BindingRecord, NamespaceRecord, RoleRecord, UserRecord } from "./service.ts";

/** The user of requests without a key. It has no record: only bindings speak of it. */
export const ANONYMOUS = "anonymous";

const NO_GRANTS: Grants = new Map();

export class AuthState {
  readonly namespaces = new Map<string, NamespaceRecord>();
  readonly users = new Map<string, UserRecord>();
  readonly keys = new Map<string, StoredKey>();
  readonly roles = new Map<string, RoleRecord>();
  readonly bindings = new Map<string, BindingRecord>();
  readonly marks = new Map<string, Mark>();
  readonly #clock: Clock;
  // Ids of keys by the digests of the keys.
  readonly #byDigest = new Map<string, string>();
  readonly #bindingsOf = new Map<string, Set<string>>();
  // By the id of the key; of anonymous requests by "".
  readonly #principals = new Map<string, Principal>();
  // Keys that were used since it was last asked for, with the time of it.
  #used = new Map<string, number>();

  // Whether storage has been read: before, nobody can be told who they are not.
  #isLoaded = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Begins with what storage holds; what was known before is given up. */
  load(all: readonly Change[]): void {
    for (const map of [
      this.namespaces,
      this.users,
      this.keys,
      this.roles,
      this.bindings,
      this.marks,
    ]) {
      map.clear();
    }
    this.#byDigest.clear();
    this.#bindingsOf.clear();
    this.#isLoaded = true;
    this.apply(all);
  }

  /** Storage is not this server's any more: what is known may be true no longer. */
  unload(): void {
    this.#isLoaded = false;
  }

  /** Follows changes, in their order: keys that are gone end, and what roles allow is worked out anew. */
  apply(changes: readonly Change[]): void {
    for (const change of changes) this.#applyOne(change);
    for (const [keyId, principal] of this.#principals) {
      const key = this.keys.get(keyId);
      if (keyId !== "" && (key === undefined || !this.users.has(key.userId))) this.#end(keyId);
      else principal.grants = this.grantsOf(principal.userId);
    }
  }

  #applyOne({ kind, id, value }: Change): void {
    if (kind === "key") this.#forgetDigest(id, value);
    if (kind === "binding") this.#forgetBinding(id);
    const map: Map<string, unknown> = this[`${kind}s`];
    if (value === undefined) {
      map.delete(id);
      return;
    }
    map.set(id, value);
    if (kind === "key") this.#byDigest.set(value.digest, id);
    if (kind !== "binding") return;
    const ids = this.#bindingsOf.get(value.userId) ?? new Set();
    this.#bindingsOf.set(value.userId, ids.add(id));
  }

  #forgetDigest(id: string, after: StoredKey | undefined): void {
    const before = this.keys.get(id);
    if (before === undefined) return;
    this.#byDigest.delete(before.digest);
    // When it was used last is all that can be another and leave it what it is.
    if (after?.expiresAt !== before.expiresAt) this.#end(id);
  }

  #forgetBinding(id: string): void {
    const before = this.bindings.get(id);
    if (before === undefined) return;
    const ids = this.#bindingsOf.get(before.userId);
    ids?.delete(id);
    if (ids?.size === 0) this.#bindingsOf.delete(before.userId);
  }

  #end(keyId: string): void {
    const principal = this.#principals.get(keyId);
    this.#principals.delete(keyId);
    principal?.end();
  }

  /** What a user may do, by namespace. */
  grantsOf(userId: string): Grants {
    const ids = this.#bindingsOf.get(userId);
    if (ids === undefined) return NO_GRANTS;
    const grants = new Map<string, Set<Permission>>();
    for (const id of ids) {
      const { namespace, roleId } = this.bindings.get(id)!;
      const held = grants.get(namespace) ?? new Set<Permission>();
      for (const each of this.roles.get(roleId)?.permissions ?? []) held.add(each);
      grants.set(namespace, held);
    }
    return grants;
  }

  /** The bindings of a user. */
  *bindingsOf(userId: string): Iterable<BindingRecord> {
    for (const id of this.#bindingsOf.get(userId) ?? []) yield this.bindings.get(id)!;
  }

  /** The role of a name in a namespace. */
  roleNamed(namespace: string, name: string): RoleRecord | undefined {
    for (const role of this.roles.values()) {
      if (role.namespace === namespace && role.name === name) return role;
    }
    return undefined;
  }

  /** Throws `namespace_not_found` unless there is one of this name. */
  checkNamespace(namespace: string): void {
    if (namespace === SYSTEM_NAMESPACE || this.namespaces.has(namespace)) return;
    throw queueError("namespace_not_found", { namespace });
  }

  /** Whether there is a key. */
  has(key: string): boolean {
    return this.#byDigest.has(digestOf(key));
  }

  /** Who sends a request with this Authorization header; throws a QueueError (401). */
  principalOf(authorization: string | undefined): Principal {
    if (!this.#isLoaded) throw plainError("standby");
    if (authorization === undefined) return this.#anonymous();
    if (!authorization.startsWith("Bearer ")) throw queueError("unauthenticated", {});
    const text = authorization.slice("Bearer ".length);
    const keyTag = tagOf(text);
    if (keyTag === undefined) throw refused("api key is invalid");
    // Of a digest it tells nothing how long it takes to find it, or not to.
    const id = this.#byDigest.get(digestOf(text));
    const key = id === undefined ? undefined : this.keys.get(id);
    if (key === undefined) throw refused("api key does not exist");
    if (!this.users.has(key.userId)) throw refused("api key is invalid");
    return this.#principalOfKey(key, keyTag);
  }

  #principalOfKey(key: StoredKey, keyTag: string): Principal {
    let principal = this.#principals.get(key.id);
    if (principal === undefined) {
      const { id: keyId, userId, namespace: scope, expiresAt } = key;
      const facts = { userId, keyId, keyTag, scope, expiresAt };
      principal = new Principal(facts, this.grantsOf(userId));
      this.#principals.set(keyId, principal);
    }
    this.checkTime(principal);
    return principal;
  }

  /** Checks a principal that a connection remembers: throws if its key has expired; counts the key as used. */
  checkTime({ keyId, expiresAt }: Principal): void {
    const now = this.#clock.now();
    if (expiresAt !== 0 && now >= expiresAt) {
      this.#end(keyId);
      throw queueError("key_expired", {});
    }
    if (keyId !== "") this.#used.set(keyId, now);
  }

  #anonymous(): Principal {
    let principal = this.#principals.get("");
    if (principal === undefined) {
      const facts = { userId: ANONYMOUS, keyId: "", keyTag: "", scope: "", expiresAt: 0 };
      principal = new Principal(facts, this.grantsOf(ANONYMOUS));
      this.#principals.set("", principal);
    }
    return principal;
  }

  /** The keys that were used since this was called last, with when. */
  takeUsed(): ReadonlyMap<string, number> {
    const used = this.#used;
    this.#used = new Map();
    return used;
  }
}

/** The error of a request whose key is not taken. */
export function refused(message: string): QueueError {
  return new QueueError("unauthorized", message, { code: "unauthenticated" });
}

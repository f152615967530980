// All that a thread knows of who there is and what they may do, in memory: a request costs one look-up. The first
// thread's store writes it (store.ts), and every thread follows what is announced, before the call that
// changed it is answered.

import type { CancelTimer, Clock } from "../clock.ts";
import { plainError, QueueError, queueError } from "../errors.ts";
import { type Account, Accounts } from "../quotas.ts";
import type { Permission } from "./permissions.ts";
import { SYSTEM_NAMESPACE } from "./permissions.ts";
import {
  type ClientCertificate,
  type Grants,
  Principal,
  type PrincipalFacts,
} from "./principal.ts";
import type { Change, Mark, StoredKey } from "./records.ts";
import { digestOf, tagOf } from "./secrets.ts";
import type { BindingRecord, NamespaceRecord, RoleRecord, UserRecord } from "./service.ts";

/** The user of requests without a key. It has no record: only bindings speak of it. */
export const ANONYMOUS = "anonymous";

// In place of the id of a key; no id has a colon.
const OF_CERTIFICATE = "certificate:";

const NO_GRANTS: Grants = new Map();

export class AuthState {
  readonly namespaces = new Map<string, NamespaceRecord>();
  readonly users = new Map<string, UserRecord>();
  readonly keys = new Map<string, StoredKey>();
  readonly roles = new Map<string, RoleRecord>();
  readonly bindings = new Map<string, BindingRecord>();
  readonly marks = new Map<string, Mark>();
  readonly #clock: Clock;
  readonly #accounts: Accounts;
  // Ids of keys by the digests of the keys.
  readonly #byDigest = new Map<string, string>();
  readonly #bindingsOf = new Map<string, Set<string>>();
  // Ids of users by what they are called elsewhere.
  readonly #byExternalId = new Map<string, Set<string>>();
  // By the id of the key; of anonymous requests by "".
  readonly #principals = new Map<string, Principal>();
  // When keys were used last whose principals have ended since, of those that are still there.
  readonly #usedBefore = new Map<string, number>();
  // Of those whose keys end by themselves.
  readonly #timers = new Map<string, CancelTimer>();
  // Why nobody can be told who they are, or are not, before storage has been read and after it was given up.
  #unknown: QueueError | undefined = plainError("standby");

  /** `accounts` are told of the quotas of namespaces. */
  constructor(clock: Clock, accounts = new Accounts()) {
    this.#clock = clock;
    this.#accounts = accounts;
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
    this.#accounts.forgetQuotas();
    this.#byDigest.clear();
    this.#bindingsOf.clear();
    this.#byExternalId.clear();
    for (const change of all) this.#applyOne(change);
    this.#unknown = undefined;
    this.#endAll();
  }

  /** Storage is not this server's any more: what is known may be true no longer, so nobody is remembered. */
  unload(reason: QueueError): void {
    this.#unknown = reason;
    this.#endAll();
  }

  #endAll(): void {
    for (const keyId of [...this.#principals.keys()]) this.#end(keyId);
  }

  /** Follows changes, in their order: keys that are gone end, and what roles allow is worked out anew. */
  apply(changes: readonly Change[]): void {
    const isOther = new Set<string>();
    for (const change of changes) {
      if (change.kind === "key" && !isAsBefore(this.keys.get(change.id), change.value)) {
        isOther.add(change.id);
      }
      this.#applyOne(change);
    }
    // All is known before anybody who waits is told, for they may ask at once.
    for (const keyId of isOther) this.#end(keyId);
    if (changes.every(({ kind }) => kind === "key" || kind === "namespace")) return;
    for (const [keyId, principal] of [...this.#principals]) {
      if (keyId !== "" && !this.isThere(principal)) this.#end(keyId);
      else principal.grants = this.grantsOf(principal.userId);
    }
  }

  #applyOne({ kind, id, value }: Change): void {
    if (kind === "key") this.#byDigest.delete(this.keys.get(id)?.digest ?? "");
    if (kind === "binding") this.#forgetBinding(id);
    if (kind === "user") this.#nameUser(id, value);
    if (kind === "namespace") this.#accounts.setQuotas(id, value?.quotas);
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

  #nameUser(id: string, user: UserRecord | undefined): void {
    const before = this.users.get(id)?.externalId ?? "";
    const ids = this.#byExternalId.get(before);
    ids?.delete(id);
    if (ids?.size === 0) this.#byExternalId.delete(before);
    const name = user?.externalId ?? "";
    if (name === "") return;
    this.#byExternalId.set(name, (this.#byExternalId.get(name) ?? new Set()).add(id));
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
    this.#timers.get(keyId)?.();
    this.#timers.delete(keyId);
    // As when it was rotated: its end is another, and its next use makes another principal of it.
    const isUsed = principal?.wasUsed === true && this.keys.has(keyId);
    if (isUsed) this.#usedBefore.set(keyId, this.#clock.now());
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

  /** Whether a key, or of who has shown a certificate the user, is still there. */
  isThere({ keyId, userId }: Pick<Principal, "keyId" | "userId">): boolean {
    if (!keyId.startsWith(OF_CERTIFICATE) && !this.keys.has(keyId)) return false;
    return this.users.has(userId);
  }

  /**
   * Who sends a request with this Authorization header, or without one on a connection with this certificate; throws
   * a QueueError (401).
   */
  principalOf(authorization: string | undefined, certificate?: ClientCertificate): Principal {
    if (this.#unknown !== undefined) throw this.#unknown;
    if (authorization === undefined) {
      return this.#principalOfCertificate(certificate) ?? this.#anonymous();
    }
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

  // The user whose external id is the name in it. Where nobody has that, or several, it makes nobody of its sender.
  #principalOfCertificate(certificate: ClientCertificate | undefined): Principal | undefined {
    const [userId, ...others] = this.#byExternalId.get(certificate?.name ?? "") ?? [];
    if (certificate === undefined || userId === undefined || others.length > 0) return undefined;
    const { expiresAt } = certificate;
    const keyId = `${OF_CERTIFICATE}${expiresAt}:${userId}`;
    return this.#known({ userId, keyId, keyTag: "", scope: "", expiresAt });
  }

  #principalOfKey(key: StoredKey, keyTag: string): Principal {
    const { id: keyId, userId, namespace: scope, expiresAt } = key;
    return this.#known({ userId, keyId, keyTag, scope, expiresAt });
  }

  #known(facts: PrincipalFacts): Principal {
    const { userId, keyId, expiresAt } = facts;
    let principal = this.#principals.get(keyId);
    if (principal === undefined && !this.#isOver(expiresAt)) {
      principal = new Principal(facts, this.grantsOf(userId));
      this.#principals.set(keyId, principal);
      if (expiresAt !== 0) {
        this.#timers.set(
          keyId,
          this.#clock.wakeAt(expiresAt, () => this.#end(keyId)),
        );
      }
    }
    if (principal === undefined || !this.isTaken(principal)) throw queueError("key_expired", {});
    return principal;
  }

  /** Whether one that a connection remembers is still taken; counts its key as used. */
  isTaken(principal: Principal): boolean {
    if (principal.isEnded) return false;
    if (this.#isOver(principal.expiresAt)) {
      this.#end(principal.keyId); // its timer is late
      return false;
    }
    principal.wasUsed = true;
    return true;
  }

  #isOver(expiresAt: number): boolean {
    return expiresAt !== 0 && this.#clock.now() >= expiresAt;
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

  /** What a namespace uses. */
  accountOf(namespace: string): Account {
    return this.#accounts.of(namespace);
  }

  /** The keys that were used since this was called last, with the time of this call. */
  takeUsed(): ReadonlyMap<string, number> {
    const now = this.#clock.now();
    const used = new Map<string, number>();
    for (const [keyId, at] of this.#usedBefore) if (this.keys.has(keyId)) used.set(keyId, at);
    this.#usedBefore.clear();
    for (const [keyId, principal] of this.#principals) {
      if (this.keys.has(keyId) && principal.wasUsed) used.set(keyId, now);
      principal.wasUsed = false;
    }
    return used;
  }
}

// When it was used last is all that can be another and leave a key what it is.
function isAsBefore(before: StoredKey | undefined, after: StoredKey | undefined): boolean {
  return before?.digest === after?.digest && before?.expiresAt === after?.expiresAt;
}

/** The error of a request whose key is not taken. */
export function refused(message: string): QueueError {
  return new QueueError("unauthorized", message, { code: "unauthenticated" });
}

// Where namespaces, users, keys, roles and bindings are changed: on the first thread, one change at a time, in one
// order with those of queues. A change is durable before any thread knows of it, and every thread knows of it
// before it is answered. After a failed write nobody knows what storage holds; what memory holds is then
// written again before the next change.

import type { Clock } from "../clock.ts";
import { QueueError, queueError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import type { AuditLog, Note } from "./audit.ts";
import { SERVER_DEED } from "./audit.ts";
import { deedIn, differences, endOf, ifAny, lossesOf, server } from "./audited.ts";
import { type Permission, STANDARD_ROLES, SYSTEM_NAMESPACE } from "./permissions.ts";
import { ANYONE, denied, Principal } from "./principal.ts";
import {
  absent,
  type Change,
  present,
  RECORD_KINDS,
  readAuthRecords,
  type StoredKey,
  writeAuthRecords,
} from "./records.ts";
import { DEFAULT_TAG, digestOf, newId, newKey, prefixOf } from "./secrets.ts";
import type {
  AuthChanges,
  BindingRecord,
  By,
  KeyRecord,
  MadeKey,
  NamedBinding as Named,
  NamespaceChange,
  NamespaceRecord,
  NewKey,
  NewNamespace,
  NewRole,
  NewUser,
  RoleRecord,
  UserRecord,
  WhichKeys,
} from "./service.ts";
import { ANONYMOUS, type AuthState, refused } from "./state.ts";

// The first key was made: it is never made again, whatever becomes of it.
const BOOTSTRAPPED = "bootstrapped";

export interface AuthStoreOptions {
  readonly clock: Clock;
  /** Where records lie. */
  readonly records: Storage;
  /** Where changes are noted, in the same write. */
  readonly audit: AuditLog;
  /** What the first thread knows. */
  readonly state: AuthState;
  /** Makes the other threads know of changes; resolves when they do. */
  readonly tell?: (changes: readonly Change[], isAll: boolean) => Promise<void>;
  /** Does something in order with the changes of queues. */
  readonly inOrder: <T>(work: () => Promise<T>) => Promise<T>;
  /** How many queues a namespace has. */
  readonly queuesIn: (namespace: string) => number;
}

export class AuthStore implements AuthChanges {
  readonly #options: AuthStoreOptions;
  readonly #state: AuthState;
  // What a failed write may have left in storage, to be written as memory has it.
  readonly #doubtful = new Map<string, Pick<Change, "kind" | "id">>();

  private constructor(options: AuthStoreOptions) {
    this.#options = options;
    this.#state = options.state;
  }

  /** Reads all that storage holds, and makes every thread know of it. */
  static async open(options: AuthStoreOptions): Promise<AuthStore> {
    const store = new AuthStore(options);
    const all = await readAuthRecords(options.records);
    // What hangs on something must come after it.
    const rank = ({ kind }: Change): number => RECORD_KINDS.indexOf(kind);
    const sorted = all.toSorted((a, b) => rank(a) - rank(b));
    options.state.load(sorted);
    await options.tell?.(sorted, true);
    return store;
  }

  // --- the beginning ---

  /** Whether the first key was made, ever. */
  get isBootstrapped(): boolean {
    return this.#state.marks.has(BOOTSTRAPPED);
  }

  /** Whether a key is taken, as far as its end is not reached. */
  has(key: string): boolean {
    return this.#state.has(key);
  }

  /**
   * Makes the standard roles as this version has them, and, unless that was ever done, the first user with the first
   * key, which may do everything: `key`, or one that is made. Answers the key if one was made.
   */
  bootstrap(key?: string): Promise<string | undefined> {
    return this.#change(async () => {
      const now = this.#options.clock.now();
      const changes: Change[] = this.#standardRoles(now);
      let made: string | undefined;
      if (!this.#state.marks.has(BOOTSTRAPPED)) {
        made = key ?? newKey(DEFAULT_TAG);
        const user = { username: "admin", email: "", externalId: "", id: newId(now) };
        const role = changes
          .map(({ value }) => value as RoleRecord)
          .concat(...this.#state.roles.values())
          .find(({ namespace, name }) => namespace === SYSTEM_NAMESPACE && name === "Admin")!;
        const binding = { namespace: SYSTEM_NAMESPACE, userId: user.id, roleId: role.id };
        changes.push(
          present("user", { ...user, createdAt: now, updatedAt: now }),
          present("binding", { id: newId(now), ...binding, createdAt: now }),
          present("key", this.#storedKey(made, { userId: user.id, name: "first" })),
          present("mark", { id: BOOTSTRAPPED, at: now }),
        );
      }
      const first = {
        deed: SERVER_DEED,
        target: "admin",
        changes: [{ field: "key", to: "first" }],
      };
      await this.#write(changes, ...(made === undefined ? [] : [first]));
      return made;
    });
  }

  #standardRoles(now: number): Change[] {
    return Object.entries(STANDARD_ROLES).flatMap(([name, permissions]) => {
      const before = this.#state.roleNamed(SYSTEM_NAMESPACE, name);
      const isSame = before?.permissions.join() === permissions.join();
      if (isSame) return [];
      const made = { id: newId(now), namespace: SYSTEM_NAMESPACE, name, createdAt: now };
      return [present("role", { ...(before ?? made), permissions })];
    });
  }

  // --- namespaces ---

  createNamespace(by: By, given: NewNamespace): Promise<NamespaceRecord> {
    return this.#change(async () => {
      const { name } = given;
      if (name === SYSTEM_NAMESPACE || this.#state.namespaces.has(name)) {
        throw queueError("namespace_exists", { namespace: name });
      }
      const record = { ...given, createdAt: this.#options.clock.now() };
      const { name: _, createdAt: __, ...settings } = record;
      const changes = differences({}, settings);
      await this.#write([present("namespace", record)], { ...server(by), target: name, changes });
      return record;
    });
  }

  updateNamespace(by: By, name: string, change: NamespaceChange): Promise<NamespaceRecord> {
    return this.#change(async () => {
      const before = this.#state.namespaces.get(name);
      if (before === undefined) throw queueError("namespace_not_found", { namespace: name });
      const quotas = { ...before.quotas, ...change.quotas };
      const record = { ...before, ...change, quotas };
      const note = { ...server(by), target: name, changes: differences(before, record) };
      await this.#write([present("namespace", record)], ...ifAny(note));
      return record;
    });
  }

  deleteNamespace(by: By, name: string): Promise<void> {
    return this.#change(async () => {
      if (!this.#state.namespaces.has(name)) {
        throw queueError("namespace_not_found", { namespace: name });
      }
      const isIn = ({ namespace }: { readonly namespace: string }) => namespace === name;
      const { bindings, roles } = this.#state;
      const what = [...bindings.values()].some(isIn)
        ? "role bindings"
        : [...roles.values()].some(isIn)
          ? "roles"
          : this.#options.queuesIn(name) > 0
            ? "queues"
            : undefined;
      if (what !== undefined) throw queueError("namespace_in_use", { namespace: name, what });
      await this.#write([absent("namespace", name)], { ...server(by), target: name });
    });
  }

  // --- users ---

  createUser(by: By, given: NewUser): Promise<UserRecord> {
    return this.#change(async () => {
      const { username } = given;
      const isTaken =
        username === ANONYMOUS ||
        [...this.#state.users.values()].some((user) => user.username === username);
      if (isTaken) throw queueError("user_exists", { username });
      const now = this.#options.clock.now();
      const user = { ...given, id: newId(now), createdAt: now, updatedAt: now };
      const changes = differences({}, given);
      await this.#write([present("user", user)], { ...server(by), target: user.id, changes });
      return user;
    });
  }

  /** Its keys and bindings go with it. */
  deleteUser(by: By, id: string): Promise<void> {
    return this.#change(async () => {
      if (!this.#state.users.has(id)) throw queueError("user_not_found", { id });
      const { keys } = this.#state;
      const ofUser = [...keys.values()].filter(({ userId }) => userId === id);
      const bindings = [...this.#state.bindingsOf(id)];
      const { username } = this.#state.users.get(id)!;
      const what = { target: id, from: { username } };
      await this.#write(
        [
          absent("user", id),
          ...ofUser.map((key) => absent("key", key.id)),
          ...bindings.map((binding) => absent("binding", binding.id)),
        ],
        ...lossesOf(by, what, [{ namespace: SYSTEM_NAMESPACE }, ...ofUser, ...bindings]),
      );
    });
  }

  // --- keys ---

  createKey(by: By, given: NewKey): Promise<MadeKey> {
    return this.#change(async () => {
      const { userId, namespace } = given;
      if (!this.#state.users.has(userId)) throw queueError("user_not_found", { id: userId });
      // Whose own key is for one namespace gives none that is for another, or for all.
      if (by.scope !== "" && namespace !== by.scope) throw denied();
      this.#checkGiver(by, this.#allowedTo(userId, namespace));
      return this.#makeKey(by, given);
    });
  }

  async #makeKey(by: By, given: NewKey, old?: StoredKey): Promise<MadeKey> {
    const tag = given.keyTag || this.#state.namespaces.get(given.namespace)?.keyTag || DEFAULT_TAG;
    const key = newKey(tag);
    const stored = this.#storedKey(key, given);
    const { userId, name, namespace, expiresAt, id } = stored;
    await this.#write(
      [present("key", stored), ...(old === undefined ? [] : [present("key", old)])],
      {
        ...deedIn(by, namespace),
        target: old?.id ?? id,
        changes: [
          ...(old === undefined ? [] : [{ field: "key", to: id }, endOf(old.expiresAt)]),
          ...differences({}, { userId, name, namespace }),
          ...(old === undefined && expiresAt !== 0 ? [endOf(expiresAt)] : []),
        ],
      },
    );
    return { record: withoutDigest(stored), key };
  }

  #storedKey(
    key: string,
    given: Pick<KeyRecord, "userId" | "name"> & Partial<Pick<KeyRecord, "namespace" | "expiresAt">>,
  ): StoredKey {
    const { userId, name, namespace = "", expiresAt = 0 } = given;
    const now = this.#options.clock.now();
    const shown = { prefix: prefixOf(key), digest: digestOf(key) };
    return {
      id: newId(now),
      userId,
      name,
      namespace,
      expiresAt,
      ...shown,
      createdAt: now,
      lastUsedAt: 0,
    };
  }

  /**
   * Makes another key like one, which is taken for `overlap` microseconds from now on, but not for longer than
   * it would have been. `inNamespace`: only a key of this namespace is found; undefined for all.
   */
  rotateKey(
    by: By,
    id: string,
    overlap: number,
    inNamespace: string | undefined,
  ): Promise<MadeKey> {
    return this.#change(async () => {
      const old = this.#keyIn(id, inNamespace);
      this.#checkGiver(by, this.#allowedTo(old.userId, old.namespace));
      const now = this.#options.clock.now(); // people go by the wall clock
      const until = now + overlap;
      const expiresAt = old.expiresAt === 0 ? until : Math.min(old.expiresAt, until);
      const { userId, name, namespace } = old;
      const given = {
        userId,
        name,
        namespace,
        expiresAt: old.expiresAt,
        keyTag: tagOf(old.prefix),
      };
      return this.#makeKey(by, given, { ...old, expiresAt });
    });
  }

  /** Takes keys away; answers how many. One that is named must be there. */
  revokeKeys(by: By, which: WhichKeys, inNamespace: string | undefined): Promise<number> {
    return this.#change(async () => {
      const { id, userId, before } = which;
      const keys =
        id !== undefined
          ? [this.#keyIn(id, inNamespace)]
          : [...this.#state.keys.values()].filter(
              (key) =>
                (inNamespace === undefined || key.namespace === inNamespace) &&
                (userId === undefined || key.userId === userId) &&
                (before === undefined || key.createdAt < before),
            );
      const target = id ?? userId ?? "";
      await this.#write(
        keys.map((key) => absent("key", key.id)),
        ...lossesOf(by, { target, from: {} }, keys),
      );
      return keys.length;
    });
  }

  #keyIn(id: string, inNamespace: string | undefined): StoredKey {
    const key = this.#state.keys.get(id);
    if (key !== undefined && (inNamespace === undefined || key.namespace === inNamespace)) {
      return key;
    }
    throw keyNotFound(id);
  }

  // --- roles ---

  createRole(by: By, given: NewRole): Promise<RoleRecord> {
    return this.#change(async () => {
      const { namespace, name, permissions } = given;
      this.#checkGiver(by, new Map([[namespace, new Set(permissions)]]));
      checkNotStandard(name);
      this.#state.checkNamespace(namespace);
      if (this.#state.roleNamed(namespace, name) !== undefined) {
        throw queueError("role_exists", { role: `${namespace}:${name}` });
      }
      const now = this.#options.clock.now();
      const role = { id: newId(now), namespace, name, permissions, createdAt: now };
      const changes = differences({}, { permissions });
      await this.#write([present("role", role)], {
        ...deedIn(by, namespace),
        target: name,
        changes,
      });
      return role;
    });
  }

  updateRole(by: By, given: NewRole): Promise<RoleRecord> {
    return this.#change(async () => {
      const { namespace, name, permissions } = given;
      const before = this.#roleIn(namespace, name);
      checkNotStandard(name);
      this.#checkGiver(by, new Map([[namespace, new Set(permissions)]]));
      const role = { ...before, permissions };
      const changes = differences(before, role);
      const note = { ...deedIn(by, namespace), target: name, changes };
      await this.#write([present("role", role)], ...ifAny(note));
      return role;
    });
  }

  deleteRole(by: By, namespace: string, name: string): Promise<void> {
    return this.#change(async () => {
      const role = this.#roleIn(namespace, name);
      checkNotStandard(name);
      if ([...this.#state.bindings.values()].some(({ roleId }) => roleId === role.id)) {
        throw queueError("role_in_use", { role: name });
      }
      const changes = differences({ permissions: role.permissions }, {});
      await this.#write([absent("role", role.id)], {
        ...deedIn(by, namespace),
        target: name,
        changes,
      });
    });
  }

  #roleIn(namespace: string, name: string): RoleRecord {
    const role = this.#state.roleNamed(namespace, name);
    if (role !== undefined) return role;
    throw queueError("role_not_found", { role: `${namespace}:${name}` });
  }

  // --- bindings ---

  /** With `orStandard` the role may also be a standard one, which lies in `_system`. */
  createBinding(
    by: By,
    { namespace, roleName, userId }: Named,
    orStandard: boolean,
  ): Promise<BindingRecord> {
    return this.#change(async () => {
      const role = this.#roleFor(namespace, roleName, orStandard);
      if (userId !== ANONYMOUS && !this.#state.users.has(userId)) {
        throw queueError("user_not_found", { id: userId });
      }
      this.#state.checkNamespace(namespace);
      this.#checkGiver(by, new Map([[namespace, new Set(role.permissions)]]));
      if (this.#bindingOf(namespace, userId, role.id) !== undefined) {
        throw queueError("binding_exists", { user: userId, role: role.id, namespace });
      }
      const now = this.#options.clock.now();
      const binding = { id: newId(now), namespace, userId, roleId: role.id, createdAt: now };
      const note = { ...deedIn(by, namespace), target: userId };
      const changes = [{ field: "role", to: roleName }];
      await this.#write([present("binding", binding)], { ...note, changes });
      return binding;
    });
  }

  deleteBinding(
    by: By,
    { namespace, roleName, userId }: Named,
    orStandard: boolean,
  ): Promise<void> {
    return this.#change(async () => {
      const role = this.#roleFor(namespace, roleName, orStandard);
      const binding = this.#bindingOf(namespace, userId, role.id);
      if (binding === undefined) {
        throw queueError("binding_not_found", { binding: `${namespace}:${userId}:${role.id}` });
      }
      const note = { ...deedIn(by, namespace), target: userId };
      const changes = [{ field: "role", from: roleName }];
      await this.#write([absent("binding", binding.id)], { ...note, changes });
    });
  }

  #roleFor(namespace: string, name: string, orStandard: boolean): RoleRecord {
    const own = this.#state.roleNamed(namespace, name);
    if (own !== undefined || !orStandard || !Object.hasOwn(STANDARD_ROLES, name)) {
      return own ?? this.#roleIn(namespace, name);
    }
    return this.#roleIn(SYSTEM_NAMESPACE, name);
  }

  #bindingOf(namespace: string, userId: string, roleId: string): BindingRecord | undefined {
    for (const binding of this.#state.bindingsOf(userId)) {
      if (binding.namespace === namespace && binding.roleId === roleId) return binding;
    }
    return undefined;
  }

  // --- who may give what ---

  // What a key of a user allows: in its namespace, if it has one, and under /v1 in `_system` as well.
  #allowedTo(userId: string, namespace: string): ReadonlyMap<string, ReadonlySet<Permission>> {
    const grants = this.#state.grantsOf(userId);
    if (namespace === "") return grants;
    const everywhere = grants.get(SYSTEM_NAMESPACE) ?? new Set<Permission>();
    return new Map([
      [namespace, new Set([...(grants.get(namespace) ?? []), ...everywhere])],
      [SYSTEM_NAMESPACE, everywhere],
    ]);
  }

  // Nobody gives what they do not have: now, for the key may have been taken away while this waited for its turn.
  #checkGiver(by: By, given: ReadonlyMap<string, ReadonlySet<Permission>>): void {
    const isGone = by.keyId !== "" && !this.#state.isThere(by);
    if (isGone) throw refused("api key does not exist");
    const giver = by.isAnyone ? ANYONE : new Principal(by, this.#state.grantsOf(by.userId));
    for (const [namespace, permissions] of given) {
      for (const each of permissions) {
        if (!giver.may(each, namespace)) throw denied();
      }
    }
  }

  // --- changing ---

  #change<T>(work: () => Promise<T>): Promise<T> {
    return this.#options.inOrder(async () => {
      await this.#settle();
      return await work();
    });
  }

  async #write(changes: readonly Change[], ...notes: readonly Note[]): Promise<void> {
    if (changes.length === 0) return;
    await this.#put(changes, notes);
    await this.#announce(changes);
  }

  async #put(changes: readonly Change[], notes: readonly Note[]): Promise<void> {
    for (const { kind, id } of changes) this.#doubtful.set(`${kind} ${id}`, { kind, id });
    const { audit, records } = this.#options;
    await audit.along(notes, (also) => writeAuthRecords(records, changes, also));
    for (const { kind, id } of changes) this.#doubtful.delete(`${kind} ${id}`);
  }

  // Writes what memory holds of all that is in doubt.
  async #settle(): Promise<void> {
    if (this.#doubtful.size === 0) return;
    const changes = [...this.#doubtful.values()].map(({ kind, id }): Change => {
      const map: ReadonlyMap<string, unknown> = this.#state[`${kind}s`];
      return { kind, id, value: map.get(id) } as Change;
    });
    await this.#put(changes, []);
  }

  async #announce(changes: readonly Change[]): Promise<void> {
    this.#state.apply(changes);
    await this.#options.tell?.(changes, false);
  }

  /** Writes down when keys were used last, if any were: beside other work, never for a request. */
  noteUsed(used: ReadonlyMap<string, number>): Promise<void> {
    return this.#change(async () => {
      const changes = [...used].flatMap(([id, lastUsedAt]) => {
        const key = this.#state.keys.get(id);
        return key === undefined || key.lastUsedAt >= lastUsedAt
          ? []
          : [present("key", { ...key, lastUsedAt })];
      });
      await this.#write(changes);
    });
  }
}

// The tag in the prefix of a key.
function tagOf(prefix: string): string {
  return prefix.split("-")[1]!;
}

function withoutDigest({ digest: _, ...record }: StoredKey): KeyRecord {
  return record;
}

function keyNotFound(id: string): QueueError {
  const { kind, message, code } = queueError("key_not_found", {});
  return new QueueError(kind, message, {
    code,
    detail: `key does not exist; '${id}' was not found`,
  });
}

function checkNotStandard(role: string): void {
  if (Object.hasOwn(STANDARD_ROLES, role)) throw queueError("role_is_standard", { role });
}

// Who may do what: the calls that make, list and end namespaces, users, keys, roles and bindings, and their records.
// None of them is repeated that may have been done, but for those that only read: what is made has a name that is
// there once, and a key is told once. A server that knows /v1 only knows none of them.

import { type CallOptions, checkForm, confirmed, once, pages } from "./call.ts";
import type { Connection } from "./connection.ts";
import { type Duration, toText } from "./duration.ts";
import { decodeDate } from "./items.ts";
import { checkNames, type Names, namesOf } from "./names.ts";

/** Of lists, which are fetched page by page. */
export interface ListPages extends CallOptions {
  /** How many one request fetches: 1 to 1000, which is the default. */
  readonly pageSize?: number | undefined;
}

type Json = Readonly<Record<string, unknown>>;

// What all of them have in common: how each is asked for, and checked.
class Nouns<Wire extends object, T> {
  readonly connection: Connection;
  readonly #noun: string;
  readonly #decode: (wire: Wire) => T;

  constructor(connection: Connection, noun: string, decode: (wire: Wire) => T) {
    this.connection = connection;
    this.#noun = noun;
    this.#decode = decode;
  }

  async one(verb: string, request: Json, options: CallOptions, isRead = false): Promise<T> {
    const path = `${this.#noun}.${verb}`;
    const wire = await once<Wire>(this.connection, path, request, options, isRead);
    checkForm("id" in wire || "name" in wire, wire);
    return this.#decode(wire);
  }

  async end(request: Json, options: CallOptions): Promise<void> {
    await confirmed(this.connection, `${this.#noun}.delete`, request, options);
  }

  list(request: Json, options: ListPages): AsyncGenerator<T, void, undefined> {
    return pages<Wire, T>(this.connection, `${this.#noun}.list`, {
      request,
      name: this.#noun,
      options,
      decode: this.#decode,
    });
  }
}

// --- namespaces ---

/** What a namespace may use; what is left out, and 0, is without limit. */
export interface Quotas {
  readonly queues?: number | undefined;
  readonly items?: number | undefined;
  readonly bytes?: number | undefined;
  readonly requestsPerSecond?: number | undefined;
  readonly itemsPerSecond?: number | undefined;
  readonly waitingLeases?: number | undefined;
  readonly connections?: number | undefined;
}

export interface NewNamespace {
  readonly name: string;
  readonly description?: string | undefined;
  /** The tag of keys that are made for it, if none is given: 1 to 16 of 0-9 and a-z. */
  readonly keyTag?: string | undefined;
  readonly quotas?: Quotas | undefined;
}

/** What is left out stays as it is; quotas are replaced by those that are given. */
export type NamespaceChanges = Omit<NewNamespace, "name">;

export interface Namespace {
  readonly name: string;
  readonly description: string;
  readonly keyTag: string;
  readonly quotas: Quotas;
  /** How much of them is used; only `info` tells it. */
  readonly used: Quotas;
  /** Not told of `_system`, which is always there. */
  readonly createdAt: Date | undefined;
}

interface WireQuotas {
  readonly queues?: number;
  readonly items?: number;
  readonly bytes?: number;
  readonly requests_per_second?: number;
  readonly items_per_second?: number;
  readonly waiting_leases?: number;
  readonly connections?: number;
}

interface WireNamespace {
  readonly name?: string;
  readonly description?: string;
  readonly key_tag?: string;
  readonly quotas?: WireQuotas;
  readonly used?: WireQuotas;
  readonly created_at?: string;
}

const OF_NAMESPACE = namesOf<NewNamespace>({
  name: true,
  description: true,
  keyTag: true,
  quotas: true,
});
const OF_QUOTAS = namesOf<Quotas>({
  queues: true,
  items: true,
  bytes: true,
  requestsPerSecond: true,
  itemsPerSecond: true,
  waitingLeases: true,
  connections: true,
});

/** What `client.namespaces` does. */
export class Namespaces {
  readonly #nouns: Nouns<WireNamespace, Namespace>;

  constructor(connection: Connection) {
    this.#nouns = new Nouns(connection, "namespaces", decodeNamespace);
  }

  /** Makes a namespace; throws an ExistsError if there is one of that name. */
  async create(given: NewNamespace, options: CallOptions = {}): Promise<Namespace> {
    return this.#nouns.one("create", encodeNamespace(given), options);
  }

  async update(
    name: string,
    changes: NamespaceChanges,
    options: CallOptions = {},
  ): Promise<Namespace> {
    return this.#nouns.one("update", encodeNamespace({ ...changes, name }), options);
  }

  info(name: string, options: CallOptions = {}): Promise<Namespace> {
    return this.#nouns.one("info", { name }, options, true);
  }

  /** Deletes a namespace that has no bindings, roles and queues any more. */
  delete(name: string, options: CallOptions = {}): Promise<void> {
    return this.#nouns.end({ name }, options);
  }

  /** All of them by name. */
  list(options: ListPages = {}): AsyncGenerator<Namespace, void, undefined> {
    return this.#nouns.list({}, options);
  }
}

function encodeNamespace(given: NewNamespace): Json {
  checkNames(given, OF_NAMESPACE, "a namespace");
  const { name, description, keyTag: key_tag, quotas } = given;
  return { name, description, key_tag, quotas: quotas && encodeQuotas(quotas) };
}

function encodeQuotas(quotas: Quotas): WireQuotas {
  checkNames(quotas, OF_QUOTAS, "a namespace's quotas");
  const { requestsPerSecond, itemsPerSecond, waitingLeases, ...same } = quotas;
  return {
    ...(same as WireQuotas),
    ...(requestsPerSecond === undefined ? {} : { requests_per_second: requestsPerSecond }),
    ...(itemsPerSecond === undefined ? {} : { items_per_second: itemsPerSecond }),
    ...(waitingLeases === undefined ? {} : { waiting_leases: waitingLeases }),
  };
}

function decodeNamespace(wire: WireNamespace): Namespace {
  return {
    name: wire.name ?? "",
    description: wire.description ?? "",
    keyTag: wire.key_tag ?? "",
    quotas: decodeQuotas(wire.quotas),
    used: decodeQuotas(wire.used),
    createdAt: decodeDate(wire.created_at),
  };
}

function decodeQuotas(wire: WireQuotas = {}): Quotas {
  return {
    queues: Number(wire.queues ?? 0),
    items: Number(wire.items ?? 0),
    bytes: Number(wire.bytes ?? 0),
    requestsPerSecond: Number(wire.requests_per_second ?? 0),
    itemsPerSecond: Number(wire.items_per_second ?? 0),
    waitingLeases: Number(wire.waiting_leases ?? 0),
    connections: Number(wire.connections ?? 0),
  };
}

// --- users ---

export interface NewUser {
  /** One that no other user has. */
  readonly username: string;
  readonly email?: string | undefined;
  /** What another system calls it. */
  readonly externalId?: string | undefined;
}

export interface User {
  readonly id: string;
  readonly username: string;
  readonly email: string;
  readonly externalId: string;
  readonly createdAt: Date | undefined;
}

interface WireUser {
  readonly id?: string;
  readonly username?: string;
  readonly email?: string;
  readonly external_id?: string;
  readonly created_at?: string;
}

const OF_USER = namesOf<NewUser>({ username: true, email: true, externalId: true });

/** What `client.users` does. */
export class Users {
  readonly #nouns: Nouns<WireUser, User>;

  constructor(connection: Connection) {
    this.#nouns = new Nouns(connection, "users", decodeUser);
  }

  /** Makes a user; throws an ExistsError if there is one of that name. */
  async create(given: NewUser, options: CallOptions = {}): Promise<User> {
    checkNames(given, OF_USER, "a user");
    const { username, email, externalId: external_id } = given;
    return this.#nouns.one("create", { username, email, external_id }, options);
  }

  /** Deletes a user with its bindings and keys, which are taken no more. */
  delete(id: string, options: CallOptions = {}): Promise<void> {
    return this.#nouns.end({ id }, options);
  }

  /** All of them in the order in which they were made. */
  list(options: ListPages = {}): AsyncGenerator<User, void, undefined> {
    return this.#nouns.list({}, options);
  }
}

function decodeUser(wire: WireUser): User {
  return {
    id: wire.id ?? "",
    username: wire.username ?? "",
    email: wire.email ?? "",
    externalId: wire.external_id ?? "",
    createdAt: decodeDate(wire.created_at),
  };
}

// --- keys ---

export interface NewKey {
  readonly userId: string;
  /** For people. */
  readonly name?: string | undefined;
  /** The only one that it is for; by default that of the caller, or all in which its user has a role. */
  readonly namespace?: string | undefined;
  readonly expiresAt?: Date | undefined;
  /** In place of expiresAt. */
  readonly expireIn?: Duration | undefined;
  /** 1 to 16 of 0-9 and a-z. */
  readonly keyTag?: string | undefined;
}

/** A key without what makes it one. */
export interface Key {
  readonly id: string;
  readonly userId: string;
  /** "" if it is for all. */
  readonly namespace: string;
  readonly name: string;
  /** What it begins with. */
  readonly prefix: string;
  /** Never, if not set. */
  readonly expiresAt: Date | undefined;
  /** Give or take a minute. */
  readonly lastUsedAt: Date | undefined;
  readonly createdAt: Date | undefined;
}

export interface MadeKey extends Key {
  /** Told once, and kept nowhere. */
  readonly key: string;
}

export interface RotateKeyOptions extends CallOptions {
  /** For how long the old key is still taken: up to 720h, 1h by default. */
  readonly overlap?: Duration | undefined;
}

export interface KeyPages extends ListPages {
  /** Only those of this user. */
  readonly userId?: string | undefined;
}

/** One key, or those of a user, or that were made before a time, or both. */
export type WhichKeys =
  | { readonly id: string }
  | { readonly userId: string; readonly before?: Date | undefined }
  | { readonly userId?: string | undefined; readonly before: Date };

interface WireKey {
  readonly id?: string;
  readonly user_id?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly prefix?: string;
  readonly expires_at?: string;
  readonly last_used_at?: string;
  readonly created_at?: string;
}

interface WireMadeKey {
  readonly info?: WireKey;
  readonly key?: string;
}

const OF_KEY = namesOf<NewKey>({
  userId: true,
  name: true,
  namespace: true,
  expiresAt: true,
  expireIn: true,
  keyTag: true,
});
const WHICH: Names = new Set(["id", "userId", "before"]);

/** What `client.keys` does. */
export class Keys {
  readonly #connection: Connection;
  readonly #nouns: Nouns<WireKey, Key>;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.#nouns = new Nouns(connection, "keys", decodeKey);
  }

  /** Makes a key, and tells it: once. */
  async create(given: NewKey, options: CallOptions = {}): Promise<MadeKey> {
    checkNames(given, OF_KEY, "a key");
    const { userId, name, namespace, expiresAt, expireIn, keyTag } = given;
    const request = {
      user_id: userId,
      name,
      namespace,
      expires_at: expiresAt?.toISOString(),
      expire_in: expireIn === undefined ? undefined : toText(expireIn, "expireIn"),
      key_tag: keyTag,
    };
    return this.#make("keys.create", request, options);
  }

  /** Makes another key like one, which is taken for a while longer; tells the new one: once. */
  async rotate(id: string, { overlap, ...options }: RotateKeyOptions = {}): Promise<MadeKey> {
    const request = { id, overlap: overlap === undefined ? undefined : toText(overlap, "overlap") };
    return this.#make("keys.rotate", request, options);
  }

  async #make(path: string, request: Json, options: CallOptions): Promise<MadeKey> {
    const reply = await once<WireMadeKey>(this.#connection, path, request, options);
    const { info = {}, key } = reply;
    // The text of the error would tell what else the reply has.
    checkForm(typeof key === "string", { info });
    return { ...decodeKey(info), key: key! };
  }

  /** Takes keys away; answers how many. When it is answered they are taken nowhere any more. */
  async revoke(which: WhichKeys, options: CallOptions = {}): Promise<number> {
    checkNames(which, WHICH, "a choice of keys");
    const { id, userId, before } = which as {
      readonly id?: string;
      readonly userId?: string;
      readonly before?: Date;
    };
    const request = { id, user_id: userId, before: before?.toISOString() };
    const reply = await once<{ readonly revoked?: number }>(
      this.#connection,
      "keys.revoke",
      request,
      options,
    );
    const { revoked = 0 } = reply;
    checkForm(typeof revoked === "number", reply);
    return revoked;
  }

  /** All that the caller may see, in the order in which they were made. */
  list({ userId, ...options }: KeyPages = {}): AsyncGenerator<Key, void, undefined> {
    return this.#nouns.list({ user_id: userId }, options);
  }
}

function decodeKey(wire: WireKey): Key {
  return {
    id: wire.id ?? "",
    userId: wire.user_id ?? "",
    namespace: wire.namespace ?? "",
    name: wire.name ?? "",
    prefix: wire.prefix ?? "",
    expiresAt: decodeDate(wire.expires_at),
    lastUsedAt: decodeDate(wire.last_used_at),
    createdAt: decodeDate(wire.created_at),
  };
}

// --- roles ---

/** A role by its name. */
export interface RoleChoice {
  readonly name: string;
  /** Where it is; that of the caller by default. */
  readonly namespace?: string | undefined;
}

export interface Role {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly permissions: readonly string[];
  /** Whether every server has it, so that it cannot be changed. */
  readonly isStandard: boolean;
  readonly createdAt: Date | undefined;
}

export interface RolePages extends ListPages {
  /** Whose; that of the caller by default. */
  readonly namespace?: string | undefined;
}

interface WireRole {
  readonly id?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly permissions?: readonly string[];
  readonly is_standard?: boolean;
  readonly created_at?: string;
}

/** What `client.roles` does. */
export class Roles {
  readonly #nouns: Nouns<WireRole, Role>;

  constructor(connection: Connection) {
    this.#nouns = new Nouns(connection, "roles", decodeRole);
  }

  /** Makes a role of permissions such as `queue.lease`; throws an ExistsError if there is one of that name. */
  create(
    { name, namespace }: RoleChoice,
    permissions: readonly string[],
    options: CallOptions = {},
  ): Promise<Role> {
    return this.#nouns.one("create", { name, namespace, permissions }, options);
  }

  /** Gives a role other permissions, in place of those it has. */
  update(
    { name, namespace }: RoleChoice,
    permissions: readonly string[],
    options: CallOptions = {},
  ): Promise<Role> {
    return this.#nouns.one("update", { name, namespace, permissions }, options);
  }

  /** Deletes a role that is bound to nobody. */
  delete({ name, namespace }: RoleChoice, options: CallOptions = {}): Promise<void> {
    return this.#nouns.end({ name, namespace }, options);
  }

  /** Those of one namespace, in the order in which they were made. */
  list({ namespace, ...options }: RolePages = {}): AsyncGenerator<Role, void, undefined> {
    return this.#nouns.list({ namespace }, options);
  }
}

function decodeRole(wire: WireRole): Role {
  return {
    id: wire.id ?? "",
    namespace: wire.namespace ?? "",
    name: wire.name ?? "",
    permissions: wire.permissions ?? [],
    isStandard: wire.is_standard ?? false,
    createdAt: decodeDate(wire.created_at),
  };
}

// --- bindings ---

/** A role that a user has, or is to have. */
export interface BindingChoice {
  /** Of the namespace, or a standard one. */
  readonly roleName: string;
  /** `anonymous` for all who send no key. */
  readonly userId: string;
  /** Where it counts: in all, if it is `_system`; that of the caller by default. */
  readonly namespace?: string | undefined;
}

export interface Binding {
  readonly id: string;
  readonly namespace: string;
  readonly userId: string;
  readonly roleId: string;
  readonly roleName: string;
  readonly createdAt: Date | undefined;
}

export interface BindingPages extends RolePages {
  /** Only those of this user. */
  readonly userId?: string | undefined;
}

interface WireBinding {
  readonly id?: string;
  readonly namespace?: string;
  readonly user_id?: string;
  readonly role_id?: string;
  readonly role_name?: string;
  readonly created_at?: string;
}

/** What `client.bindings` does. */
export class Bindings {
  readonly #nouns: Nouns<WireBinding, Binding>;

  constructor(connection: Connection) {
    this.#nouns = new Nouns(connection, "bindings", decodeBinding);
  }

  /** Gives a user a role; throws an ExistsError if it has it there. */
  create(choice: BindingChoice, options: CallOptions = {}): Promise<Binding> {
    return this.#nouns.one("create", encodeBinding(choice), options);
  }

  /** Takes a role from a user, at once. */
  delete(choice: BindingChoice, options: CallOptions = {}): Promise<void> {
    return this.#nouns.end(encodeBinding(choice), options);
  }

  /** Those of one namespace, in the order in which they were made. */
  list(options: BindingPages = {}): AsyncGenerator<Binding, void, undefined> {
    const { namespace, userId, ...rest } = options;
    return this.#nouns.list({ namespace, user_id: userId }, rest);
  }
}

function encodeBinding({ roleName, userId, namespace }: BindingChoice): Json {
  return { role_name: roleName, user_id: userId, namespace };
}

function decodeBinding(wire: WireBinding): Binding {
  return {
    id: wire.id ?? "",
    namespace: wire.namespace ?? "",
    userId: wire.user_id ?? "",
    roleId: wire.role_id ?? "",
    roleName: wire.role_name ?? "",
    createdAt: decodeDate(wire.created_at),
  };
}

// All that is about servers, or proxies before them, that know /v1 only. What the client says in /v2 is said
// to them in /v1 where that means the same, and their replies become those of /v2; where it would not, the
// call rejects with code `not-implemented`, and nothing has happened. That a server is one of them is believed
// for a while, of all calls together. When nobody has such a server any more, this file and
// dialect-errors.ts go, and the lines of connection.ts that name them.
//
// /v1 wants to know the partition of what is leased, and answers none or all of it: so the name of a lease
// holds its partition here, and what is refused for one item is sent again without it.

import { toBase64, utf8Bytes } from "./bytes.ts";
import { checkForm, parseReply } from "./call.ts";
import type { Call } from "./connection.ts";
import { fromText, toText } from "./duration.ts";
import {
  type ItemResult,
  LeaseLostError,
  QueratorError,
  QueueNotFoundError,
  ServerError,
} from "./errors.ts";

const BELIEVED_MS = 60_000;
// Less is refused by the server.
const TIMEOUT_MIN_MS = 10;
const OK: ItemResult = { ok: true };

type Json = Readonly<Record<string, unknown>>;
type Send = (call: Call) => Promise<string>;

/** What a translation has to do with. */
interface Old {
  /** Makes one call of /v1; a request is made anew for each repeat if it is a function. */
  readonly send: <T extends object>(path: string, request: Json | (() => Json)) => Promise<T>;
  /** One that is only confirmed. */
  readonly confirm: (path: string, request: Json) => Promise<void>;
  readonly now: () => number;
  /** Another one each time. */
  readonly newName: () => string;
}

type Translation = (request: Json, old: Old) => Promise<object>;

export class Dialect {
  readonly #now: () => number;
  #hasV2: boolean | undefined;
  #askAgainAt = 0;
  // Of every client another, so that the names of leases are.
  readonly #prefix = crypto.randomUUID();
  #count = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whether the server knows /v2, as far as it is known. */
  get knowsV2(): boolean | undefined {
    if (this.#hasV2 === false && performance.now() >= this.#askAgainAt) this.#hasV2 = undefined;
    return this.#hasV2;
  }

  /** It has answered a call of /v2. */
  noteKnown(): void {
    this.#hasV2 = true;
  }

  /** Whether an error says that /v2 is not known, which is then believed. */
  isUnknown(error: unknown): boolean {
    if (!(error instanceof QueratorError) || error.uncertain) return false;
    const { code, status, requestId } = error;
    // In the form of /v2 it is this one call that is not known.
    const isOfV2 = requestId !== undefined;
    if (isOfV2) this.#hasV2 = true;
    const isPage = code === "wrong-url" || code === "invalid-reply";
    const isOld = code === "not-implemented" && status === 501;
    const isRefused = isPage && (status === 404 || status === 405 || status === 501);
    if (isOfV2 || !(isOld || isRefused)) return false;
    this.#hasV2 = false;
    this.#askAgainAt = performance.now() + BELIEVED_MS;
    return true;
  }

  /** Makes a call of /v2 by calls of /v1; answers what /v2 would. */
  async translate(call: Call, send: Send): Promise<string> {
    const { path, body, timeoutMs } = call;
    const translation = Object.hasOwn(TRANSLATIONS, path) ? TRANSLATIONS[path] : undefined;
    if (translation === undefined) throw notImplemented(path);
    const request = JSON.parse(typeof body === "string" ? body : body(timeoutMs)) as Json;
    const old: Old = {
      now: this.#now,
      newName: () => `${this.#prefix}-${++this.#count}`,
      send: async (oldPath, given) => {
        const make = typeof given === "function" ? given : () => given;
        const bodyOf = (leftMs: number): string => {
          const made = make();
          if (!("request_timeout" in made) || leftMs >= timeoutMs * 0.9)
            return JSON.stringify(made);
          const left = toText(Math.max(leftMs, TIMEOUT_MIN_MS), "requestTimeout");
          return JSON.stringify({ ...made, request_timeout: left });
        };
        return parseReply(await send({ ...call, path: `v1/${oldPath}`, body: bodyOf }));
      },
      confirm: async (oldPath, given) => {
        const reply = await old.send<{ readonly code?: unknown }>(oldPath, given);
        checkForm(reply.code === 200, reply);
      },
    };
    return JSON.stringify(await translation(request, old));
  }
}

/** The error of what cannot be said in /v1. */
function notImplemented(what: string): ServerError {
  const text = `The server, or a proxy before it, knows /v1 only, which has no ${what}`;
  return new ServerError("not-implemented", text);
}

// What is not named here would be lost.
function checkNames(request: object, names: readonly string[]): void {
  for (const [name, value] of Object.entries(request)) {
    if (value !== undefined && !names.includes(name)) throw notImplemented(`'${name}'`);
  }
}

// --- leases and their names ---

/** The name of a lease: the id of /v1, and behind it the partition, unless it is the first. */
function leaseIdOf(id: string, partition: number): string {
  return partition === 0 ? id : `${id}@${partition}`;
}

interface Place {
  readonly id: string;
  readonly partition: number;
}

function placeOf(leaseId: string): Place {
  const at = leaseId.lastIndexOf("@");
  const partition = at === -1 ? 0 : Number(leaseId.slice(at + 1));
  return Number.isInteger(partition) && at !== -1
    ? { id: leaseId.slice(0, at), partition }
    : { id: leaseId, partition: 0 };
}

const lease: Translation = async (request, old) => {
  checkNames(request, ["queue_name", "batch_size", "client", "request_timeout"]);
  const { client, ...rest } = request;
  interface Reply {
    readonly partition?: number;
    readonly items?: readonly { readonly id: string }[];
  }
  let reply: Reply;
  try {
    // The server takes one lease of a name at a time, and may not have seen yet that the last one, or an
    // earlier request of this call, has ended.
    const requestOf = (): Json => ({ ...rest, client_id: client ?? old.newName() });
    reply = await old.send<Reply>("queue.lease", requestOf);
  } catch (error) {
    if (error instanceof QueratorError && error.code === "no-items") return { items: [] };
    throw error;
  }
  const { partition = 0, items } = reply;
  checkForm(Array.isArray(items) && items.length > 0, reply);
  return {
    partition,
    items: items!.map((item) => ({ ...item, lease_id: leaseIdOf(item.id, partition) })),
  };
};

interface WireLease {
  readonly lease_id: string;
  readonly at?: string;
  readonly delay?: string;
}

/** How one kind of end is told to /v1. */
interface Ending {
  readonly path: string;
  /** What it is sent beside the queue, for some leases of one partition. */
  readonly said: (leases: readonly WireLease[], old: Old, timeout: unknown) => Json;
}

const COMPLETE: Ending = {
  path: "queue.complete",
  said: (leases, _, request_timeout) => ({
    request_timeout: request_timeout ?? "30s",
    ids: leases.map(({ lease_id, ...more }) => {
      checkNames(more, []);
      return placeOf(lease_id).id;
    }),
  }),
};
const RETRY: Ending = { path: "queue.retry", said: (leases, old) => retried(leases, old, {}) };
const REJECT: Ending = {
  path: "queue.retry",
  said: (leases, old) => retried(leases, old, { dead: true }),
};

function retried(leases: readonly WireLease[], old: Old, more: Json): Json {
  return {
    items: leases.map(({ lease_id, ...when }) => {
      // Of errors there is no trace in /v1, which is no reason not to try again.
      checkNames(when, ["at", "delay", "error"]);
      const { at = laterAt(when.delay, old) } = when;
      return { id: placeOf(lease_id).id, ...(at === undefined ? {} : { retry_at: at }), ...more };
    }),
  };
}

// By our clock, as /v1 knows no delays.
function laterAt(delay: string | undefined, old: Old): string | undefined {
  const ms = delay === undefined ? 0 : fromText(delay);
  return ms <= 0 ? undefined : new Date(old.now() + ms).toISOString();
}

function ending({ path, said }: Ending): Translation {
  return async (request, old) => {
    checkNames(request, ["queue_name", "leases", "request_timeout", "all_or_none"]);
    const { queue_name, request_timeout, all_or_none } = request;
    const leases = request.leases as readonly WireLease[];
    const results: ItemResult[] = leases.map(() => OK);
    const end = async (partition: number, indexes: readonly number[]): Promise<void> => {
      const some = indexes.map((index) => leases[index]!);
      const body = { queue_name, partition, ...said(some, old, request_timeout) };
      try {
        await old.confirm(path, body);
      } catch (error) {
        if (all_or_none === true) throw error;
        await endOthers(partition, indexes, error);
      }
    };
    // None of them is done: one is refused, which /v1 may name.
    const endOthers = async (
      partition: number,
      indexes: readonly number[],
      error: unknown,
    ): Promise<void> => {
      if (!isAboutAnItem(error)) throw error;
      const id = error instanceof LeaseLostError ? error.leaseId : undefined;
      const named = indexes.find((index) => placeOf(leases[index]!.lease_id).id === id);
      const culprit = named ?? (indexes.length === 1 ? indexes[0] : undefined);
      if (culprit === undefined) {
        const half = indexes.length >> 1;
        await end(partition, indexes.slice(0, half));
        await end(partition, indexes.slice(half));
        return;
      }
      results[culprit] = { code: codeOf(error), detail: error.message };
      const rest = indexes.filter((index) => index !== culprit);
      if (rest.length > 0) await end(partition, rest);
    };
    const groups = Map.groupBy(leases.keys(), (i) => placeOf(leases[i]!.lease_id).partition);
    if (all_or_none === true && groups.size > 1) {
      throw notImplemented("way to end leases of several partitions all or none");
    }
    let done = 0;
    for (const [partition, indexes] of groups) {
      try {
        await end(partition, indexes);
        done++;
      } catch (error) {
        if (error instanceof QueratorError && done > 0) error.uncertain = true;
        throw error;
      }
    }
    const failed = results.filter(({ code }) => code !== undefined).length;
    return failed === 0 ? { results } : { results, failed };
  };
}

function isAboutAnItem(error: unknown): error is QueratorError {
  if (!(error instanceof QueratorError) || error.field !== undefined) return false;
  return error instanceof LeaseLostError || error.code === "invalid" || error.code === "content";
}

function codeOf({ code }: QueratorError): string {
  if (code === "not-leased") return "not_leased";
  // What has ended has no item of that id any more.
  return code === "item-not-found" ? "lease_ended" : "invalid_field";
}

// --- produce ---

const ITEM = ["utf8", "bytes", "encoding", "kind", "reference", "enqueue_at", "delay"];

interface WireItem {
  readonly delay?: string;
  readonly traceparent?: string;
  readonly tracestate?: string;
}

const produce: Translation = async (request, old) => {
  checkNames(request, ["queue_name", "items", "request_timeout"]);
  const items = (request.items as readonly WireItem[]).map((given) => {
    // A trace that ends here is no reason not to do the work.
    const { traceparent: _, tracestate: __, ...item } = given;
    checkNames(item, ITEM);
    const { delay, ...rest } = item;
    return delay === undefined ? rest : { ...rest, enqueue_at: laterAt(delay, old) };
  });
  await old.confirm("queue.produce", { request_timeout: "30s", ...request, items });
  return { results: items.map(() => OK) };
};

// --- queues ---

const DEFAULTS = {
  lease_timeout: "1m",
  expire_timeout: "876000h",
  requested_partitions: 1,
};

const SETTINGS = [
  ...["queue_name", "lease_timeout", "expire_timeout", "max_attempts", "dead_queue"],
  ...["reference", "requested_partitions"],
];

const createQueue: Translation = async (request, old) => {
  checkNames(request, SETTINGS);
  await old.confirm("queues.create", { ...DEFAULTS, ...request });
  return { queue_name: request.queue_name };
};

// What is left out would be set back.
const updateQueue: Translation = async (request, old) => {
  checkNames(request, SETTINGS);
  const { queue_name } = request;
  const info = await old.send<Json>("queues.info", { queue_name });
  checkForm(typeof info.queue_name === "string", info);
  const { max_attempts, dead_queue, reference } = info;
  await old.confirm("queues.update", { max_attempts, dead_queue, reference, ...request });
  return { ...info, ...request };
};

const listQueues: Translation = async (request, old) => {
  const { cursor = "", limit } = request;
  const given = { pivot: cursor, limit: cursor === "" ? limit : Number(limit) + 1 };
  const reply = await old.send<{ items?: readonly { queue_name?: string }[] }>(
    "queues.list",
    given,
  );
  checkItems(reply);
  const queues = (reply.items ?? []).filter(({ queue_name }) => queue_name !== cursor);
  const last = queues.at(-1)?.queue_name;
  return last === undefined ? { queues } : { queues, next_cursor: last };
};

interface OldStats {
  readonly logicalQueues?: readonly { readonly partitions?: readonly unknown[] }[];
}

const stats: Translation = async (request, old) => {
  const { queue_names } = request;
  if (!Array.isArray(queue_names)) return statsOfOne(request, old);
  const queues: object[] = [];
  for (const queue_name of queue_names) {
    try {
      queues.push({ ...(await statsOfOne({ queue_name }, old)), queue_name });
    } catch (error) {
      if (!(error instanceof QueueNotFoundError)) throw error;
      queues.push({ queue_name, code: error.code, detail: error.message });
    }
  }
  return { queues };
};

const statsOfOne: Translation = async (request, old) => {
  checkNames(request, ["queue_name"]);
  const { logicalQueues, ...rest } = await old.send<OldStats & Json>("queue.stats", request);
  checkForm(Array.isArray(logicalQueues), { logicalQueues, ...rest });
  return { ...rest, logical_queues: logicalQueues };
};

function confirmed(path: string): Translation {
  return async (request, old) => {
    await old.confirm(path, request);
    return OK;
  };
}

// --- what lies in storage ---

interface OldItem {
  readonly id?: string;
  readonly is_leased?: boolean;
  readonly lease_deadline?: string;
  readonly expire_deadline?: string;
  readonly payload?: string;
  readonly [name: string]: unknown;
}

// An empty page is `{}`, as what is empty is left out.
function checkItems(reply: { readonly items?: unknown }): void {
  const isEmpty = Object.keys(reply).length === 0;
  checkForm(isEmpty || Array.isArray(reply.items), reply);
}

async function partitionsOf(queue_name: unknown, old: Old): Promise<number> {
  const { logicalQueues = [] } = await old.send<OldStats>("queue.stats", { queue_name });
  return logicalQueues.flatMap(({ partitions = [] }) => partitions).length;
}

// The cursor is the partition, and the last id that was seen there.
const listItems: Translation = async (request, old) => {
  checkNames(request, ["queue_name", "state", "partition", "limit", "cursor", "payload"]);
  const { queue_name, state = "", cursor = "", limit, payload } = request;
  const isScheduled = state === "scheduled";
  const path = `storage/${isScheduled ? "scheduled" : "items"}.list`;
  const [at, seen = ""] = String(cursor).split(":");
  let partition = Number(request.partition ?? at);
  let pivot = seen;
  let count: number | undefined;
  for (;;) {
    const given = { queue_name, partition, pivot, limit: Number(limit) + (pivot === "" ? 0 : 1) };
    const reply = await old.send<{ items?: readonly OldItem[] }>(path, given);
    checkItems(reply);
    const items = (reply.items ?? []).filter(({ id }) => id !== pivot);
    const last = items.at(-1)?.id;
    if (last !== undefined) {
      const shown = items
        .map((item) => shownItem(item, partition, isScheduled, payload === true))
        .filter((item) => state === "" || item.state === state);
      return { items: shown, next_cursor: `${partition}:${last}` };
    }
    if (request.partition !== undefined) return {};
    count ??= await partitionsOf(queue_name, old);
    if (++partition >= count) return {};
    pivot = "";
  }
};

function shownItem(item: OldItem, partition: number, isScheduled: boolean, isWhole: boolean): Json {
  const { is_leased: isLeased = false, lease_deadline, expire_deadline, payload, ...rest } = item;
  const state = isScheduled ? "scheduled" : isLeased ? "leased" : "waiting";
  const expires = expire_deadline?.startsWith("0001-") === false;
  return {
    ...rest,
    partition,
    state,
    ...(isLeased ? { lease_deadline, lease_id: leaseIdOf(item.id!, partition) } : {}),
    ...(expires ? { expire_at: expire_deadline } : {}),
    ...(isWhole && payload !== undefined ? { bytes: payload } : {}),
  };
}

// What it gives anew, and does not take; an id it knows as that of a source.
const NEW = ["id", "partition", "created_at", "lease_id"];
const IMPORTED = [
  ...["state", "attempts", "lease_deadline", "expire_at", "source_id"],
  ...["kind", "reference", "encoding", "utf8", "bytes", ...NEW],
];

const importItems: Translation = async (request, old) => {
  const items = (request.items as readonly Json[]).map((item) => {
    // It would take what is scheduled as due at once.
    checkNames(item, IMPORTED);
    const { state, expire_at, utf8, bytes, ...rest } = item;
    const payload = typeof utf8 === "string" ? toBase64(utf8Bytes(utf8)) : bytes;
    const kept = Object.entries(rest).filter(([name]) => !NEW.includes(name));
    return {
      source_id: item.id,
      ...Object.fromEntries(kept),
      is_leased: state === "leased",
      ...(expire_at === undefined ? {} : { expire_deadline: expire_at }),
      ...(payload === undefined ? {} : { payload }),
    };
  });
  const reply = await old.send<{ items?: readonly OldItem[] }>("storage/items.import", {
    ...request,
    items,
  });
  checkForm(Array.isArray(reply.items) && reply.items.length === items.length, reply);
  // One that it passed over comes back as it was sent.
  const results = reply.items!.map(({ id }) => {
    return id === undefined ? { status: "duplicate" } : { id, status: "created" };
  });
  return { results };
};

// It passes over those that it does not know, and does not tell.
const deleteItems: Translation = async ({ queue_name, ids }, old) => {
  const count = await partitionsOf(queue_name, old);
  for (let partition = 0; partition < count; partition++) {
    await old.confirm("storage/items.delete", { queue_name, partition, ids });
  }
  return {};
};

const TRANSLATIONS: Readonly<Record<string, Translation>> = {
  "queue.produce": produce,
  "queue.lease": lease,
  "queue.complete": ending(COMPLETE),
  "queue.retry": ending(RETRY),
  "queue.reject": ending(REJECT),
  "queue.stats": stats,
  "queue.clear": confirmed("queue.clear"),
  "queue.reload": confirmed("queue.reload"),
  "queues.create": createQueue,
  "queues.update": updateQueue,
  "queues.info": (request, old) => old.send("queues.info", request),
  "queues.delete": confirmed("queues.delete"),
  "queues.list": listQueues,
  "items.list": listItems,
  "items.import": importItems,
  "items.delete": deleteItems,
};

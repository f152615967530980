// Who has changed what: what the server has written down of it. A server that knows /v1 only writes nothing down.

import type { ListPages } from "./access.ts";
import { pages } from "./call.ts";
import type { Connection } from "./connection.ts";
import { decodeDate } from "./items.ts";

/** Which entries are wanted: those that match all that is given. */
export interface AuditPages extends ListPages {
  /** Whose; that of the caller by default. */
  readonly namespace?: string | undefined;
  /** Those of all namespaces, in place of one. */
  readonly allNamespaces?: boolean | undefined;
  /** Only what this user has done. */
  readonly userId?: string | undefined;
  /** Only calls of this name, such as `queues.delete`. */
  readonly call?: string | undefined;
  /** Only what was done to this: a queue, a role, a key. */
  readonly target?: string | undefined;
  /** Only what was done at this time, or later. */
  readonly since?: Date | undefined;
  /** Only what was done before this time. */
  readonly until?: Date | undefined;
}

/** Something that has become another, both as texts. */
export interface AuditChange {
  readonly field: string;
  /** Not set of what was not there. */
  readonly from: string | undefined;
  /** Not set of what is there no more. */
  readonly to: string | undefined;
}

export interface AuditEntry {
  readonly id: string;
  readonly at: Date | undefined;
  /** Who has done it: a user, `anonymous`, or `server`. */
  readonly userId: string;
  /** What the user was called then. */
  readonly username: string;
  /** "" without a key, `certificate` of who has shown one. */
  readonly keyId: string;
  readonly keyTag: string;
  /** Where the connection came from. */
  readonly address: string;
  readonly namespace: string;
  /** The name of the call, such as `queues.delete`. */
  readonly call: string;
  /** What it was about. */
  readonly target: string;
  readonly requestId: string;
  /** `denied`: it was not allowed; `unknown`: it has failed, and something of it may have been done. */
  readonly outcome: "done" | "denied" | "unknown";
  readonly changes: readonly AuditChange[];
}

interface WireEntry {
  readonly id?: string;
  readonly at?: string;
  readonly user_id?: string;
  readonly username?: string;
  readonly key_id?: string;
  readonly key_tag?: string;
  readonly address?: string;
  readonly namespace?: string;
  readonly call?: string;
  readonly target?: string;
  readonly request_id?: string;
  readonly outcome?: AuditEntry["outcome"];
  readonly changes?: readonly {
    readonly field?: string;
    readonly from?: string;
    readonly to?: string;
  }[];
}

/** What `client.audit` does. */
export class Audit {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Who has changed what in one namespace, the newest first; the server keeps it for 30 days. */
  list(options: AuditPages = {}): AsyncGenerator<AuditEntry, void, undefined> {
    const { namespace, allNamespaces, userId, call, target, since, until, ...rest } = options;
    return pages<WireEntry, AuditEntry>(this.#connection, "audit.list", {
      request: {
        namespace,
        all_namespaces: allNamespaces,
        user_id: userId,
        call,
        target,
        since: since?.toISOString(),
        until: until?.toISOString(),
      },
      name: "entries",
      options: rest,
      decode: decodeEntry,
    });
  }
}

function decodeEntry(wire: WireEntry): AuditEntry {
  return {
    id: wire.id ?? "",
    at: decodeDate(wire.at),
    userId: wire.user_id ?? "",
    username: wire.username ?? "",
    keyId: wire.key_id ?? "",
    keyTag: wire.key_tag ?? "",
    address: wire.address ?? "",
    namespace: wire.namespace ?? "",
    call: wire.call ?? "",
    target: wire.target ?? "",
    requestId: wire.request_id ?? "",
    outcome: wire.outcome ?? "done",
    changes: (wire.changes ?? []).map(({ field = "", from, to }) => ({ field, from, to })),
  };
}

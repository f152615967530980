// Who sends a request: a key and the user that it belongs to, nobody in particular, or, on a server without
// authentication, anyone. A thread has one object for each key, which connections remember; when the
// key ends, so does the object, and what waits in its name is ended with it.

import { QueueError } from "../errors.ts";
import { type Permission, SYSTEM_NAMESPACE } from "./permissions.ts";

/** What the roles of a user allow, by the namespace that they are bound in. */
export type Grants = ReadonlyMap<string, ReadonlySet<Permission>>;

/** What is known of who sends a request; it goes from thread to thread as it is. */
export interface PrincipalFacts {
  /** The user's id: `anonymous` of a request without a key. */
  readonly userId: string;
  /** The id of the key; `certificate:` and more of who has shown a certificate; "" without either. */
  readonly keyId: string;
  /** What may be told of the key: its tag; "" without one. */
  readonly keyTag: string;
  /** The only namespace that the key is for; "" if it is for all of which its user has a role. */
  readonly scope: string;
  /** When the key ends by itself, in microseconds since 1970; 0 for never. */
  readonly expiresAt: number;
}

/** What a client has shown in place of a key: a certificate from one of the authorities that the server trusts. */
export interface ClientCertificate {
  /** The common name of its subject; "" if it has none, or several. */
  readonly name: string;
  /** When it ends, in microseconds since 1970. */
  readonly expiresAt: number;
}

export class Principal implements PrincipalFacts {
  readonly userId: string;
  readonly keyId: string;
  readonly keyTag: string;
  readonly scope: string;
  readonly expiresAt: number;
  /** Replaced when a role or a binding changes. */
  grants: Grants;
  /** Whether it was used since that was last asked: set with every request, for it costs nothing. */
  wasUsed = false;
  #isEnded = false;
  // What waits in its name. A set only once something does.
  #waiting: Set<() => void> | undefined;

  constructor(facts: PrincipalFacts, grants: Grants) {
    this.userId = facts.userId;
    this.keyId = facts.keyId;
    this.keyTag = facts.keyTag;
    this.scope = facts.scope;
    this.expiresAt = facts.expiresAt;
    this.grants = grants;
  }

  /** Whether it may do something in a namespace: by a role there, or by one in `_system`. */
  may(permission: Permission, namespace: string): boolean {
    const { scope, grants } = this;
    const isElsewhere = scope !== "" && scope !== namespace;
    if (isElsewhere && namespace !== SYSTEM_NAMESPACE) return false;
    if (!isElsewhere && grants.get(namespace)?.has(permission) === true) return true;
    return grants.get(SYSTEM_NAMESPACE)?.has(permission) === true;
  }

  /** Whether its key has been taken away: connections that remember it have to ask anew. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Calls `ended`, once, if the key is taken away; at once if it has been. */
  onEnd(ended: () => void): void {
    if (this.#isEnded) {
      ended();
      return;
    }
    this.#waiting ??= new Set();
    this.#waiting.add(ended);
  }

  /** Does not call it any more. */
  offEnd(ended: () => void): void {
    this.#waiting?.delete(ended);
  }

  /** The key has been taken away, or has expired. */
  end(): void {
    this.#isEnded = true;
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const ended of waiting) ended();
  }
}

/**
 * The error of who may not do what they ask for: the same whether what they ask for is there or not. Under /v2 it says
 * what the call needs, which the documents tell anybody; not what of it is missing, or where.
 */
export function denied(needs: readonly Permission[] = []): QueueError {
  const message = "access denied";
  const detail = needs.length === 0 ? message : `${message}; this needs ${needs.join(" and ")}`;
  return new QueueError("forbidden", message, { code: "permission_denied", detail });
}

class Anyone extends Principal {
  override may(): boolean {
    return true;
  }
}

/** Everybody, where there is no authentication. */
export const ANYONE: Principal = new Anyone(
  { userId: "anonymous", keyId: "", keyTag: "", scope: "", expiresAt: 0 },
  new Map(),
);

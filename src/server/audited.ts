// What the audit notes, as those hear it who listen to events.

import type { AuditEntry } from "../auth/audit.ts";
import { type Happened, happenedTo } from "../queue/queue.ts";
import { fullName } from "../registry/names.ts";

/** An entry as it is told: of no queue, but of a namespace. */
export function heardOf(entry: AuditEntry): Happened {
  const { namespace, id, at, userId, username, keyId, keyTag, address, requestId } = entry;
  const { call, target, outcome, changes } = entry;
  // Who was denied may have named any, and one that cannot be must not pass for another.
  const where = /[~:]/.test(namespace) ? "?" : namespace;
  return happenedTo(fullName(where, ""), "audited", at, {
    entry: id,
    call,
    target,
    outcome,
    user_id: userId,
    ...(username !== "" && { username }),
    ...(keyId !== "" && { key_id: keyId }),
    ...(keyTag !== "" && { key_tag: keyTag }),
    ...(address !== "" && { address }),
    ...(requestId !== "" && { request_id: requestId }),
    ...(changes.length > 0 && { changes }),
  });
}

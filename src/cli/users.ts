// Users as people name them on the command line: by id, or by the name that only one of them has.

import { QueratorError } from "@querator/client";
import { CommandError, EXIT } from "./failure.ts";
import type { Session } from "./session.ts";

const FORBIDDEN = 403;
const ID = /^[0-9A-Za-z]{27}$/;

// More users than a table is likely to name; those that are left out are shown by their ids.
const NAMED_MAX = 1_000;

/**
 * What to show of users in a table: their names, for who may list them, else their ids, which are taken wherever a name
 * is. Programs get the ids alone, and pay nothing.
 */
export async function userNames({ client, out, signal }: Session): Promise<(id: string) => string> {
  const names = new Map<string, string>();
  if (out.format === "table") {
    try {
      for await (const { id, username } of client.users.list({ pageSize: NAMED_MAX, signal })) {
        names.set(id, username);
        if (names.size === NAMED_MAX) break;
      }
    } catch (error) {
      if (!isForbidden(error)) throw error;
    }
  }
  return (id) => names.get(id) ?? id;
}

function isForbidden(error: unknown): boolean {
  return error instanceof QueratorError && error.status === FORBIDDEN;
}

/** The id of a user that is named by it, or by name. */
export async function userIdOf({ client, signal }: Session, user: string): Promise<string> {
  if (ID.test(user) || user === "anonymous") return user;
  try {
    for await (const { id, username } of client.users.list({ signal })) {
      if (username === user) return id;
    }
  } catch (error) {
    if (!isForbidden(error)) throw error;
    // Users belong to the server, so a tenant cannot look their names up.
    const hint = `the key may not list users, so name '${user}' by its id`;
    throw new CommandError((error as Error).message, EXIT.failed, hint, error);
  }
  throw new CommandError(
    `no such user '${user}'`,
    EXIT.notFound,
    "'querator user list' shows those that there are",
  );
}

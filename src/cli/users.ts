// Users as people name them on the command line: by id, or by the name that only one of them has.

import { QueratorError } from "@querator/client";
import { CommandError, EXIT } from "./failure.ts";
import type { Session } from "./session.ts";

const FORBIDDEN = 403;
const ID = /^[0-9A-Za-z]{27}$/;

/** The id of a user that is named by it, or by name. */
export async function userIdOf({ client, signal }: Session, user: string): Promise<string> {
  if (ID.test(user) || user === "anonymous") return user;
  try {
    for await (const { id, username } of client.users.list({ signal })) {
      if (username === user) return id;
    }
  } catch (error) {
    if (!(error instanceof QueratorError && error.status === FORBIDDEN)) throw error;
    // Users belong to the server, so a tenant cannot look their names up.
    const hint = `the key may not list users, so name '${user}' by its id`;
    throw new CommandError(error.message, EXIT.failed, hint, error);
  }
  throw new CommandError(
    `no such user '${user}'`,
    EXIT.notFound,
    "'querator user list' shows those that there are",
  );
}

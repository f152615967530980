// By which a request is found again: in the reply, in the log of the server, and in those of its client,
// who may have named it. Knows nothing of what is asked.

import { randomBytes } from "node:crypto";

const GIVEN = /^[!-~]{1,128}$/;

// Another one for each thread of each server.
const START = randomBytes(9).toString("base64url");
let made = 0;

/** The id of a request, given its header X-Request-Id: that, if it is one, else a new one. */
export function requestIdOf(given: string | undefined): string {
  return given !== undefined && GIVEN.test(given) ? given : `${START}-${++made}`;
}

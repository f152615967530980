// Under which address a request reached this server, as its sender knows it: for commands that are shown
// to be copied, and for nothing else. What a proxy adds is taken only in its plainest form, so that
// nothing of a request can be more than a name, a port and a path; what is odd is passed over.

import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";

const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;
const PREFIX = /^(?:\/[A-Za-z0-9_-][A-Za-z0-9._~-]{0,63}){1,8}\/?$/;

/** Such as `http://localhost:2319`, or `https://example.com/queues` behind a proxy that says so. */
export function addressOf({ headers, socket }: IncomingMessage): string {
  const scheme = schemeOf(headers["x-forwarded-proto"], socket as TLSSocket);
  const { host = "" } = headers;
  const authority = HOST.test(host) ? host : hostOf(socket as TLSSocket);
  const prefix = headers["x-forwarded-prefix"];
  const path = typeof prefix === "string" && PREFIX.test(prefix) ? prefix.replace(/\/$/, "") : "";
  return `${scheme}://${authority}${path}`;
}

function schemeOf(forwarded: string | string[] | undefined, { encrypted }: TLSSocket): string {
  if (forwarded === "http" || forwarded === "https") return forwarded;
  return encrypted === true ? "https" : "http";
}

// Where the connection came in.
function hostOf({ localAddress = "localhost", localPort = 2319 }: TLSSocket): string {
  const address = localAddress.replace(/^::ffff:(?=\d+\.)/, "");
  return address.includes(":") ? `[${address}]:${localPort}` : `${address}:${localPort}`;
}

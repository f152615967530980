// Where an HTTP server listens, and how it ends. On several threads each has a server of its own on
// the same port, among which the system shares out the connections.

import type { Server } from "node:http";
import { type AddressInfo, createServer } from "node:net";

// How long clients may take to fetch their last answers.
const DRAIN_MS = 3_000;

export interface Listening {
  /** "" means all interfaces. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Whether other threads listen there as well. */
  readonly isShared: boolean;
}

/** Whether several threads may listen on one port here; elsewhere one of them listens for all. */
export const canSharePort = ["linux", "freebsd", "sunos", "aix"].includes(process.platform);

/** Begins to listen; answers the port. Rejects with an error whose message is for the user. */
export async function listen(http: Server, { host, port, isShared }: Listening): Promise<number> {
  await bind(http, { host, port, backlog: 4_096, reusePort: isShared });
  return (http.address() as AddressInfo).port;
}

/**
 * Makes sure that nobody listens there: a shared port could be shared with another server without
 * either of them noticing. Rejects with an error whose message is for the user.
 */
export async function checkFree(host: string, port: number): Promise<void> {
  const probe = createServer();
  await bind(probe, { host, port });
  const closed = new Promise((resolve) => probe.close(resolve));
  await closed;
}

function bind(
  server: ReturnType<typeof createServer>,
  options: { host: string; port: number; backlog?: number; reusePort?: boolean },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (cause: NodeJS.ErrnoException) => {
    const where = `${options.host}:${options.port}`;
    const text =
      cause.code === "EADDRINUSE"
        ? `address ${where} is in use; stop what listens there, or choose another with --address`
        : `cannot listen on ${where}: ${cause.message}`;
    reject(new Error(text, { cause }));
  });
  server.listen(options, () => resolve());
  return promise;
}

/** Stops listening, and closes connections once their last answers are taken, or after a while. */
export async function drain(http: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => http.close(() => resolve()));
  http.closeIdleConnections();
  const timer = setTimeout(() => http.closeAllConnections(), DRAIN_MS);
  await closed;
  clearTimeout(timer);
}

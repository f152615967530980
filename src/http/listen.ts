// Where an HTTP server listens, and how it ends. Node takes in one connection of each listening
// socket with every round of its event loop; under load a round takes long, and hundreds of new
// connections would wait behind each other. So every server listens with several sockets, among
// which the system deals the connections out, and on several threads each has a server of its own.

import type { Server } from "node:http";
import { type Server as Acceptor, type AddressInfo, createServer } from "node:net";

// Sockets that listen for one server.
const ACCEPTORS = 16;

// How long clients may take to fetch their last answers.
const DRAIN_MS = 3_000;

/** Where to listen; the host "" means all interfaces, port 0 takes a free one. */
export interface Listening {
  readonly host: string;
  readonly port: number;
}

/** Whether several sockets may listen on one port here; elsewhere one listens for all. */
export const canSharePort = ["linux", "freebsd", "sunos", "aix"].includes(process.platform);

/** A server that listens. */
export interface Listener {
  readonly port: number;
  /** Stops listening, and closes connections once their last answers are taken, or after a while. */
  drain(): Promise<void>;
}

/** Begins to listen. Rejects with an error whose message is for the user. */
export async function listen(http: Server, { host, port: wanted }: Listening): Promise<Listener> {
  const options = { host, backlog: 4_096, reusePort: canSharePort };
  await bind(http, { ...options, port: wanted });
  const { port } = http.address() as AddressInfo;
  const acceptors: Acceptor[] = [http];
  while (canSharePort && acceptors.length < ACCEPTORS) {
    const acceptor = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
      http.emit("connection", socket),
    );
    await bind(acceptor, { ...options, port });
    acceptors.push(acceptor);
  }
  return { port, drain: () => drain(http, acceptors) };
}

async function drain(http: Server, acceptors: readonly Acceptor[]): Promise<void> {
  const closed = acceptors.map(
    (acceptor) => new Promise<void>((resolve) => acceptor.close(() => resolve())),
  );
  http.closeIdleConnections();
  const timer = setTimeout(() => http.closeAllConnections(), DRAIN_MS);
  await Promise.all(closed);
  clearTimeout(timer);
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
  server: Acceptor,
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

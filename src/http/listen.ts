// Where an HTTP server listens, and how it ends. Node takes in one connection of each listening
// socket with every round of its event loop; under load a round takes long, and hundreds of new
// connections would wait behind each other. So every server listens with several sockets, among
// which the system deals the connections out, and on several threads each has a server of its own.

import { Server as Acceptor, type AddressInfo, createServer } from "node:net";
import type { HttpServer } from "./server.ts";

// Sockets that listen for one server.
const ACCEPTORS = 16;

// How long clients may take to fetch their last answers.
const DRAIN_MS = 3_000;

// For requests that are on their way when all others have been answered.
const LINGER_MS = 100;
const LOOK_MS = 5;

// The sockets that listen are closed when no connection has come for so long, or after so long altogether:
// one that was made and not taken in is reset, and its client never knows what became of its request.
const QUIET_MS = 20;
const QUIET_MAX_MS = 300;

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
  /** From now on every reply says that its connection ends with it. Connections are still taken in. */
  startEnding(): void;
  /** Stops listening, and closes connections once their last answers are taken, or after a while. */
  drain(): Promise<void>;
}

/** Begins to listen. Rejects with an error whose message is for the user. */
export async function listen(
  http: HttpServer,
  { host, port: wanted }: Listening,
): Promise<Listener> {
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
  return {
    port,
    startEnding: () => http.startEnding(),
    drain: () => drain(http, acceptors),
  };
}

// What is asked from now on is refused, and everything else is answered. First nobody new is taken in, then
// whoever is connected gets a moment in which the refusal says why, and then the others are closed.
async function drain(http: HttpServer, acceptors: readonly Acceptor[]): Promise<void> {
  http.startEnding();
  // Whoever is refused comes again at once, and would be in the moment of the close. So they wait for it.
  const letGo = http.hold();
  await quiet(http);
  const closed = acceptors.map(
    (acceptor) =>
      new Promise<void>((resolve) => Acceptor.prototype.close.call(acceptor, () => resolve())),
  );
  letGo();
  for (let ms = 0; ms < LINGER_MS && http.open > 0; ms += LOOK_MS) await pause(LOOK_MS);
  http.closeIdleConnections();
  const timer = setTimeout(() => http.closeAllConnections(), DRAIN_MS);
  await Promise.all(closed);
  clearTimeout(timer);
  http.close(); // what else node:http keeps for it
}

async function quiet(http: HttpServer): Promise<void> {
  let quietMs = 0;
  const onConnection = (): void => {
    quietMs = 0;
  };
  http.on("connection", onConnection);
  for (let ms = 0; http.open > 0 && quietMs < QUIET_MS && ms < QUIET_MAX_MS; ms += LOOK_MS) {
    await pause(LOOK_MS);
    quietMs += LOOK_MS;
  }
  http.off("connection", onConnection);
  // Right after all that has come by now was taken in.
  await new Promise((resolve) => setImmediate(resolve));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
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

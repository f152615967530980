// Where an HTTP server listens, and how it ends. Node takes in one connection of each listening
// socket with every round of its event loop; under load a round takes long, and hundreds of new
// connections would wait behind each other. So every server listens with several sockets, among
// which the system deals the connections out, and on several threads each has a server of its own.

import type { Server } from "node:http";
import { type Server as Acceptor, type AddressInfo, createServer } from "node:net";
import { hasPlenty } from "../descriptors.ts";

// Sockets that listen for one server, on each of its addresses; one where descriptors are scarce.
const ACCEPTORS = 16;

// How long clients may take to fetch their last answers.
const DRAIN_MS = 3_000;

// `localhost` is both of these, as far as the machine has them: what a program makes of the name, and which
// of them it tries first or only, differs.
const LOCAL_HOSTS = ["127.0.0.1", "::1"];
// How often a free port is looked for that is free on both.
const FREE_TRIES = 20;

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
  /** Every address, such as `127.0.0.1:2319`. */
  readonly addresses: readonly string[];
  /** Stops listening, and closes connections once their last answers are taken, or after a while. */
  drain(): Promise<void>;
}

/** How many sockets a server will listen with. */
export function listeningSockets(host: string): number {
  const addresses = isLocalhost(host) ? LOCAL_HOSTS.length : 1;
  return addresses * acceptorsOfEach();
}

function acceptorsOfEach(): number {
  return canSharePort && hasPlenty() ? ACCEPTORS : 1;
}

function isLocalhost(host: string): boolean {
  return host.toLowerCase() === "localhost";
}

/** Begins to listen. Rejects with an error whose message is for the user. */
export async function listen(http: Server, { host, port: wanted }: Listening): Promise<Listener> {
  // Where there are several, what is tried first can be given up; `http` itself is closed once and for all.
  const each = acceptorsOfEach();
  const first = each > 1 ? undefined : http;
  const { acceptors, port } = await bindFirst(
    { host, port: wanted },
    {
      make: () => acceptorFor(http, first),
      mayRetry: first === undefined,
    },
  );
  const bound = acceptors.map((acceptor) => (acceptor.address() as AddressInfo).address);
  try {
    for (let i = 1; i < each; i++) {
      for (const [j, address] of bound.entries()) {
        const acceptor = i === 1 && j === 0 ? http : acceptorFor(http);
        await bind(acceptor, { host: address, port });
        acceptors.push(acceptor);
      }
    }
  } catch (error) {
    for (const acceptor of acceptors) await closed(acceptor);
    throw error;
  }
  const addresses = bound.map((address) => hostAndPort(address, port));
  return { port, addresses, drain: () => drain(http, acceptors) };
}

// Binds one acceptor for each address of a host, all to the same port.
async function bindFirst(
  { host, port: wanted }: Listening,
  { make, mayRetry }: { readonly make: () => Acceptor; readonly mayRetry: boolean },
): Promise<{ readonly acceptors: Acceptor[]; readonly port: number }> {
  for (let left = FREE_TRIES; ; left--) {
    const acceptors: Acceptor[] = [];
    let port = wanted;
    try {
      await onEach(host, async (address) => {
        // Whoever shares ports would also share one that it does not mean to.
        if (canSharePort && port !== wanted) await checkFree(address, port);
        const acceptor = make();
        await bind(acceptor, { host: address, port });
        acceptors.push(acceptor);
        port = (acceptor.address() as AddressInfo).port;
      });
      return { acceptors, port };
    } catch (error) {
      for (const acceptor of acceptors) await closed(acceptor);
      if (!mayRetry || wanted !== 0 || left === 0 || codeOf(error) !== "EADDRINUSE") throw error;
    }
  }
}

// The server itself if it is given and does not listen yet, else one that hands connections over to it.
function acceptorFor(http: Server, itself?: Server): Acceptor {
  if (itself?.listening === false) return itself;
  return createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
    http.emit("connection", socket),
  );
}

// Does something for each address of a host; of `localhost` one may be missing.
async function onEach(host: string, work: (address: string) => Promise<void>): Promise<void> {
  if (!isLocalhost(host)) return work(host);
  let missing: unknown;
  let done = 0;
  for (const address of LOCAL_HOSTS) {
    try {
      await work(address);
      done++;
    } catch (error) {
      if (!/^(EADDRNOTAVAIL|EAFNOSUPPORT|EPROTONOSUPPORT)$/.test(codeOf(error))) throw error;
      missing = error;
    }
  }
  if (done === 0) throw missing;
}

/** A URL by which a program on this machine reaches what listens there. */
export function urlOf({ host, port }: Listening): string {
  const usable = { "": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1" }[host] ?? host;
  return `http://${hostAndPort(usable, port)}`;
}

function hostAndPort(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function codeOf(error: unknown): string {
  return ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code ?? "";
}

async function drain(http: Server, acceptors: readonly Acceptor[]): Promise<void> {
  const ended = acceptors.map(closed);
  http.closeIdleConnections();
  const timer = setTimeout(() => http.closeAllConnections(), DRAIN_MS);
  await Promise.all(ended);
  clearTimeout(timer);
}

/**
 * Makes sure that nobody listens there: a shared port could be shared with another server without
 * either of them noticing. Rejects with an error whose message is for the user.
 */
export async function checkFree(host: string, port: number): Promise<void> {
  await onEach(host, async (address) => {
    const probe = createServer();
    await bind(probe, { host: address, port, exclusive: true });
    await closed(probe);
  });
}

function closed(acceptor: Acceptor): Promise<void> {
  return new Promise((resolve) => {
    acceptor.close(() => resolve());
  });
}

function bind(
  server: Acceptor,
  options: Listening & { readonly exclusive?: boolean },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const failed = (cause: NodeJS.ErrnoException): void => {
    const where = hostAndPort(options.host, options.port);
    const text =
      cause.code === "EADDRINUSE"
        ? `address ${where} is in use; stop what listens there, or choose another with --address`
        : `cannot listen on ${where}: ${cause.message}`;
    reject(new Error(text, { cause }));
  };
  server.once("error", failed);
  const { host, port, exclusive = false } = options;
  const reusePort = canSharePort && !exclusive;
  server.listen({ host, port, backlog: 4_096, reusePort }, () => {
    server.off("error", failed);
    resolve();
  });
  return promise;
}

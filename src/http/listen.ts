// Where an HTTP server listens, and how it ends. Node takes in one connection of each listening
// socket with every round of its event loop; under load a round takes long, and hundreds of new
// connections would wait behind each other. So every server listens with several sockets, among
// which the system deals the connections out, and on several threads each has a server of its own.

import { Server as Acceptor, type AddressInfo, createServer } from "node:net";
import { hasPlenty } from "../descriptors.ts";
import type { HttpServer } from "./server.ts";
import { bindSocket } from "./unix-socket.ts";

// Sockets that listen for one server, on each of its addresses; one where descriptors are scarce.
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
// So many more looks are taken before each of them is closed, if every look brings a connection.
const LOOKS_MAX = 100;

// `localhost` is both of these, as far as the machine has them: what a program makes of the name, and which
// of them it tries first or only, differs.
const LOCAL_HOSTS = ["127.0.0.1", "::1"];
// How often a free port is looked for that is free on both.
const FREE_TRIES = 20;

/** Where to listen; the host "" means all interfaces, port 0 takes a free one. */
export interface Listening {
  readonly host: string;
  readonly port: number;
  /** The path of a Unix socket, in place of both. */
  readonly socket?: string | undefined;
  /** Who may use that, as a file mode. */
  readonly socketMode?: number;
  /** Whether one socket is enough, which shares its port with no other thread. */
  readonly isAlone?: boolean;
}

/** Whether several sockets may listen on one port here; elsewhere one listens for all. */
export const canSharePort = ["linux", "freebsd", "sunos", "aix"].includes(process.platform);

/** A server that listens. */
export interface Listener {
  readonly port: number;
  /** Every address, such as `127.0.0.1:2319`. */
  readonly addresses: readonly string[];
  /** From now on every reply says that its connection ends with it. Connections are still taken in. */
  startEnding(): void;
  /** Stops listening, and closes connections once their last answers are taken, or after a while. */
  drain(): Promise<void>;
}

/** How many sockets a server will listen with. */
export function listeningSockets({ host, socket }: Listening): number {
  if (socket !== undefined) return 1;
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
export async function listen(http: HttpServer, listening: Listening): Promise<Listener> {
  const { host, port: wanted, socket, isAlone = false } = listening;
  if (socket !== undefined) return listenAtSocket(http, socket, listening.socketMode);
  // Where there are several, what is tried first can be given up; `http` itself is closed once and for all.
  const each = isAlone ? 1 : acceptorsOfEach();
  const first = each > 1 ? undefined : http;
  const { acceptors, port } = await bindFirst(
    { host, port: wanted, isAlone },
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
  return {
    port,
    addresses,
    startEnding: () => http.startEnding(),
    drain: () => drain(http, acceptors),
  };
}

async function listenAtSocket(
  http: HttpServer,
  path: string,
  mode: number | undefined,
): Promise<Listener> {
  await bindSocket(http, path, mode);
  return {
    port: 0,
    addresses: [`unix:${path}`],
    startEnding: () => http.startEnding(),
    drain: () => drain(http, [http]), // which removes the file
  };
}

// Binds one acceptor for each address of a host, all to the same port.
async function bindFirst(
  { host, port: wanted, isAlone = false }: Listening,
  { make, mayRetry }: { readonly make: () => Acceptor; readonly mayRetry: boolean },
): Promise<{ readonly acceptors: Acceptor[]; readonly port: number }> {
  for (let left = FREE_TRIES; ; left--) {
    const acceptors: Acceptor[] = [];
    let port = wanted;
    try {
      await onEach(host, async (address) => {
        // A server that shares ports would also share one that it does not mean to.
        if (canSharePort && !isAlone && port !== wanted) await checkFree(address, port);
        const acceptor = make();
        await bind(acceptor, { host: address, port, exclusive: isAlone });
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
function acceptorFor(http: HttpServer, itself?: HttpServer): Acceptor {
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
export function urlOf({ host, port, socket }: Listening, isSecure = false): string {
  if (socket !== undefined) return `unix:${socket}`;
  const usable = { "": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1" }[host] ?? host;
  return `${isSecure ? "https" : "http"}://${hostAndPort(usable, port)}`;
}

function hostAndPort(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function codeOf(error: unknown): string {
  return ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code ?? "";
}

// What is asked from now on is refused, and everything else is answered. First nobody new is taken in, then
// those that are connected get a moment in which the refusal says why, and then the others are closed.
async function drain(http: HttpServer, acceptors: readonly Acceptor[]): Promise<void> {
  http.startEnding();
  // A client that is refused comes again at once, and would be in the moment of the close. So they wait for it.
  const letGo = http.hold();
  await quiet(http);
  // One after the other, right after a look that has brought nothing: what comes meanwhile comes to those that
  // listen yet, but for what comes to this one in between, which is far less than would come while all are closed.
  const ended: Promise<void>[] = [];
  for (const acceptor of acceptors) {
    await allTakenIn(http);
    ended.push(closed(acceptor));
  }
  letGo();
  for (let ms = 0; ms < LINGER_MS && http.open > 0; ms += LOOK_MS) await pause(LOOK_MS);
  http.closeIdleConnections();
  const timer = setTimeout(() => http.closeAllConnections(), DRAIN_MS);
  await Promise.all(ended);
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
}

// Returns right after a round of the event loop in which no connection was taken in.
async function allTakenIn(http: HttpServer): Promise<void> {
  let isNew = true;
  const onConnection = (): void => {
    isNew = true;
  };
  http.on("connection", onConnection);
  for (let looks = 0; isNew && looks < LOOKS_MAX; looks++) {
    isNew = false;
    await new Promise((resolve) => setImmediate(resolve));
  }
  http.off("connection", onConnection);
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
  await onEach(host, async (address) => {
    const probe = createServer();
    await bind(probe, { host: address, port, exclusive: true });
    await closed(probe);
  });
}

// That of node:http would do more than to stop listening.
function closed(acceptor: Acceptor): Promise<void> {
  return new Promise((resolve) => {
    Acceptor.prototype.close.call(acceptor, () => resolve());
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

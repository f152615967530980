// The options that are about where the server listens, and how: its address and that for those who run it, Unix
// sockets, and TLS. What the files of TLS hold is looked at when the server starts (server/certificates.ts).

import { isAbsolute, resolve } from "node:path";
import { CLIENT_AUTHS, TLS_VERSIONS } from "./choices.ts";
import { ConfigError, type Section } from "./section.ts";

/** Where to listen: on a port, or at a Unix socket. */
export interface Address {
  /** "" means all interfaces; `localhost` of a socket. */
  readonly host: string;
  readonly port: number;
  /** The path of a Unix socket. */
  readonly socket: string | undefined;
}

/** Files of TLS, and what is asked of clients. */
export interface TlsConfig {
  readonly cert: string;
  readonly key: string;
  readonly minVersion: (typeof TLS_VERSIONS)[number];
  /** Authorities whose certificates clients show; undefined if they show none. */
  readonly clientCa: string | undefined;
  /** Whether a client without a certificate is let in. */
  readonly clientAuth: (typeof CLIENT_AUTHS)[number];
}

export interface ListeningConfig extends Address {
  /** Who may use a Unix socket, as file modes say it. */
  readonly socketMode: number;
  /** Where those who run the server look after it, beside the address. */
  readonly admin: Address | undefined;
  readonly tls: TlsConfig | undefined;
}

/** The environment variables. */
export const LISTENING_ENVIRONMENT = {
  address: "QUERATOR_ADDRESS",
  socketMode: "QUERATOR_SOCKET_MODE",
  adminAddress: "QUERATOR_ADMIN_ADDRESS",
  tlsCert: "QUERATOR_TLS_CERT",
  tlsKey: "QUERATOR_TLS_KEY",
  tlsMinVersion: "QUERATOR_TLS_MIN_VERSION",
  tlsClientCa: "QUERATOR_TLS_CLIENT_CA",
  tlsClientAuth: "QUERATOR_TLS_CLIENT_AUTH",
} as const;

type Option = keyof typeof LISTENING_ENVIRONMENT;

/** The keys of the file. */
export const LISTENING_KEYS = [
  "address",
  "socket-mode",
  "admin-address",
  "tls-cert",
  "tls-key",
  "tls-min-version",
  "tls-client-ca",
  "tls-client-auth",
] as const;

const SOCKET_MODE = 0o660;
// What the system has room for in the name of a socket, with the end of a text.
const SOCKET_PATH_MAX = 103;

/** Reads them: the first source that says something counts. */
export function readListening(given: Section, env: Section, file: Section): ListeningConfig {
  const read = new Reader(given, env, file);
  const address = parseAddress(read.text("address") ?? "localhost:2319", "address");
  const adminText = read.text("adminAddress");
  const admin = adminText === undefined ? undefined : parseAddress(adminText, "admin-address");
  const mode = read.text("socketMode");
  if (mode !== undefined && address.socket === undefined && admin?.socket === undefined) {
    throw new ConfigError("socket-mode is of no use without a Unix socket as address");
  }
  return { ...address, socketMode: parseMode(mode), admin, tls: readTls(read) };
}

// One option, wherever it is said.
class Reader {
  readonly #given: Section;
  readonly #env: Section;
  readonly #file: Section;

  constructor(given: Section, env: Section, file: Section) {
    this.#given = given;
    this.#env = env;
    this.#file = file;
  }

  text(option: Option): string | undefined {
    return (
      this.#given.text(option) ??
      this.#env.text(option, LISTENING_ENVIRONMENT[option]) ??
      this.#file.text(kebab(option))
    );
  }

  oneOf<T extends string>(option: Option, allowed: readonly T[]): T | undefined {
    return (
      this.#given.oneOf(option, allowed) ??
      this.#env.oneOf(option, allowed, LISTENING_ENVIRONMENT[option]) ??
      this.#file.oneOf(kebab(option), allowed)
    );
  }
}

function kebab(option: string): string {
  return option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function parseAddress(address: string, option: string): Address {
  if (address.startsWith("unix:")) return socketAddress(address.slice("unix:".length), option);
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new ConfigError(
      `${option}: "${address}" is not allowed; use HOST:PORT, such as localhost:2319 or [::1]:0, or unix:/PATH`,
    );
  }
  return { host: match[1] ?? match[2] ?? "", port, socket: undefined };
}

// `unix:/run/q.sock`, also as the URL that it looks like: `unix:///run/q.sock`.
function socketAddress(text: string, option: string): Address {
  const path = text.replace(/^\/\/(?=\/)/, "");
  if (!isAbsolute(path) || path.endsWith("/")) {
    throw new ConfigError(
      `${option}: "unix:${text}" is not allowed; use a whole path, such as unix:/run/querator.sock`,
    );
  }
  if (process.platform === "win32") {
    throw new ConfigError(`${option}: there are no Unix sockets on this system; use HOST:PORT`);
  }
  const socket = resolve(path);
  if (Buffer.byteLength(socket) > SOCKET_PATH_MAX) {
    throw new ConfigError(
      `${option}: the path of a Unix socket has ${SOCKET_PATH_MAX} bytes at most; '${socket}' is longer`,
    );
  }
  return { host: "localhost", port: 0, socket };
}

function parseMode(text: string | undefined): number {
  if (text === undefined) return SOCKET_MODE;
  if (/^0?[0-7]{3}$/.test(text)) return Number.parseInt(text, 8);
  throw new ConfigError(`socket-mode: "${text}" is not allowed; use a file mode such as "0660"`);
}

function readTls(read: Reader): TlsConfig | undefined {
  const cert = read.text("tlsCert");
  const key = read.text("tlsKey");
  const minVersion = read.oneOf("tlsMinVersion", TLS_VERSIONS);
  const clientCa = read.text("tlsClientCa");
  const clientAuth = read.oneOf("tlsClientAuth", CLIENT_AUTHS);
  if (cert !== undefined && key !== undefined) {
    if (clientAuth !== undefined && clientCa === undefined) {
      throw new ConfigError("tls-client-auth is of no use without tls-client-ca");
    }
    return {
      cert: resolve(cert),
      key: resolve(key),
      minVersion: minVersion ?? "1.2",
      clientCa: clientCa === undefined ? undefined : resolve(clientCa),
      clientAuth: clientAuth ?? "required",
    };
  }
  if (cert !== undefined) throw new ConfigError("tls-cert needs tls-key, the file with its key");
  if (key !== undefined) throw new ConfigError("tls-key needs tls-cert, the file that it is for");
  // Who says one of these means TLS; it is not left out in silence.
  for (const [name, value] of [
    ["tls-min-version", minVersion],
    ["tls-client-ca", clientCa],
    ["tls-client-auth", clientAuth],
  ]) {
    if (value !== undefined)
      throw new ConfigError(`${name} is of no use without tls-cert and tls-key`);
  }
  return undefined;
}

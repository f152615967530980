// How to reach a PostgreSQL, as a user says it: a URL, or the variables that other programs use too,
// and TLS. Everything is taken apart and checked here, so that a message can name the field that is
// wrong; none may ever show a password, and so none shows a URL.

import { readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { MILLISECOND } from "../clock.ts";
import { DurationError, parseDuration } from "../duration.ts";
import { readSecretFile, type Section } from "./section.ts";

const SSL_MODES = ["disable", "prefer", "require", "verify-ca", "verify-full"] as const;
export const POSTGRES_KEYS = [
  "connection-string",
  "connection-string-file",
  "schema",
  "max-conns",
  "connect-timeout",
  "statement-timeout",
  "ssl-mode",
  "ssl-ca",
  "ssl-cert",
  "ssl-key",
] as const;

export interface PostgresConfig {
  readonly host: string;
  readonly port: number;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: string;
  readonly schema: string;
  readonly maxConns: number;
  /** Milliseconds until a connection must work. */
  readonly connectMs: number;
  /** Milliseconds that a statement may take. */
  readonly statementMs: number;
  readonly sslMode: (typeof SSL_MODES)[number];
  /** PEM texts. */
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** What it is, without secrets. */
  readonly location: string;
}

// What the parameters of a URL may say.
const PARAMETERS = [
  "sslmode",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "host",
  "port",
  "user",
  "password",
  "schema",
  "connect-timeout",
  "statement-timeout",
] as const;

// What PostgreSQL's own programs look at where a URL says nothing.
const VARIABLES = {
  host: "PGHOST",
  port: "PGPORT",
  user: "PGUSER",
  password: "PGPASSWORD",
  database: "PGDATABASE",
  sslmode: "PGSSLMODE",
  sslrootcert: "PGSSLROOTCERT",
  sslcert: "PGSSLCERT",
  sslkey: "PGSSLKEY",
} as const;

// Stands where a URL has no host.
const NO_HOST = "nowhere.invalid";
const CONNS_MIN = 2;
const CONNS_MAX = 100;
const TIMEOUT_MS_MIN = 100;
const TIMEOUT_MS_MAX = 600_000;

/** Reads the `config` of a storage; `url` is what a flag gave in its place. */
export function parsePostgres(
  section: Section,
  env: NodeJS.ProcessEnv,
  url?: string,
): PostgresConfig {
  const text = url ?? readConnectionString(section) ?? (env.DATABASE_URL || undefined);
  const { PGHOST, PGUSER, PGDATABASE } = env;
  if (text === undefined && !PGHOST && !PGUSER && !PGDATABASE) {
    throw section.error(
      "connection-string",
      "is missing; give it, or DATABASE_URL, or PGHOST, PGUSER and PGDATABASE",
    );
  }
  const said = text === undefined ? new Map<string, string>() : readUrl(section, text);
  const portKey = said.has("port") ? "port" : VARIABLES.port;
  for (const [name, variable] of Object.entries(VARIABLES)) {
    const value = env[variable];
    if (value && !said.has(name)) said.set(name, value);
  }
  const host = said.get("host") ?? "localhost";
  const port = readPort(section, portKey, said.get("port") ?? "5432");
  const database = said.get("database") ?? said.get("user") ?? "postgres";
  const schema = section.text("schema") ?? said.get("schema") ?? "querator";
  if (!/^[a-z_][a-z0-9_]{0,62}$/i.test(schema) || /^pg_/i.test(schema)) {
    throw section.error("schema", `"${schema}" is not allowed; use letters, digits and _`);
  }
  const read = (key: string, path: string | undefined): string | undefined => {
    if (path === undefined) return undefined;
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      throw section.error(key, `cannot read the file: ${(cause as Error).message}`);
    }
  };
  const sslText = said.get("sslmode");
  const sslSaid = SSL_MODES.find((each) => each === sslText);
  if (sslText !== undefined && sslSaid === undefined) {
    throw section.error("ssl-mode", `is not allowed; use one of ${SSL_MODES.join(", ")}`);
  }
  const timeout = (key: string): number | undefined => {
    const text = section.text(key) ?? said.get(key);
    return text === undefined ? undefined : readTimeout(section, key, text);
  };
  return {
    host,
    port,
    user: said.get("user") ?? systemUser(),
    password: said.get("password"),
    database,
    schema,
    maxConns: section.number("max-conns", CONNS_MIN, CONNS_MAX) ?? 4,
    connectMs: timeout("connect-timeout") ?? 5_000,
    statementMs: timeout("statement-timeout") ?? 20_000,
    sslMode: section.oneOf("ssl-mode", SSL_MODES) ?? sslSaid ?? "prefer",
    ca: read("ssl-ca", section.text("ssl-ca") ?? said.get("sslrootcert")),
    cert: read("ssl-cert", section.text("ssl-cert") ?? said.get("sslcert")),
    key: read("ssl-key", section.text("ssl-key") ?? said.get("sslkey")),
    location: `postgres:${host}:${port}/${database}/${schema}`,
  };
}

function readConnectionString(section: Section): string | undefined {
  const text = section.text("connection-string");
  const path = section.text("connection-string-file");
  if (path === undefined) return text;
  if (text === undefined) return readSecretFile(path, `${section.place}.connection-string-file`);
  throw section.error("connection-string-file", "give either this or connection-string, not both");
}

function readTimeout(section: Section, key: string, text: string): number {
  let ms = Number.NaN;
  try {
    ms = parseDuration(text) / MILLISECOND;
  } catch (error) {
    if (!(error instanceof DurationError)) throw error;
  }
  if (ms >= TIMEOUT_MS_MIN && ms <= TIMEOUT_MS_MAX) return Math.round(ms);
  throw section.error(key, `"${text}" is not allowed; use a time from 100ms to 10m`);
}

// What a URL says, by name; what is empty is not said.
function readUrl(section: Section, text: string): Map<string, string> {
  const fail = (why: string): Error =>
    section.error(
      "connection-string",
      `${why}; use a URL such as postgres://user:password@host:5432/database`,
    );
  let url: URL;
  try {
    // Of schemes that it does not know, URL takes no empty host beside a user.
    url = new URL(text.replace(/^([a-z]+:\/\/[^/?#@]*@)(?=[:/?]|$)/, `$1${NO_HOST}`));
  } catch {
    throw fail("is not a URL");
  }
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") {
    throw fail("has the wrong scheme");
  }
  // What a password that was not encoded holds behind one, the true host included.
  if (url.hash !== "") throw fail("has a #, which must be written %23");
  const decoded = (part: string): string => {
    try {
      return decodeURIComponent(part);
    } catch {
      throw fail("has a % that does not stand for a character");
    }
  };
  const said = new Map([
    ["host", url.hostname === NO_HOST ? "" : decoded(url.hostname).replace(/^\[(.*)\]$/, "$1")],
    ["port", url.port],
    ["user", decoded(url.username)],
    ["password", decoded(url.password)],
    ["database", decoded(url.pathname.slice(1))],
  ]);
  for (const [name, value] of url.searchParams) {
    // What follows a ? in a password that was not encoded.
    if (name.includes("@")) throw fail("has a password with a ?, which must be written %3F");
    if (!PARAMETERS.some((each) => each === name)) {
      throw fail(`has the parameter "${name}", which is not known (${PARAMETERS.join(", ")})`);
    }
    said.set(name, value);
  }
  for (const [name, value] of said) if (value === "") said.delete(name);
  return said;
}

function readPort(section: Section, key: string, text: string): number {
  const port = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (port >= 1 && port <= 65_535) return port;
  throw section.error(key, `"${text}" is not a port; use a number from 1 to 65535`);
}

// As whom PostgreSQL's own programs connect if nothing else is said; not every container names its users.
function systemUser(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}

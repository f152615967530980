// From what the configuration says of a PostgreSQL to what the library wants to know.

/// <reference path="./pgpass.d.ts" />
import pgpass, { type ConnectionFacts } from "pgpass";
import type { Target } from "./connection.ts";

const NO_PASSWORD =
  "it asks for a password and none is given; put it into the URL, PGPASSWORD or ~/.pgpass";

export interface Reachable {
  /** A name, an address, or the directory of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: string;
  readonly sslMode: "disable" | "prefer" | "require" | "verify-ca" | "verify-full";
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** How to connect; without encryption `prefer` is tried again by the connection. */
export function targetOf(config: Reachable): Target {
  const { host, port, user, password, database, sslMode, ca, cert, key } = config;
  const ssl = {
    rejectUnauthorized: sslMode === "verify-ca" || sslMode === "verify-full",
    ...(sslMode === "verify-ca" ? { checkServerIdentity: () => undefined } : {}),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
  // A Unix socket does not leave the machine: PostgreSQL encrypts nothing there.
  const isPlain = sslMode === "disable" || host.startsWith("/");
  return {
    host,
    port,
    database,
    ...(user === undefined ? {} : { user }),
    // Looked for only where PostgreSQL wants one. The library's types leave out what it is called with.
    password: password ?? (passwordFromFile as () => Promise<string>),
    ssl: isPlain ? false : ssl,
    isTlsOptional: !isPlain && sslMode === "prefer",
  };
}

// From PGPASSFILE or ~/.pgpass, where PostgreSQL's own programs look.
function passwordFromFile(facts: ConnectionFacts): Promise<string> {
  return new Promise((resolve, reject) => {
    pgpass(facts, (password) => {
      if (password !== undefined) resolve(password);
      else reject(new Error(NO_PASSWORD));
    });
  });
}

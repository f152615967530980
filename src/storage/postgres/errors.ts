// What went wrong with PostgreSQL, in words for those who run the server: where, what, and what to do.
// Messages name the host, the port and the database, never a password or a whole connection string.

import pg from "pg";

/** An error of PostgreSQL, or of the way to it. */
export class PostgresError extends Error {
  override readonly name = "PostgresError";
  /** A SQLSTATE, or the code of a system error; "" if there is none. */
  readonly code: string;
  /** Whether the server has said that the transaction failed; else nobody knows what became of it. */
  readonly isUndone: boolean;

  constructor(code: string, message: string, options?: ErrorOptions & { isUndone?: boolean }) {
    super(message, options);
    this.code = code;
    this.isUndone = options?.isUndone ?? false;
  }
}

/** This server is not, or no longer, the one that owns the data. */
export const NOT_OWNER = "QU001";
/** A row of a partition is not where it was. */
export const ROW_MOVED = "QU002";
/** A time-out of ours: nothing came from the server for too long. */
export const NO_ANSWER = "QU003";
/** It is written, but perhaps nowhere else, although a standby was to have it first. */
export const NOT_REPLICATED = "QU004";
export const LOCK_TIMEOUT = "55P03";

/** What is wrong with a pooler that keeps no sessions. */
export const POOLED =
  "a pooler gives every transaction another session; let it keep them (pool_mode = session), or connect to PostgreSQL itself";

const NO_TLS = "The server does not support SSL connections";
const NO_CONNECTION = "timeout expired";
const CHECK_CA = "give ssl-ca, the certificate of who signed it, or check it";

const ADVICE: Readonly<Record<string, string>> = {
  ECONNREFUSED: "is it running, and are host and port right?",
  ENOENT: "is it running, and does its socket lie in that directory?",
  ENOTFOUND: "is the name of the host right?",
  EMFILE: "this process has no file descriptors left: raise ulimit -n",
  ENFILE: "this machine has no file descriptors left: raise fs.file-max",
  ETIMEDOUT: "is it reachable from here?",
  SELF_SIGNED_CERT_IN_CHAIN: CHECK_CA,
  DEPTH_ZERO_SELF_SIGNED_CERT: CHECK_CA,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: CHECK_CA,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: CHECK_CA,
  CERT_SIGNATURE_FAILURE: CHECK_CA,
  CERT_HAS_EXPIRED: "renew the certificate of the server",
  ERR_TLS_CERT_ALTNAME_INVALID: "name the host as the certificate does, or use ssl-mode verify-ca",
  [NO_CONNECTION]:
    "nothing came within connect-timeout: is it reachable, and does it answer others?",
  [NO_TLS]: "turn it on there, or use another ssl-mode",
  "25006": "it is a standby, or default_transaction_read_only is on",
  // A statement that was prepared is not there, or is there already, although the session has not ended.
  "26000": POOLED,
  "42P05": POOLED,
  "28P01": "check user and password",
  "28000": "check user, password and pg_hba.conf",
  "3D000": "create the database, or name another",
  "42501": "grant the role what docs/POSTGRESQL.md lists",
  "53100": "free space on the disk of PostgreSQL",
  "53300": "raise max_connections, or lower max-conns",
  [LOCK_TIMEOUT]: "somebody holds a lock, a pg_dump perhaps; find them in pg_locks, and try again",
  "57014": "a statement took too long; look for locks and slow disks",
};

/** The server takes no writes from this session; `WHY_READ_ONLY` tells more. */
export const READ_ONLY = "25006";

/** Asks, in two columns and one row, whether this is a standby, and where the session has read-only from. */
export const WHY_READ_ONLY = `SELECT pg_is_in_recovery()::text, coalesce((SELECT source FROM pg_settings
  WHERE name = 'default_transaction_read_only' AND setting = 'on'), ''), current_user, current_database()`;

/** What to do about a server that takes no writes, by what `WHY_READ_ONLY` has answered. */
export function adviceOnReadOnly(row: readonly (string | null)[]): string {
  const [isStandby, source, user, database] = row;
  if (isStandby === "true") return "it is a standby; name the primary";
  if (!source) return ADVICE[READ_ONLY]!;
  const role = `ALTER ROLE "${user}"`;
  const how =
    {
      user: `${role} RESET default_transaction_read_only`,
      database: `ALTER DATABASE "${database}" RESET default_transaction_read_only`,
      "database user": `${role} IN DATABASE "${database}" RESET default_transaction_read_only`,
      client: "take it out of PGOPTIONS, or of the options of the URL",
    }[source] ??
    "ALTER SYSTEM RESET default_transaction_read_only, or take it out of postgresql.conf";
  return `default_transaction_read_only is on (${source}), though this is no standby; if nobody means it to be: ${how}`;
}

/** Whether the server offers no TLS at all. */
export function isWithoutTls(error: unknown): boolean {
  return (error as Error).message.includes(NO_TLS);
}

/** Says what went wrong; `place` is `host:port/database`, `known` what to do if that is known better. */
export function describe(place: string, error: unknown, known?: string): PostgresError {
  if (error instanceof PostgresError) return error;
  const {
    code = "",
    message = String(error),
    errors,
  } = error as {
    code?: string;
    message?: string;
    errors?: readonly Error[];
  };
  // Of a name with several addresses, where none answers, the first tells enough.
  const said = (message || errors?.[0]?.message || code).replace(/[\s:]+$/, "");
  const advice = known ?? ADVICE[code] ?? ADVICE[said];
  // A session that is ended may have been told so after its commit.
  const isUndone = error instanceof pg.DatabaseError && !/^(08|57P|40003)/.test(code);
  const text = `PostgreSQL at ${place}: ${said}${advice === undefined ? "" : `; ${advice}`}`;
  return new PostgresError(code, text, { isUndone });
}

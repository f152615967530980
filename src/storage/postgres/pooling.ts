// A pooler between this server and PostgreSQL that gives every transaction another session (PgBouncer with
// pool_mode = transaction) loses what a session is for: its settings, its prepared statements, its locks.
// Recognised here before anything is set, for what is set would stay in the sessions of others.

import pg from "pg";
import { placeOf, type Target } from "./connection.ts";
import { describe, isWithoutTls, POOLED, PostgresError } from "./errors.ts";

// As many sessions are begun beside the first, at most, to see whether one of them is given its place.
const OTHERS_MAX = 8;
// A pool may have no more of them, and then lets us wait.
const WAIT_MS = 2_000;

const OWN_SESSION = "SELECT pg_backend_pid() AS pid";

export interface PoolingOptions {
  readonly target: Target;
  readonly applicationName: string;
  /** Until a connection can be used. */
  readonly connectMs: number;
}

/**
 * Rejects if sessions are not kept from one transaction to the next. A pooler that keeps them is fine; any
 * is known by the number that it gives a session, which is not PostgreSQL's. One that deals out many idle
 * sessions in turn may pass as such; then what fails names it (see `ADVICE`).
 */
export async function checkPooling(options: PoolingOptions): Promise<void> {
  const clients: pg.Client[] = [];
  const begin = async (): Promise<pg.Client> => {
    const client = await connect(options, options.target.isTlsOptional === true);
    clients.push(client);
    return client;
  };
  const place = placeOf(new pg.Client(options.target));
  try {
    const first = await begin();
    const session = await sessionOf(first, OWN_SESSION);
    const { processID } = first as unknown as { readonly processID: number | null };
    if (session === processID) return; // nobody is in between
    for (let i = 0; i < OTHERS_MAX; i++) {
      const other = await within(begin());
      // Its transaction stays open, so that the next one is given another session.
      const its = other && (await within(sessionOf(other, `BEGIN; ${OWN_SESSION}`)));
      if (its === undefined) return;
      if (its === session) throw pooled(place);
      const now = await within(sessionOf(first, OWN_SESSION));
      if (now === undefined) return;
      if (now !== session) throw pooled(place);
    }
  } catch (error) {
    // Where each statement is given a session there are no transactions of several.
    if (/statement pooling/i.test((error as Error).message)) throw pooled(place);
    throw describe(place, error);
  } finally {
    for (const client of clients) void client.end().catch(() => undefined);
  }
}

function pooled(place: string): PostgresError {
  return new PostgresError("", `PostgreSQL at ${place}: ${POOLED}`);
}

async function connect(options: PoolingOptions, isTlsOptional: boolean): Promise<pg.Client> {
  const { target, applicationName, connectMs } = options;
  const { isTlsOptional: _, ...own } = target;
  const client = new pg.Client({
    ...own,
    ...(target.isTlsOptional === true && !isTlsOptional ? { ssl: false } : {}),
    application_name: applicationName,
    connectionTimeoutMillis: connectMs,
    query_timeout: connectMs,
  });
  client.on("error", () => undefined); // those that wait are told by the call
  try {
    await client.connect();
    return client;
  } catch (error) {
    if (!isTlsOptional || !isWithoutTls(error)) throw error;
    return connect(options, false);
  }
}

async function sessionOf(client: pg.Client, sql: string): Promise<number> {
  const results = (await client.query(sql)) as unknown as
    | pg.QueryResult<{ pid: number }>
    | pg.QueryResult<{ pid: number }>[];
  return [results].flat().at(-1)!.rows[0]!.pid;
}

// Undefined if it takes too long: a pool that has no session left lets its clients wait.
async function within<T>(work: Promise<T>): Promise<T | undefined> {
  work.catch(() => undefined); // it may fail after its time
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), WAIT_MS);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

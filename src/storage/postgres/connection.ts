// One connection to PostgreSQL. Statements are sent together, each prepared once, and closed by one
// Sync: one round trip, and one transaction, without BEGIN and COMMIT. A connection that is lost is
// made anew by the next call; one that hangs is destroyed, and everything that waits for it rejects.
// It retries nothing: whether what was sent has happened is for the caller to find out.

import pg from "pg";
import {
  adviceOnReadOnly,
  describe,
  isWithoutTls,
  NO_ANSWER,
  NOT_REPLICATED,
  PostgresError,
  READ_ONLY,
  WHY_READ_ONLY,
} from "./errors.ts";
import type { Value } from "./values.ts";

const LOCK_MS_MAX = 3_000;
const KEEP_ALIVE_SECONDS = 5;

/** How long to wait, in milliseconds. What follows from it: see `Waits`. */
export interface Timeouts {
  /** Until a connection can be used. */
  readonly connectMs: number;
  /** For a statement, as PostgreSQL counts it. */
  readonly statementMs: number;
}

export const DEFAULT_TIMEOUTS: Timeouts = { connectMs: 5_000, statementMs: 20_000 };

interface Waits extends Timeouts {
  /** For a lock: less than for the statement that waits for it. */
  readonly lockMs: number;
  /** For an answer. More than for a statement: what runs into it is a connection that hangs. */
  readonly answerMs: number;
}

function waitsOf({ connectMs, statementMs }: Timeouts): Waits {
  const lockMs = Math.min(LOCK_MS_MAX, Math.ceil(statementMs / 2));
  return { connectMs, statementMs, lockMs, answerMs: Math.ceil(statementMs * 1.25) };
}

/** How to reach a database, as `pg` has it. */
export interface Target extends pg.ClientConfig {
  /** Whether to go on without TLS if the server has none; false by default. */
  readonly isTlsOptional?: boolean;
}

/** One row, by the order of its columns. */
export type Row = readonly (string | null)[];

export interface Statement {
  readonly text: string;
  readonly values?: readonly Value[];
}

/** What is used of the library's lower layer. */
interface Wire {
  readonly stream: { cork(): void; uncork(): void; destroy(error?: Error): void };
  parse(query: { name: string; text: string }): void;
  bind(bind: { statement: string; values: readonly (string | Buffer | null)[] }): void;
  execute(portal: object): void;
  sync(): void;
  on(event: "parseComplete", listener: () => void): void;
}

/** `host:port/database`, for messages. */
export function placeOf(client: Pick<pg.Client, "host" | "port" | "database">): string {
  return `${client.host}:${client.port}/${client.database ?? ""}`;
}

export interface ConnectionOptions {
  readonly target: Target;
  /** Where the tables are. */
  readonly schema: string;
  /** As pg_stat_activity shows it. */
  readonly applicationName: string;
  readonly timeouts?: Timeouts | undefined;
  /** More settings of the session. */
  readonly settings?: Readonly<Record<string, string>>;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #waits: Waits;
  // The client that works, or is on its way; undefined after it was lost.
  #session: Promise<Session> | undefined;
  #isClosed = false;
  /** How often statements were sent. */
  roundTrips = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#waits = waitsOf(options.timeouts ?? DEFAULT_TIMEOUTS);
  }

  /** Runs statements in one transaction; answers the rows of each. */
  async run(statements: readonly Statement[]): Promise<readonly (readonly Row[])[]> {
    const session = await this.#connected();
    this.roundTrips++;
    try {
      return await session.run(statements);
    } catch (error) {
      throw await explained(session, error);
    }
  }

  /** Runs statements that are not prepared, each in a transaction of its own unless they say otherwise. */
  async script(sql: string): Promise<void> {
    const session = await this.#connected();
    try {
      await session.script(sql);
    } catch (error) {
      throw await explained(session, error);
    }
  }

  async #connected(): Promise<Session> {
    if (this.#isClosed) throw new PostgresError("", "the storage is closed");
    const session = this.#session ?? this.#connect();
    this.#session = session;
    const forget = (): void => {
      if (this.#session === session) this.#session = undefined;
    };
    try {
      const connected = await session;
      connected.onLost = forget;
      if (connected.isLost) forget();
      return connected;
    } catch (error) {
      forget();
      throw error;
    }
  }

  async #connect(): Promise<Session> {
    const { isTlsOptional = false, ...target } = this.#options.target;
    try {
      return await this.#connectTo(target);
    } catch (error) {
      if (!isTlsOptional || !isWithoutTls(error)) throw error;
      return this.#connectTo({ ...target, ssl: false });
    }
  }

  async #connectTo(target: pg.ClientConfig): Promise<Session> {
    const { schema, applicationName, settings = {} } = this.#options;
    const { connectMs, statementMs, lockMs, answerMs } = this.#waits;
    const client = new pg.Client({
      ...target,
      application_name: applicationName,
      connectionTimeoutMillis: connectMs,
      keepAlive: true,
    });
    const place = placeOf(client);
    const session = new Session(client, place, answerMs);
    client.on("error", () => undefined); // those that wait are told by the call
    client.on("notice", (notice) => session.note(notice));
    client.on("end", () => {
      session.isLost = true;
      session.onLost();
    });
    let timer: NodeJS.Timeout | undefined;
    try {
      await client.connect();
      const message = `PostgreSQL at ${place}: no answer after ${connectMs} ms`;
      timer = setTimeout(() => session.destroy(new PostgresError(NO_ANSWER, message)), connectMs);
      const all: Record<string, string> = {
        search_path: `"${schema}"`,
        synchronous_commit: "on",
        // The fence waits for a lock and then reads the epoch, which must be the one of that moment.
        default_transaction_isolation: "read committed",
        statement_timeout: String(statementMs),
        lock_timeout: String(lockMs),
        idle_in_transaction_session_timeout: String(statementMs),
        tcp_keepalives_idle: String(KEEP_ALIVE_SECONDS),
        tcp_keepalives_interval: String(KEEP_ALIVE_SECONDS),
        tcp_keepalives_count: "3",
        tcp_user_timeout: String(KEEP_ALIVE_SECONDS * 4_000),
        // Every statement finds its rows by a key or a place; a plan must never depend on what
        // statistics say of tables that are empty now and full the next minute.
        plan_cache_mode: "force_generic_plan",
        enable_seqscan: "off",
        enable_hashjoin: "off",
        enable_mergejoin: "off",
        jit: "off",
        bytea_output: "hex",
        client_min_messages: "warning",
        ...settings,
      };
      const pairs = Object.entries(all).map(([name, value]) => `SET ${name} = '${value}'`);
      // A path is a list of names, not a text.
      await client.query(pairs.join("; ").replace(`'"${schema}"'`, `"${schema}"`));
      return session;
    } catch (error) {
      session.destroy();
      throw describe(place, error);
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const session = await this.#session?.catch(() => undefined);
    if (session === undefined || session.isLost) return;
    const timer = setTimeout(() => session.destroy(), this.#waits.connectMs);
    await session.client.end().catch(() => undefined);
    clearTimeout(timer);
  }
}

// A standby and a setting fail in the same way, but want other things done.
async function explained(session: Session, error: unknown): Promise<PostgresError> {
  if ((error as PostgresError).code !== READ_ONLY) return describe(session.place, error);
  // It may have failed in a transaction that is still to be ended.
  const row = await session.script(`ROLLBACK; ${WHY_READ_ONLY}`).catch(() => undefined);
  return describe(session.place, error, row && adviceOnReadOnly(row));
}

class Session {
  readonly client: pg.Client;
  readonly place: string;
  isLost = false;
  /** Set by the connection that uses it. */
  onLost: () => void = () => undefined;
  readonly #wire: Wire;
  readonly #answerMs: number;
  // Names of prepared statements, by their texts.
  readonly #prepared = new Map<string, string>();
  // Texts that were sent to be prepared, in order.
  readonly #preparing: string[] = [];
  // Whether the transaction under way is said to be on this server alone.
  #isAlone = false;
  #names = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(client: pg.Client, place: string, answerMs: number) {
    this.client = client;
    this.place = place;
    this.#answerMs = answerMs;
    this.#wire = (client as unknown as { connection: Wire }).connection;
    this.#wire.on("parseComplete", () => this.#notePrepared());
  }

  #notePrepared(): void {
    const entry = this.#preparing.shift();
    if (entry === undefined) return;
    const [name, text] = entry.split("\u0000") as [string, string];
    this.#prepared.set(text, name);
  }

  /** Takes a warning of the server. */
  note({ routine }: { readonly routine?: string | undefined }): void {
    // Known by the function that warns, as its text may be in any language: the wait for a standby
    // was cancelled, and the commit is about to be reported as done.
    if (routine === "SyncRepWaitForLSN") this.#isAlone = true;
  }

  /** See Connection; answers the first row of the last statement, if there is any. */
  async script(sql: string): Promise<Row | undefined> {
    const timer = this.#expectAnswer();
    try {
      const query = { text: sql, rowMode: "array" } as const;
      const results = [await this.client.query<(string | null)[]>(query)].flat();
      return results.at(-1)?.rows?.[0];
    } finally {
      clearTimeout(timer);
    }
  }

  // Gives the connection up if there is no answer in time.
  #expectAnswer(): NodeJS.Timeout {
    return setTimeout(() => {
      const message = `PostgreSQL at ${this.place}: no answer after ${this.#answerMs} ms`;
      this.destroy(new PostgresError(NO_ANSWER, message));
    }, this.#answerMs);
  }

  destroy(error?: Error): void {
    // At once: the next call is not to find a client that only ends in a moment.
    this.isLost = true;
    this.onLost();
    this.#wire.stream.destroy(error);
  }

  /** One call after another: the library is about to keep no queue of its own. */
  run(statements: readonly Statement[]): Promise<readonly (readonly Row[])[]> {
    const rows = this.#last.then(() => this.#run(statements));
    this.#last = rows.catch(() => undefined);
    return rows;
  }

  #run(statements: readonly Statement[]): Promise<readonly (readonly Row[])[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly (readonly Row[])[]>();
    const results: Row[][] = statements.map(() => []);
    let at = 0;
    const timer = this.#expectAnswer();
    const next = (): void => {
      at++;
    };
    this.client.query({
      submit: () => this.#send(statements),
      handleRowDescription: () => undefined,
      handleDataRow: ({ fields }: { fields: Row }) => results[at]!.push(fields),
      handleCommandComplete: next,
      handleEmptyQuery: next,
      handlePortalSuspended: next,
      handleReadyForQuery: () => {
        clearTimeout(timer);
        if (!this.#isAlone) return resolve(results);
        this.#isAlone = false;
        const message = `PostgreSQL at ${this.place}: not replicated, the wait for it was cancelled`;
        reject(new PostgresError(NOT_REPLICATED, message));
      },
      handleError: (error: unknown) => {
        clearTimeout(timer);
        this.#isAlone = false;
        // Those after the one that failed were not looked at.
        this.#preparing.length = 0;
        reject(error);
      },
    } as unknown as pg.Submittable);
    return promise;
  }

  #send(statements: readonly Statement[]): void {
    const wire = this.#wire;
    const isNew = new Map<string, string>();
    wire.stream.cork();
    for (const { text, values = [] } of statements) {
      let name = this.#prepared.get(text) ?? isNew.get(text);
      if (name === undefined) {
        name = `q${++this.#names}`;
        isNew.set(text, name);
        this.#preparing.push(`${name}\u0000${text}`);
        wire.parse({ name, text });
      }
      const bound = values.map((each) => (typeof each === "number" ? String(each) : each));
      wire.bind({ statement: name, values: bound });
      wire.execute({});
    }
    wire.sync();
    wire.stream.uncork();
  }
}

// What hurts a PostgreSQL that keeps queues, long before anything fails: dead rows that cannot be
// removed, commits that are not as durable as they seem, a version nobody has tried. Reads only what
// every role may read; what this one may not see it says. Changes nothing.

import type { Finding } from "../doctor.ts";
import type { StoredRecord } from "../storage.ts";
import {
  Connection,
  DEFAULT_TIMEOUTS,
  type Row,
  type Target,
  type Timeouts,
} from "./connection.ts";
import { adviceOnReadOnly } from "./errors.ts";
import { checkPooling } from "./pooling.ts";
import { pendingSql } from "./schema.ts";

const VERSION_MIN = 14;
/** What is open for so long counts as forgotten, by default. */
export const OLD_MS = 5 * 60_000;
// A standby that holds back as many transactions runs a query that is too long.
const HELD_TRANSACTIONS_MAX = 1_000_000;

export interface PostgresDoctorOptions {
  readonly target: Target;
  readonly schema: string;
  readonly timeouts?: Timeouts | undefined;
  /** From what age on, in milliseconds, a transaction counts as old; `OLD_MS` by default. */
  readonly oldMs?: number;
}

/** What PostgreSQL says of itself. */
export interface PostgresFacts {
  /** Such as 180004. */
  readonly version: number;
  readonly isStandby: boolean;
  /** Why sessions write nothing although it is no standby, and what to do; "" if they do. */
  readonly readOnly: string;
  readonly settings: Readonly<
    Record<"fsync" | "full_page_writes" | "autovacuum" | "track_counts" | "commit", string>
  >;
  /** `synchronous_standby_names`. */
  readonly standbyNames: string;
  /** Whether this role may see what other sessions do. */
  readonly seesSessions: boolean;
  /** Tables of the schema with autovacuum off. */
  readonly unvacuumed: readonly string[];
  /** What pins the horizon, each with what to do about it. */
  readonly pins: readonly string[];
  readonly slots: readonly string[];
  readonly standbys: { readonly all: number; readonly synchronous: number };
}

/** Examines the server and the schema. Rejects if it cannot be reached. */
export async function examinePostgres(options: PostgresDoctorOptions): Promise<Finding[]> {
  const { target, schema, timeouts = DEFAULT_TIMEOUTS } = options;
  const applicationName = "querator doctor";
  await checkPooling({ target, applicationName, connectMs: timeouts.connectMs });
  const connection = new Connection({ target, schema, applicationName, timeouts });
  try {
    const findings = judge(await readFacts(connection, options));
    return [...findings, await examineTables(connection, schema)];
  } finally {
    await connection.close();
  }
}

/** The records in a schema. Rejects if they cannot be read. */
export async function postgresRecords(options: PostgresDoctorOptions): Promise<StoredRecord[]> {
  const { target, schema, timeouts = DEFAULT_TIMEOUTS } = options;
  const applicationName = "querator doctor";
  const connection = new Connection({ target, schema, applicationName, timeouts });
  try {
    const [rows] = await connection.run([
      { text: "SELECT convert_from(name, 'UTF8'), convert_from(record, 'UTF8') FROM queues" },
    ]);
    return rows!.map(([name, record]) => ({ name: name!, record: record! }));
  } finally {
    await connection.close();
  }
}

const seconds = (text: string | null | undefined): string => `${Math.round(Number(text))} s`;

async function readFacts(
  connection: Connection,
  { schema, oldMs = OLD_MS }: PostgresDoctorOptions,
): Promise<PostgresFacts> {
  const old = `${oldMs} ms`;
  const [about, tables, sessions, prepared, slots, standbys] = (await connection.run([
    {
      text: `SELECT current_setting('server_version_num'), pg_is_in_recovery(),
        current_setting('fsync'), current_setting('full_page_writes'),
        current_setting('autovacuum'), current_setting('track_counts'),
        current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
        pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
        (SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = 'on'),
        current_user, current_database()`,
    },
    {
      text: `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind = 'r' AND EXISTS (SELECT FROM unnest(c.reloptions) o
          WHERE o ~* '^autovacuum_enabled=(f|of|n|0)') ORDER BY 1`,
      values: [schema],
    },
    {
      text: `SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), state,
          extract(epoch FROM clock_timestamp() - xact_start)
        FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
          AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
          AND backend_type = 'client backend' AND xact_start < clock_timestamp() - $1::interval
        ORDER BY xact_start LIMIT 5`,
      values: [old],
    },
    {
      text: `SELECT gid, extract(epoch FROM clock_timestamp() - prepared) FROM pg_prepared_xacts
        WHERE database = current_database() AND prepared < clock_timestamp() - $1::interval
        ORDER BY prepared LIMIT 5`,
      values: [old],
    },
    {
      text: `SELECT slot_name, active, xmin IS NOT NULL, coalesce(age(xmin), 0),
          restart_lsn IS NOT NULL
        FROM pg_replication_slots ORDER BY 1`,
    },
    {
      text: `SELECT count(*), count(*) FILTER (WHERE sync_state IN ('sync', 'quorum'))
        FROM pg_stat_replication`,
    },
  ])) as [Row[], Row[], Row[], Row[], Row[], Row[]];
  const [version, isStandby, fsync, pages, autovacuum, counts, commit, names, sees, ...readOnly] =
    about[0]!;
  const held = slots.filter(
    ([, active, hasXmin, age]) =>
      hasXmin === "t" && (active === "f" || Number(age) > HELD_TRANSACTIONS_MAX),
  );
  return {
    version: Number(version),
    isStandby: isStandby === "t",
    readOnly: readOnly[0] === null ? "" : adviceOnReadOnly(["false", ...readOnly]),
    settings: {
      fsync: fsync!,
      full_page_writes: pages!,
      autovacuum: autovacuum!,
      track_counts: counts!,
      commit: commit!,
    },
    standbyNames: names!,
    seesSessions: sees === "t",
    unvacuumed: tables.map(([name]) => name!),
    pins: [
      ...sessions.map(
        ([pid, user, program, state, age]) =>
          `session ${pid} (${user}, "${program}", ${state}) has been in a transaction for ` +
          `${seconds(age)}: end it, by SELECT pg_terminate_backend(${pid}) if need be`,
      ),
      ...prepared.map(
        ([gid, age]) =>
          `transaction "${gid}" has been prepared for ${seconds(age)}: ` +
          "COMMIT PREPARED or ROLLBACK PREPARED it",
      ),
      ...held.map(
        ([name, active]) =>
          `replication slot "${name}" holds an old state: ` +
          (active === "t" ? "end long queries on the standby" : "drop it if nobody comes back"),
      ),
    ],
    slots: slots
      .filter(([, active, , , hasLog]) => active === "f" && hasLog === "t")
      .map(([name]) => name!),
    standbys: { all: Number(standbys[0]![0]), synchronous: Number(standbys[0]![1]) },
  };
}

/** What the facts mean. */
export function judge(facts: PostgresFacts): Finding[] {
  const { settings, seesSessions, pins, slots, unvacuumed, standbys, standbyNames } = facts;
  const found = (check: string, problems: readonly (string | false)[], fine: string): Finding => {
    const text = problems.filter((each) => each !== false && each !== "").join("; ");
    return text === "" ? { check, status: "ok", text: fine } : { check, status: "warning", text };
  };
  const major = Math.floor(facts.version / 10_000);
  const hidden = seesSessions
    ? ""
    : "; this role sees no sessions of others: GRANT pg_monitor to it";
  return [
    found(
      "version",
      [major < VERSION_MIN && `PostgreSQL ${major} is too old: use ${VERSION_MIN} or later`],
      `PostgreSQL ${major}.${facts.version % 10_000}`,
    ),
    found(
      "primary",
      [
        facts.isStandby && "this is a standby, which takes no writes: name the primary",
        !facts.isStandby && facts.readOnly,
      ],
      "takes writes",
    ),
    found(
      "durability",
      [
        settings.fsync !== "on" && "fsync is off: a crash of the machine may destroy all data",
        settings.full_page_writes !== "on" &&
          "full_page_writes is off: a power cut may destroy pages",
        settings.commit !== "on" &&
          `synchronous_commit is ${settings.commit} although this session has set it to on: is there a pooler in between?`,
      ],
      "commits are on disk before they are answered",
    ),
    found(
      "replication",
      [
        standbyNames !== "" &&
          standbys.synchronous === 0 &&
          seesSessions &&
          "synchronous_standby_names is set, but no such standby is there: commits wait for it",
        standbyNames === "" &&
          standbys.all > 0 &&
          "standbys follow asynchronously: when one takes over, what was acknowledged last may be gone; set synchronous_standby_names",
      ],
      standbyNames === ""
        ? "no standby: what is acknowledged is as safe as this one server"
        : `synchronous, to ${standbyNames}${hidden}`,
    ),
    found(
      "autovacuum",
      [
        settings.autovacuum !== "on" && "autovacuum is off: tables grow without end",
        settings.track_counts !== "on" && "track_counts is off: autovacuum does nothing",
        unvacuumed.length > 0 && `autovacuum is off for ${unvacuumed.join(", ")}`,
      ],
      "on",
    ),
    found("old transactions", pins, `none keeps dead rows from being removed${hidden}`),
    found(
      "replication slots",
      [
        slots.length > 0 &&
          `nobody reads from ${slots.join(", ")}: the log is kept until the disk is full; drop what is not needed`,
      ],
      "none is left behind",
    ),
  ];
}

async function examineTables(connection: Connection, schema: string): Promise<Finding> {
  const check = "tables";
  try {
    if ((await pendingSql(connection, schema)) !== "") {
      const text = "are not up to date: the next start, or querator migrate, makes them so";
      return { check, status: "warning", text };
    }
  } catch (error) {
    return { check, status: "failed", text: (error as Error).message };
  }
  const [rows] = await connection.run([
    {
      text: `SELECT holder, renewed_at > clock_timestamp() - interval '5 s'
        FROM heartbeat WHERE id = 1`,
    },
  ]);
  const [holder, isAlive] = rows![0]!;
  const text = isAlive === "t" ? `served by ${holder}` : "served by nobody at present";
  return { check, status: "ok", text };
}

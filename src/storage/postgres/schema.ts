// The tables, and how they came to be: one entry for each version, applied in order under a lock.
// An entry that was released is never changed. Nothing here is run by hand; `querator migrate
// --dry-run` prints it.

import type { Connection } from "./connection.ts";
import { NOT_OWNER, PostgresError } from "./errors.ts";
import { LEASE_MS } from "./owner.ts";

// Space is made again as soon as a little of it is dead, and never put off for the sake of load.
const VACUUM = `autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.2,
  autovacuum_vacuum_cost_delay = 0`;

/** By version, from 1 on. */
export const MIGRATIONS: readonly string[] = [
  `
CREATE TABLE owner (
  id int PRIMARY KEY CHECK (id = 1), epoch bigint NOT NULL, term bigint NOT NULL
);
INSERT INTO owner VALUES (1, 0, 0);
-- Apart from the epoch, which every commit reads: this row changes every second.
CREATE TABLE heartbeat (
  id int PRIMARY KEY CHECK (id = 1), epoch bigint NOT NULL, holder text NOT NULL,
  renewed_at timestamptz NOT NULL
) WITH (fillfactor = 10, ${VACUUM});
INSERT INTO heartbeat VALUES (1, 0, '', '-infinity');

CREATE TABLE queues (name bytea PRIMARY KEY, record bytea NOT NULL);
CREATE TABLE partitions (
  key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, queue bytea NOT NULL, number int NOT NULL,
  id_prefix text NOT NULL, created_at bigint NOT NULL, dropped boolean NOT NULL DEFAULT false,
  head bigint NOT NULL DEFAULT 1, tail bigint NOT NULL DEFAULT 1, total bigint NOT NULL DEFAULT 0,
  scheduled bigint NOT NULL DEFAULT 0, created_sum bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20, ${VACUUM});
CREATE TABLE items (
  partition bigint, first bigint, last bigint NOT NULL, created_at bigint NOT NULL,
  expire_at bigint NOT NULL, attempts int NOT NULL, lease_deadline bigint NOT NULL,
  source_id bytea NOT NULL, max_attempts int NOT NULL, sum int NOT NULL, texts bytea NOT NULL,
  ends bytea NOT NULL, payloads bytea NOT NULL, PRIMARY KEY (partition, first)
) WITH (toast_tuple_target = 8160, ${VACUUM});
ALTER TABLE items ALTER texts SET STORAGE EXTERNAL, ALTER payloads SET STORAGE EXTERNAL,
  ALTER ends SET STORAGE EXTERNAL;
CREATE TABLE scheduled (
  partition bigint, seq bigint, created_at bigint NOT NULL, expire_at bigint NOT NULL,
  attempts int NOT NULL, lease_deadline bigint NOT NULL, due_at bigint NOT NULL,
  source_id bytea NOT NULL, max_attempts int NOT NULL, text bytea NOT NULL, payload bytea NOT NULL,
  sum int NOT NULL, PRIMARY KEY (partition, seq)
) WITH (toast_tuple_target = 8160, ${VACUUM});
ALTER TABLE scheduled ALTER text SET STORAGE EXTERNAL, ALTER payload SET STORAGE EXTERNAL;
CREATE INDEX scheduled_due ON scheduled (partition, due_at, seq);
CREATE TABLE leases (
  partition bigint, first bigint, last bigint NOT NULL, deadline bigint NOT NULL,
  leased_at bigint NOT NULL, PRIMARY KEY (partition, first)
) WITH (${VACUUM});
CREATE TABLE removed (
  partition bigint, chunk bigint, bits bytea NOT NULL, PRIMARY KEY (partition, chunk)
) WITH (fillfactor = 30, ${VACUUM});
ALTER TABLE removed ALTER bits SET STORAGE PLAIN;
CREATE TABLE expiries (
  partition bigint, at bigint, first bigint, PRIMARY KEY (partition, at, first)
) WITH (${VACUUM});
CREATE TABLE sources (
  partition bigint, source_id bytea, PRIMARY KEY (partition, source_id)
) WITH (${VACUUM});

-- Fails unless this epoch owns the data, and its term is not over; a take-over, and a new term, wait
-- until the transaction has ended.
CREATE FUNCTION fence(expected bigint, expected_term bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared('owner'::regclass::oid::int, 1);
  IF NOT EXISTS (SELECT FROM owner WHERE id = 1 AND epoch = expected AND term = expected_term) THEN
    RAISE EXCEPTION 'another server owns the data now' USING ERRCODE = 'QU001';
  END IF;
END $$;

-- The new epoch, or NULL while another server renews its own.
CREATE FUNCTION take_over(who text, lease interval) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  mine bigint;
BEGIN
  PERFORM FROM heartbeat WHERE id = 1 AND renewed_at < clock_timestamp() - lease FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  PERFORM pg_advisory_xact_lock('owner'::regclass::oid::int, 1);
  UPDATE owner SET epoch = epoch + 1, term = 0 WHERE id = 1 RETURNING epoch INTO mine;
  UPDATE heartbeat SET epoch = mine, holder = who, renewed_at = clock_timestamp() WHERE id = 1;
  RETURN mine;
END $$;

-- Waits until every commit that is under way has ended, one way or the other, and begins a new term:
-- what was sent in an earlier one, and is still on its way, fails when it arrives.
CREATE FUNCTION settle(mine bigint, next_term bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock('owner'::regclass::oid::int, 1);
  UPDATE owner SET term = next_term WHERE id = 1 AND epoch = mine AND term < next_term;
END $$;

-- Fails if a statement has not met the rows that it was written for.
CREATE FUNCTION expect(met bigint, wanted bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF met <> wanted THEN
    RAISE EXCEPTION 'a partition is not where it was' USING ERRCODE = 'QU002';
  END IF;
END $$;
`,
  `
-- The row of a partition changes with every commit. An index that has to be unique is searched for
-- every version of a row that goes to another page, over all versions that are there: thousands,
-- while a transaction stays open. Keys are given by a sequence, and by nobody else.
ALTER TABLE partitions DROP CONSTRAINT partitions_pkey;
CREATE INDEX partitions_key ON partitions (key);
`,
  `
ALTER TABLE partitions ADD dropped_attempts bigint NOT NULL DEFAULT 0,
  ADD dropped_expired bigint NOT NULL DEFAULT 0, ADD dropped_rejected bigint NOT NULL DEFAULT 0;
-- Where the item of a source is. Nearly no items have one, and those that have none are not in it.
CREATE INDEX items_source ON items (partition, source_id) WHERE source_id <> '';
CREATE INDEX scheduled_source ON scheduled (partition, source_id) WHERE source_id <> '';
`,
  `
-- Whoever owned the tables as they were can do nothing with them any more, and learns it.
UPDATE owner SET epoch = epoch + 1, term = 0;
UPDATE heartbeat SET epoch = epoch + 1, renewed_at = '-infinity';

-- What an item carries beside its times is one text, and what leads to it one table; leases can be
-- extended, items held, and partitions have lanes. No row of an item is written for it: what was known
-- of one stays in its columns, and is read as item-rows.ts says.
CREATE TABLE keys (
  partition bigint, kind int, key bytea, seq bigint NOT NULL, until bigint NOT NULL,
  value bytea NOT NULL, PRIMARY KEY (partition, kind, key)
) WITH (${VACUUM});
INSERT INTO keys (partition, kind, key, seq, until, value)
  SELECT partition, 1, source_id, seq, 0, '' FROM (
    SELECT partition, source_id, coalesce(
      (SELECT max(first) FROM items i
        WHERE i.partition = s.partition AND i.source_id = s.source_id AND i.source_id <> ''
          AND NOT EXISTS (SELECT FROM removed r WHERE r.partition = i.partition
            AND r.chunk = i.first / 1024 AND get_bit(r.bits, (i.first % 1024)::int) = 1)),
      (SELECT max(seq) FROM scheduled d
        WHERE d.partition = s.partition AND d.source_id = s.source_id AND d.source_id <> '')
    ) AS seq FROM sources s
  ) found WHERE seq IS NOT NULL;
CREATE INDEX keys_due ON keys (partition, until, kind, key) WHERE until <> 0;
DROP TABLE sources;
DROP INDEX items_source, scheduled_source;
ALTER TABLE items RENAME source_id TO attributes;
ALTER TABLE items RENAME max_attempts TO form;
ALTER TABLE scheduled RENAME source_id TO attributes;
ALTER TABLE scheduled RENAME max_attempts TO form;
CREATE TABLE held (
  partition bigint, seq bigint, in_group bytea NOT NULL, created_at bigint NOT NULL,
  expire_at bigint NOT NULL, attempts int NOT NULL, lease_deadline bigint NOT NULL,
  due_at bigint NOT NULL, attributes bytea NOT NULL, form int NOT NULL, text bytea NOT NULL,
  payload bytea NOT NULL, sum int NOT NULL, PRIMARY KEY (partition, seq)
) WITH (toast_tuple_target = 8160, ${VACUUM});
ALTER TABLE held ALTER text SET STORAGE EXTERNAL, ALTER payload SET STORAGE EXTERNAL;
CREATE INDEX held_group ON held (partition, in_group, seq);
ALTER TABLE leases ADD extended_at bigint NOT NULL DEFAULT 0;
ALTER TABLE partitions ADD held bigint NOT NULL DEFAULT 0, ADD lanes text NOT NULL DEFAULT '';
`,
  `
-- Whoever owned the tables as they were would write partitions without counting: it can do nothing with
-- them any more, and learns it.
UPDATE owner SET epoch = epoch + 1, term = 0;
UPDATE heartbeat SET epoch = epoch + 1, renewed_at = '-infinity';

-- What else a partition counts: nothing yet.
ALTER TABLE partitions ADD counts text NOT NULL DEFAULT '';
`,
];

/** The SQL that brings a schema from a version to the present one. */
function migrationSql(schema: string, from: number, hasSchema: boolean): string {
  const parts = hasSchema ? [] : [`CREATE SCHEMA "${schema}";\n`];
  parts.push(`SET LOCAL search_path = "${schema}";\n`);
  if (from === 0) {
    parts.push(
      "CREATE TABLE migrations (version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());\n",
    );
  }
  for (const [i, sql] of MIGRATIONS.entries()) {
    if (i < from) continue;
    parts.push(`${sql.trim()}\nINSERT INTO migrations (version) VALUES (${i + 1});\n`);
  }
  return parts.join("");
}

/** What is to be done to a schema: "" if nothing. Rejects if a later version has been there. */
export async function pendingSql(connection: Connection, schema: string): Promise<string> {
  const [found] = await connection.run([
    {
      text: `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1),
        to_regclass(quote_ident($1) || '.migrations') IS NOT NULL`,
      values: [schema],
    },
  ]);
  const [hasSchema, hasTable] = found![0]!.map((each) => each === "t");
  let version = 0;
  if (hasTable) {
    const [rows] = await connection.run([
      { text: `SELECT coalesce(max(version), 0) FROM "${schema}".migrations` },
    ]);
    version = Number(rows![0]![0]);
  }
  if (version > MIGRATIONS.length) {
    throw new PostgresError(
      "",
      `schema "${schema}" was written by a later version of Querator (tables of version ${version}, this one knows ${MIGRATIONS.length}); run that version`,
    );
  }
  return version === MIGRATIONS.length ? "" : migrationSql(schema, version, hasSchema!);
}

// What a migration does to tables that a server of an earlier version works with would keep that server from
// writing, though it goes on to own them: nobody could write then.
async function checkUnowned(connection: Connection, schema: string): Promise<void> {
  const [found] = await connection.run([
    { text: "SELECT to_regclass(quote_ident($1) || '.heartbeat') IS NOT NULL", values: [schema] },
  ]);
  if (found![0]![0] !== "t") return;
  const [rows] = await connection.run([
    {
      text: `SELECT holder FROM "${schema}".heartbeat
        WHERE clock_timestamp() - renewed_at BETWEEN interval '0' AND interval '${LEASE_MS} ms'`,
    },
  ]);
  const holder = rows![0]?.[0];
  if (holder === undefined) return;
  throw new PostgresError(
    NOT_OWNER,
    `another server (${holder}) owns the data in schema "${schema}", and is of an earlier version; its tables are brought up to date once it has stopped`,
  );
}

/**
 * Brings the tables up to date; several servers may do so at once. Rejects with NOT_OWNER while a server
 * owns tables that are not.
 */
export async function migrate(connection: Connection, schema: string): Promise<void> {
  if ((await pendingSql(connection, schema)) === "") return;
  await checkUnowned(connection, schema);
  const name = schema.replaceAll("'", "''");
  // Held by the session, as what is pending must be read once it is held.
  await connection.script(`SELECT pg_advisory_lock(hashtext('querator ${name}'))`);
  try {
    const sql = await pendingSql(connection, schema);
    if (sql !== "") await connection.script(`BEGIN; ${sql} COMMIT`);
  } catch (error) {
    await connection.script("ROLLBACK").catch(() => undefined);
    throw error;
  } finally {
    await connection
      .script(`SELECT pg_advisory_unlock(hashtext('querator ${name}'))`)
      .catch(() => undefined);
  }
}

// The tables of a SQLite file, and how they came to be: one entry for each version, applied in order in one
// transaction when the file is opened. An entry that was released is never changed.

import type { DatabaseSync } from "node:sqlite";
import { QueueError } from "../../errors.ts";
import { CHUNK } from "../rows/removed-rows.ts";
import { sumOfKey } from "./reader.ts";

/** "QRTR": what tells our files from other SQLite files. */
export const APPLICATION_ID = 0x51525452;

// `sum` is a checksum of the row; see checksum.ts. Times are REAL: microseconds of far years go
// beyond the integers that JavaScript can read.
/** By version, from 1 on; the version of a file is its user_version. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE queues (name TEXT PRIMARY KEY, record TEXT NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE partitions (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    number INTEGER NOT NULL,
    id_prefix TEXT NOT NULL,
    created_at REAL NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0,
    head INTEGER NOT NULL DEFAULT 1,
    tail INTEGER NOT NULL DEFAULT 1,
    total INTEGER NOT NULL DEFAULT 0,
    scheduled INTEGER NOT NULL DEFAULT 0,
    created_sum REAL NOT NULL DEFAULT 0,
    sum INTEGER NOT NULL
  );
  CREATE TABLE items (
    partition INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expire_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    lease_deadline REAL NOT NULL,
    source_id TEXT NOT NULL,
    max_attempts INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    texts TEXT NOT NULL,
    ends BLOB NOT NULL,
    payloads BLOB NOT NULL,
    PRIMARY KEY (partition, first)
  ) WITHOUT ROWID;
  CREATE TABLE scheduled (
    partition INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expire_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    lease_deadline REAL NOT NULL,
    due_at REAL NOT NULL,
    source_id TEXT NOT NULL,
    max_attempts INTEGER NOT NULL,
    text TEXT NOT NULL,
    payload BLOB,
    sum INTEGER NOT NULL,
    PRIMARY KEY (partition, seq)
  ) WITHOUT ROWID;
  CREATE INDEX scheduled_due ON scheduled (partition, due_at, seq);
  CREATE TABLE leases (
    partition INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    deadline REAL NOT NULL,
    leased_at REAL NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (partition, first)
  ) WITHOUT ROWID;
  CREATE TABLE expiries (
    partition INTEGER NOT NULL,
    at REAL NOT NULL,
    first INTEGER NOT NULL,
    PRIMARY KEY (partition, at, first)
  ) WITHOUT ROWID;
  CREATE TABLE sources (
    partition INTEGER NOT NULL,
    source_id TEXT NOT NULL,
    PRIMARY KEY (partition, source_id)
  ) WITHOUT ROWID;
  CREATE TABLE removed (
    partition INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    bits BLOB NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (partition, chunk)
  ) WITHOUT ROWID;
  `,
  // The counters of what was taken away; and where the item of a source is: nearly no items have one, and
  // those that have none are not in the index.
  `
  ALTER TABLE partitions ADD COLUMN dropped_attempts INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE partitions ADD COLUMN dropped_expired INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE partitions ADD COLUMN dropped_rejected INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX items_source ON items (partition, source_id) WHERE source_id <> '';
  CREATE INDEX scheduled_source ON scheduled (partition, source_id) WHERE source_id <> '';
  `,
  // What an item carries beside its times is one text, and what leads to it one table; leases can be
  // extended, items held, and partitions have lanes. No row of an item is written for it: what was known
  // of one stays in its columns, and is read as item-rows.ts says.
  `
  -- sum_of_key and has_bit are functions that querator gives to SQLite.
  CREATE TABLE keys (
    partition INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    key TEXT NOT NULL,
    seq INTEGER NOT NULL,
    until REAL NOT NULL,
    value TEXT NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (partition, kind, key)
  ) WITHOUT ROWID;
  INSERT INTO keys (partition, kind, key, seq, until, value, sum)
    SELECT partition, 1, source_id, seq, 0, '', sum_of_key(1, source_id, seq, 0, '') FROM (
      SELECT partition, source_id, coalesce(
        (SELECT max(first) FROM items i
          WHERE i.partition = s.partition AND i.source_id = s.source_id AND i.source_id <> ''
            AND NOT EXISTS (SELECT 1 FROM removed r WHERE r.partition = i.partition
              AND r.chunk = i.first / 1024 AND has_bit(r.bits, i.first % 1024))),
        (SELECT max(seq) FROM scheduled d
          WHERE d.partition = s.partition AND d.source_id = s.source_id AND d.source_id <> '')
      ) AS seq FROM sources s
    ) WHERE seq IS NOT NULL;
  CREATE INDEX keys_due ON keys (partition, until, kind, key) WHERE until <> 0;
  DROP TABLE sources;
  DROP INDEX items_source;
  DROP INDEX scheduled_source;
  ALTER TABLE items RENAME COLUMN source_id TO attributes;
  ALTER TABLE items RENAME COLUMN max_attempts TO form;
  ALTER TABLE scheduled RENAME COLUMN source_id TO attributes;
  ALTER TABLE scheduled RENAME COLUMN max_attempts TO form;
  CREATE TABLE held (
    partition INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    in_group TEXT NOT NULL,
    created_at REAL NOT NULL,
    expire_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    lease_deadline REAL NOT NULL,
    due_at REAL NOT NULL,
    attributes TEXT NOT NULL,
    form INTEGER NOT NULL,
    text TEXT NOT NULL,
    payload BLOB,
    sum INTEGER NOT NULL,
    PRIMARY KEY (partition, seq)
  ) WITHOUT ROWID;
  CREATE INDEX held_group ON held (partition, in_group, seq);
  ALTER TABLE leases ADD COLUMN extended_at REAL NOT NULL DEFAULT 0;
  ALTER TABLE partitions ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE partitions ADD COLUMN lanes TEXT NOT NULL DEFAULT '';
  `,
  // What else a partition counts: nothing yet, so that no sum of a row changes.
  `
  ALTER TABLE partitions ADD COLUMN counts TEXT NOT NULL DEFAULT '';
  `,
];

/** The SQL that brings a file to the present version: "" if there is none to run. Throws if a later one has been there. */
export function pendingSql(db: DatabaseSync, file: string): string {
  const version = pragma(db, "user_version");
  if (version > MIGRATIONS.length) {
    throw new QueueError(
      "failed",
      `'${file}' was written by a later version of querator (schema ${version}, this one knows ${MIGRATIONS.length}); start that version`,
    );
  }
  if (version === MIGRATIONS.length) return "";
  const steps = MIGRATIONS.slice(version).map((sql) => `${sql.trim()}\n`);
  return [
    ...steps,
    `PRAGMA application_id = ${APPLICATION_ID};\n`,
    `PRAGMA user_version = ${MIGRATIONS.length};\n`,
  ].join("");
}

/** Brings a file to the present version. */
export function migrate(db: DatabaseSync, file: string): void {
  const sql = pendingSql(db, file);
  if (sql === "") return;
  giveFunctions(db);
  db.exec("BEGIN IMMEDIATE");
  // Somebody else may have been faster.
  db.exec(pendingSql(db, file));
  db.exec("COMMIT");
}

/** Gives a connection what the migrations call. */
export function giveFunctions(db: DatabaseSync): void {
  db.function("sum_of_key", { deterministic: true }, (kind, key, seq, until, value) =>
    sumOfKey({
      kind: Number(kind),
      key: String(key),
      seq: Number(seq),
      until: Number(until),
      value: String(value),
    }),
  );
  db.function("has_bit", { deterministic: true }, (bits, bit) => {
    const bytes = bits as Uint8Array;
    if (bytes.length !== CHUNK / 8) return 0;
    return (bytes[Number(bit) >> 3]! >> (Number(bit) & 7)) & 1;
  });
}

export function pragma(db: DatabaseSync, name: string): number {
  const row = db.prepare(`PRAGMA ${name}`).get() as Record<string, number>;
  return row[name] ?? 0;
}

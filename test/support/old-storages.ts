// Storages as earlier versions have left them. Tables are made by the steps of the migrations, which are never
// changed; rows are those that the server of that version wrote (old/), beside what it read of them then.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { MIGRATIONS as POSTGRES } from "../../src/storage/postgres/schema.ts";
import {
  APPLICATION_ID,
  giveFunctions,
  MIGRATIONS as SQLITE,
} from "../../src/storage/sqlite/migrations.ts";
import type {
  Counters,
  Expiry,
  KeyEntry,
  LeaseMark,
  StoredItem,
} from "../../src/storage/storage.ts";
import { queryOnce } from "./postgres.ts";

/** An item as it was read. */
export interface OldItem {
  readonly seq: number;
  readonly createdAt: number;
  readonly expireAt: number;
  readonly attempts: number;
  readonly leaseDeadline: number;
  readonly dueAt: number;
  readonly sourceId: string;
  readonly maxAttempts: number;
  readonly text: string;
  readonly payload: string;
}

/** A partition as it was read. */
export interface OldPartition {
  readonly queue: string;
  readonly idPrefix: string;
  readonly counters: Omit<Counters, "held" | "lanes" | "counts">;
  readonly leased: readonly number[];
  readonly leases: readonly Omit<LeaseMark, "extendedAt">[];
  readonly expiries: readonly Expiry[];
  readonly items: readonly OldItem[];
  readonly scheduled: readonly OldItem[];
  readonly sources: readonly (readonly [source: string, seq: number])[];
}

/** A partition as it was read by the last version that counted nothing but what was dropped. */
export interface UncountedPartition {
  readonly queue: string;
  readonly idPrefix: string;
  readonly counters: Omit<Counters, "counts">;
  readonly leased: readonly number[];
  readonly leases: readonly LeaseMark[];
  readonly expiries: readonly Expiry[];
  readonly items: readonly PlainItem[];
  readonly scheduled: readonly PlainItem[];
  readonly keys: readonly KeyEntry[];
}

/** An item with its record in the open. */
export type PlainItem = Omit<StoredItem, "record"> & {
  readonly text: string;
  readonly payload: string;
};

type Rows = "sqlite-2" | "sqlite-3" | "postgres-3" | "postgres-4" | "";

/** The time at which the rows were written. */
export const OLD_NOW = "2026-01-01T00:01:01Z";

function readOld(name: string): string {
  return readFileSync(new URL(`old/${name}`, import.meta.url), "utf8");
}

/** What the version read of the rows that `makeOldFile` or `makeOldSchema` fills in. */
export function oldPartitions(name: "sqlite-2" | "postgres-3"): readonly OldPartition[] {
  return JSON.parse(readOld(`${name}.json`)) as OldPartition[];
}

/** The same of the last version that counted nothing but what was dropped. */
export function uncountedPartitions(
  name: "sqlite-3" | "postgres-4",
): readonly UncountedPartition[] {
  return JSON.parse(readOld(`${name}.json`)) as UncountedPartition[];
}

/** Makes a file as it was at a version of its tables, with rows if they are given; answers its path. */
export function makeOldFile(dir: string, version: number, rows: Rows = ""): string {
  const path = join(dir, "querator.db");
  const db = new DatabaseSync(path);
  db.exec("PRAGMA journal_mode = WAL");
  giveFunctions(db);
  for (const sql of SQLITE.slice(0, version)) db.exec(sql);
  if (rows !== "") db.exec(readOld(`${rows}.sql`));
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${version}`);
  db.close();
  return path;
}

/** Makes the schema `querator` as it was at a version of its tables, with rows if they are given. */
export async function makeOldSchema(url: string, version: number, rows: Rows = ""): Promise<void> {
  const steps = POSTGRES.slice(0, version).map(
    (sql, i) => `${sql}; INSERT INTO migrations (version) VALUES (${i + 1});`,
  );
  await queryOnce(
    url,
    `CREATE SCHEMA querator; SET LOCAL search_path = querator;
     CREATE TABLE migrations (version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
     ${steps.join("\n")} ${rows === "" ? "" : readOld(`${rows}.sql`)}`,
  );
}

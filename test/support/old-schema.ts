// A PostgreSQL schema as an earlier version has left it.

import { MIGRATIONS } from "../../src/storage/postgres/schema.ts";
import { queryOnce } from "./postgres.ts";

/** Makes the schema `querator` as it was at a version of its tables. */
export async function makeOldSchema(url: string, version: number): Promise<void> {
  const steps = MIGRATIONS.slice(0, version).map(
    (sql, i) => `${sql}; INSERT INTO migrations (version) VALUES (${i + 1});`,
  );
  await queryOnce(
    url,
    `CREATE SCHEMA querator; SET LOCAL search_path = querator;
     CREATE TABLE migrations (version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
     ${steps.join("\n")}`,
  );
}

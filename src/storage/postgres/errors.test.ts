import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { describe } from "./errors.ts";

function isUndone(code: string): boolean {
  const error = new pg.DatabaseError("it failed", 0, "error");
  error.code = code;
  return describe("host:1/db", error).isUndone;
}

test("what PostgreSQL refuses is known not to have happened", () => {
  for (const code of ["QU001", "QU002", "23505", "40001", "53100", "55P03", "57014"]) {
    assert.equal(isUndone(code), true, code);
  }
});

test("of a connection that ends nobody knows what became of what it had sent", () => {
  for (const code of ["08006", "57P01", "57P02", "40003"])
    assert.equal(isUndone(code), false, code);
  // Codes of the system may look like those of PostgreSQL.
  for (const code of ["EPIPE", "ECONNRESET", ""]) {
    const error = Object.assign(new Error("it broke"), { code });
    assert.equal(describe("host:1/db", error).isUndone, false, code);
  }
});

// The prepared statements of one SQLite file, each made once, and what is said of rows that are not
// what was written.

import type { DatabaseSync, StatementSync } from "node:sqlite";

export class Statements {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #prepared = new Map<string, StatementSync>();

  constructor(db: DatabaseSync, path: string) {
    this.#db = db;
    this.#path = path;
  }

  prepare(sql: string): StatementSync {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#prepared.set(sql, statement);
    }
    return statement;
  }

  /** A statement that answers rows as arrays. */
  read(sql: string): StatementSync {
    const statement = this.prepare(sql);
    statement.setReturnArrays(true);
    return statement;
  }

  /** What was read is not what was written: it must not be served. */
  check(isRight: boolean, what: string): void {
    if (!isRight) this.damaged(what);
  }

  damaged(what: string): never {
    throw new Error(`'${this.#path}' is damaged (${what}); restore it from a backup`);
  }

  /** There is no partition under a key. */
  missing(key: number): Error {
    return new Error(`no partition ${key} in '${this.#path}'`);
  }
}

// Removes the rows of dropped partitions, in bounded steps. Each goes on where the one before has
// ended: index entries of what has gone stay until they are vacuumed, and a step that began at the
// first would walk over all of them. Where it was is kept in memory only; after a restart the first
// step finds out.

import { TABLES_OF_A_PARTITION } from "../rows/item-rows.ts";
import type { Row, Statement } from "./connection.ts";
import { sweepRows } from "./sql.ts";

export interface SweepCalls {
  /** Reads rows. */
  read(statement: Statement): Promise<readonly Row[]>;
  /** Runs a statement as a transaction of the owner, after those of others that wait; answers its rows. */
  change(statement: Statement): Promise<readonly Row[]>;
  /** A partition has gone, with all its rows. */
  onGone(key: number): void;
}

export class Sweeper {
  readonly #calls: SweepCalls;
  // The partition at hand, in which of its tables, and from which number on there may be rows.
  #key = 0;
  #table = 0;
  #from: string | undefined;

  constructor(calls: SweepCalls) {
    this.#calls = calls;
  }

  /** See Storage. */
  async sweep(limit: number): Promise<boolean> {
    let left = limit;
    for (;;) {
      const [found] = await this.#calls.read({
        text: "SELECT key FROM partitions WHERE dropped ORDER BY key LIMIT 1",
      });
      if (found === undefined) return false;
      const key = Number(found[0]);
      if (key !== this.#key) this.#begin(key);
      for (; this.#table < TABLES_OF_A_PARTITION.length; this.#table++) {
        const table = TABLES_OF_A_PARTITION[this.#table]!;
        const [row] = await this.#calls.change(sweepRows(table, key, this.#from, left));
        left -= Number(row![0]);
        if (left <= 0) {
          this.#from = row![1] ?? undefined;
          return true;
        }
        this.#from = undefined;
      }
      await this.#calls.change({ text: "DELETE FROM partitions WHERE key = $1", values: [key] });
      this.#begin(0);
      this.#calls.onGone(key);
    }
  }

  #begin(key: number): void {
    this.#key = key;
    this.#table = 0;
    this.#from = undefined;
  }
}

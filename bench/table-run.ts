// What the tables of `npm run bench:tables` share: a server for each row, on the storage that it asks for, load
// on it, rows measured in turn, and how a table is printed, ready to be pasted into docs/PERFORMANCE.md.

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createDatabase, type Postgres } from "../test/support/postgres.ts";
import type { LoadResult } from "./load.ts";
import { CountedServer, checkDisk, type Load, measure, median, wrongs } from "./measure.ts";
import { startMeasured } from "./postgres.ts";
import type { ServerFigures } from "./server.ts";

/** In place of the program of --loadgen. */
export const OURS = "ours";

export const PLACES = ["sqlite", "memory", "postgres"] as const;
export type Place = (typeof PLACES)[number];

export interface TableOptions {
  readonly seconds: number;
  readonly runs: number;
  readonly only?: string;
  /** Of the largest backlog, and of what is listed. */
  readonly items: number;
  readonly keys: number;
  readonly dir: string;
  readonly loadgen?: string;
  readonly storages: readonly Place[];
}

export interface Measured {
  readonly load: LoadResult;
  /** What the server did meanwhile. */
  readonly did: ServerFigures;
  readonly after: ServerFigures;
}

export class TableRun {
  readonly options: TableOptions;
  /** How many things went wrong that never may. */
  wrong = 0;
  #postgres: Promise<Postgres> | undefined;

  constructor(options: TableOptions) {
    this.options = options;
  }

  /** Starts a server of its own for some work; its data goes afterwards. */
  async withServer<T>(
    settings: object,
    work: (server: CountedServer) => Promise<T>,
    place: Place = "sqlite",
  ): Promise<T> {
    const dir = mkdtempSync(join(this.options.dir, "querator-bench-"));
    checkDisk(dir);
    const database = place === "postgres" ? await this.#database() : undefined;
    const where = {
      sqlite: { dataDir: join(dir, "data") },
      memory: { memory: true },
      postgres: { postgres: database?.url },
    }[place];
    try {
      const server = await CountedServer.start({ ...where, ...settings });
      try {
        return await work(server);
      } finally {
        await server.stop();
      }
    } finally {
      await database?.drop();
      rmSync(dir, { recursive: true, force: true });
    }
  }

  /** Puts load on a server. */
  async under(
    server: CountedServer,
    load: Omit<Load, "seconds">,
    loadgen = this.options.loadgen,
  ): Promise<Measured> {
    const before = await server.figures();
    const { seconds } = this.options;
    const program = loadgen === OURS ? undefined : loadgen;
    const result = await measure(server.url, { ...load, seconds }, program);
    this.wrong += wrongs(result);
    const after = await server.figures();
    return { load: result, did: difference(before, after), after };
  }

  /** Medians over all runs of what each row measures, rows in turn so that noise hits all of them. */
  async inTurn<Row>(
    rows: readonly Row[],
    run: (row: Row) => Promise<readonly number[]>,
  ): Promise<readonly (readonly number[])[]> {
    const seen = rows.map((): (readonly number[])[] => []);
    for (let i = 0; i < this.options.runs; i++) {
      for (const [index, row] of rows.entries()) seen[index]!.push(await run(row));
    }
    return seen.map((runs) =>
      runs[0]!.map((_, column) => median(runs.map((each) => each[column]!))),
    );
  }

  /** Ends what was started for all rows. */
  async close(): Promise<void> {
    await (await this.#postgres)?.stop();
  }

  // One PostgreSQL for all rows, with a database for each.
  async #database(): Promise<{ url: string; drop(): Promise<void> }> {
    this.#postgres ??= startMeasured(this.options.dir);
    return createDatabase((await this.#postgres).url);
  }
}

/** What a server did between two looks. */
export function difference(before: ServerFigures, after: ServerFigures): ServerFigures {
  const entries = Object.entries(after) as [keyof ServerFigures, number][];
  return Object.fromEntries(
    entries.map(([key, value]) => [key, value - before[key]]),
  ) as unknown as ServerFigures;
}

/** Prints a table in Markdown. */
export function print(
  title: string,
  head: readonly string[],
  rows: readonly (readonly unknown[])[],
): void {
  const line = (cells: readonly unknown[]): string => `| ${cells.join(" | ")} |\n`;
  const rule = `|${head.map(() => "---|").join("")}\n`;
  process.stdout.write(`\n${title}\n\n${line(head)}${rule}${rows.map(line).join("")}`);
}

export const whole = (value: number): string => Math.round(value).toLocaleString("en");
export const fixed = (value: number, digits = 1): string => value.toFixed(digits);
export const megabytes = (bytes: number): string => `${whole(bytes / 1e6)} MB`;

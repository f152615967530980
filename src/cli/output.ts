// What a command writes: data on stdout in the form that was asked for, everything else on stderr.
// Nothing is written before what was written is taken, so that a long list needs no memory; a
// reader that has had enough (`querator list | head -1`) ends the command in peace.

import { once } from "node:events";
import { styleText } from "node:util";
import { printable } from "../printable.ts";
import { fit, fitName, width } from "./text.ts";

export const FORMATS = ["table", "json", "ndjson"] as const;
export type Format = (typeof FORMATS)[number];

export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => string;
  /** To the right, for numbers. */
  readonly isRight?: boolean;
  /**
   * Columns of a terminal at most, for names and the like, which are cut in the middle. Elsewhere somebody
   * may want to use them, and they are never cut.
   */
  readonly widest?: number;
}

export interface Listing<T> {
  readonly columns: readonly Column<T>[];
  /** What a program gets of one. */
  readonly json: (row: T) => unknown;
  /** What a program gets of all: an object, in which the rows have this name, and their `count`. */
  readonly name: string;
}

// Rows that decide how wide the columns are; those after them are written as they come.
const ROWS_MEASURED = 200;

export class Output {
  readonly format: Format;
  readonly #stdout: NodeJS.WriteStream;

  constructor(format: Format, stdout = process.stdout) {
    this.format = format;
    this.#stdout = stdout;
  }

  get isTerminal(): boolean {
    return this.#stdout.isTTY;
  }

  /** Writes data; resolves when there is room for more. */
  async write(data: string | Uint8Array): Promise<void> {
    if (!this.#stdout.write(data)) await once(this.#stdout, "drain");
  }

  /** Tells people how it went. */
  message(text: string): void {
    process.stderr.write(`${printable(text)}\n`);
  }

  /** A colour, if this is a terminal that has some and the user wants them. */
  style(format: Parameters<typeof styleText>[0], text: string): string {
    return styleText(format, text, { stream: this.#stdout });
  }

  /** Writes one thing: in full for programs, as rows of a name and a value for people. */
  async record(
    value: unknown,
    rows: readonly (readonly [name: string, text: string])[],
  ): Promise<void> {
    if (this.format !== "table") {
      await this.write(jsonText(value, this.format));
      return;
    }
    const widest = Math.max(...rows.map(([name]) => name.length));
    const lines = rows.map(
      ([name, text]) => `${this.style("dim", name.padEnd(widest))}  ${printable(text)}\n`,
    );
    await this.write(lines.join(""));
  }

  /** Writes a list as its rows come. Answers how many there were. */
  async list<T>(
    rows: Iterable<T> | AsyncIterable<T>,
    { columns, json, name }: Listing<T>,
  ): Promise<number> {
    let written = 0;
    if (this.format === "json") {
      // As `jsonText` would write it, without holding it; nothing if the first row fails.
      const head = `{\n  ${JSON.stringify(name)}: [`;
      for await (const row of rows) {
        const text = JSON.stringify(json(row), null, 2).replaceAll("\n", "\n    ");
        await this.write(`${written++ === 0 ? head : ","}\n    ${text}`);
      }
      await this.write(`${written === 0 ? head : "\n  "}],\n  "count": ${written}\n}\n`);
      return written;
    }
    if (this.format === "ndjson") {
      for await (const row of rows) {
        await this.write(jsonText(json(row), "ndjson"));
        written++;
      }
      return written;
    }
    const table = new Table(this, columns);
    for await (const row of rows) {
      await table.add(row);
      written++;
    }
    await table.end();
    return written;
  }

  /** The lines of a table, cut to some columns of the terminal. */
  lines<T>(
    rows: readonly T[],
    columns: readonly Column<T>[],
    widest = Number.POSITIVE_INFINITY,
  ): string[] {
    const cells = this.cells(rows, columns);
    const widths = widthsOf(cells, columns);
    const titles = columns.map(({ title }) => title);
    const [first, ...rest] = [titles, ...cells].map((row) =>
      fit(lineOf(row, columns, widths), widest),
    );
    return [this.style("bold", first!), ...rest];
  }

  /** What stands in a table, as it can be shown here. */
  cells<T>(rows: readonly T[], columns: readonly Column<T>[]): string[][] {
    return rows.map((row) =>
      columns.map(({ value, widest }) => {
        const text = printable(value(row));
        return widest === undefined || !this.isTerminal ? text : fitName(text, widest);
      }),
    );
  }

  /** The line above a table. */
  titles<T>(columns: readonly Column<T>[], widths: readonly number[]): string {
    const titles = columns.map(({ title }) => title);
    return this.style("bold", lineOf(titles, columns, widths));
  }
}

// A table that is written while its rows come.
class Table<T> {
  readonly #output: Output;
  readonly #columns: readonly Column<T>[];
  #first: T[] = [];
  #widths: number[] | undefined;

  constructor(output: Output, columns: readonly Column<T>[]) {
    this.#output = output;
    this.#columns = columns;
  }

  async add(row: T): Promise<void> {
    if (this.#widths !== undefined) {
      const cells = this.#output.cells([row], this.#columns)[0]!;
      await this.#output.write(`${lineOf(cells, this.#columns, this.#widths)}\n`);
      return;
    }
    this.#first.push(row);
    if (this.#first.length === ROWS_MEASURED) await this.end();
  }

  /** Writes the rows that were kept back to see how wide they are. */
  async end(): Promise<void> {
    if (this.#widths !== undefined || this.#first.length === 0) return;
    const cells = this.#output.cells(this.#first, this.#columns);
    this.#widths = widthsOf(cells, this.#columns);
    this.#first = [];
    const lines = cells.map((row) => lineOf(row, this.#columns, this.#widths!));
    await this.#output.write(
      `${[this.#output.titles(this.#columns, this.#widths), ...lines].join("\n")}\n`,
    );
  }
}

function widthsOf<T>(cells: readonly string[][], columns: readonly Column<T>[]): number[] {
  return columns.map(({ title }, i) =>
    cells.reduce((most, row) => Math.max(most, width(row[i]!)), width(title)),
  );
}

function lineOf<T>(
  cells: readonly string[],
  columns: readonly Column<T>[],
  widths: readonly number[],
): string {
  return cells
    .map((cell, i) => {
      const space = " ".repeat(Math.max(0, widths[i]! - width(cell)));
      return columns[i]!.isRight === true ? space + cell : cell + space;
    })
    .join("  ")
    .trimEnd();
}

/** JSON for programs: indented, or a line. */
export function jsonText(value: unknown, format: "json" | "ndjson"): string {
  return `${format === "json" ? JSON.stringify(value, null, 2) : JSON.stringify(value)}\n`;
}

/**
 * What the client answers, with names as the API writes them. It is for records without bytes.
 */
export function snakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCase);
  if (value instanceof Date || typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      snakeCase(each),
    ]),
  );
}

let isNeeded = true;

/** From now on what is written may be lost: a server goes on without anybody who reads its log. */
export function goOnWithoutOutput(): void {
  isNeeded = false;
}

/** Ends the process when what it writes is not taken: in peace if nobody reads any more. */
export function endWithOutput(): void {
  for (const [name, stream] of [
    ["stdout", process.stdout],
    ["stderr", process.stderr],
  ] as const) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (!isNeeded) return;
      if (error.code === "EPIPE") process.exit(0);
      if (name === "stdout")
        process.stderr.write(`Error: cannot write to stdout: ${error.message}\n`);
      process.exit(1);
    });
  }
}

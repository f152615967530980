// Ways to damage a data directory, as they happen: files cut off, zeroed, overwritten, exchanged for
// others, removed. Each says what is right afterwards. `committed`: what is served is the state after
// some commit, whole, or the start is refused. `refused`: the start is refused, as what is left would be
// thrown away. `true`: what is served is true item by item, and
// what cannot be read is answered 454. `once-true`: whole items
// that were committed at some time, but the files are of different moments, and so are their states.
// `once-written`: whole items that were written at some time, perhaps between two of the moments that
// are known.

import {
  copyFileSync,
  existsSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Random } from "../support/random.ts";
import type { History } from "./history.ts";

const PAGE = 4_096;
const WAL_HEADER = 32;
const FRAME = PAGE + 24;

const DB = "querator.db";
const WAL = "querator.db-wal";
const SHM = "querator.db-shm";
const LOCK = "querator.lock";

export interface Damage {
  readonly name: string;
  /** Which directory it is done to. */
  readonly to: "killed" | "stopped" | "either";
  readonly right: "committed" | "true" | "once-true" | "once-written" | "refused";
  /** Does it; answers what it did, for people. */
  apply(dir: string, random: Random, history: History): string;
}

const NOTHING = "nothing: there is no such file";

function change(file: string, edit: (bytes: Buffer) => string): string {
  if (!existsSync(file)) return NOTHING;
  const bytes = readFileSync(file);
  const what = edit(bytes);
  writeFileSync(file, bytes);
  return what;
}

function cut(name: string, unit: number, base = 0): Damage["apply"] {
  return (dir, random) => {
    const file = join(dir, name);
    if (!existsSync(file)) return NOTHING;
    const units = Math.floor((statSync(file).size - base) / unit);
    const length = base + random.below(units) * unit;
    truncateSync(file, length);
    return `${name} cut from ${base + units * unit} to ${length} bytes`;
  };
}

// Bytes anywhere, or in the first so many.
function scribble(name: string, within = Number.POSITIVE_INFINITY): Damage["apply"] {
  return (dir, random) =>
    change(join(dir, name), (bytes) => {
      const count = 1 + random.below(64);
      const at = random.below(Math.min(bytes.length, within));
      random.bytes(count).copy(bytes, at);
      return `${count} bytes of ${name} overwritten at ${at}`;
    });
}

function flip(name: string): Damage["apply"] {
  return (dir, random) =>
    change(join(dir, name), (bytes) => {
      const at = random.below(bytes.length);
      bytes[at]! ^= 1 << random.below(8);
      return `a bit of ${name} flipped at ${at}`;
    });
}

// A page that becomes zeros, noise, or a copy of another page.
function page(name: string, how: "zeros" | "noise" | "other"): Damage["apply"] {
  const [base, unit, skip] = name === WAL ? [WAL_HEADER, FRAME, 24] : [0, PAGE, 0];
  return (dir, random) =>
    change(join(dir, name), (bytes) => {
      const pages = Math.floor((bytes.length - base) / unit);
      if (pages < 1) return `nothing: ${name} has no pages`; // the log was just taken over
      const start = (index: number): number => base + index * unit + skip;
      const to = random.below(pages);
      const target = bytes.subarray(start(to), start(to) + PAGE);
      const from = random.below(pages);
      if (how === "zeros") target.fill(0);
      else if (how === "noise") random.bytes(PAGE).copy(target);
      else bytes.copy(target, 0, start(from), start(from) + PAGE);
      return `page ${to} of ${name} became ${how === "other" ? `a copy of page ${from}` : how}`;
    });
}

function empty(name: string): Damage["apply"] {
  return (dir) => {
    writeFileSync(join(dir, name), "");
    return `${name} emptied`;
  };
}

function remove(...names: readonly string[]): Damage["apply"] {
  return (dir) => {
    for (const name of names) rmSync(join(dir, name), { force: true });
    return `${names.join(" and ")} removed`;
  };
}

// A file as it was at an earlier moment, among those of now.
function older(name: string): Damage["apply"] {
  return (dir, random, history) => {
    const from = random.pick(history.earlier);
    if (!existsSync(join(from, name))) return NOTHING;
    copyFileSync(join(from, name), join(dir, name));
    return `${name} exchanged for the one of ${from}`;
  };
}

function noise(name: string): Damage["apply"] {
  return (dir, random) => {
    writeFileSync(join(dir, name), random.bytes(1 + random.below(40_000)));
    return `${name} is noise`;
  };
}

// What a field may become that was garbled: one bit of a number, one byte of a text.
const FIELDS = {
  items: ["created_at", "expire_at", "attempts", "lease_deadline", "texts", "payloads", "ends"],
  scheduled: ["created_at", "due_at", "attempts", "text"],
  partitions: ["head", "tail", "total", "scheduled", "id_prefix", "dropped"],
  leases: ["last", "deadline", "leased_at"],
  queues: ["record"],
} as const;

// One field of one row, as if the bytes it lies in had been garbled: rare with damage at random
// places, for most of a file is payload.
function field(table: keyof typeof FIELDS): Damage["apply"] {
  return (dir, random) => {
    const db = new DatabaseSync(join(dir, DB));
    try {
      const { n } = db.prepare(`SELECT count(*) AS n FROM ${table}`).get() as { n: number };
      if (n === 0) return NOTHING;
      const keys = {
        items: "partition, first",
        scheduled: "partition, seq",
        leases: "partition, first",
      };
      const key = { ...keys, partitions: "key", queues: "name" }[table];
      const column = random.pick<string>(FIELDS[table]);
      const row = `(${key}) = (SELECT ${key} FROM ${table} ORDER BY ${key} LIMIT 1 OFFSET ${random.below(n)})`;
      const text = `substr(${column}, 1, length(${column}) / 2) || '#' || substr(${column}, length(${column}) / 2 + 2)`;
      const bit = 2 ** random.below(20);
      const garbled = `CASE typeof(${column}) WHEN 'integer' THEN (${column} | ${bit}) - (${column} & ${bit}) ELSE CAST(${text} AS ${column === "payloads" || column === "ends" ? "BLOB" : "TEXT"}) END`;
      db.exec(`UPDATE ${table} SET ${column} = ${garbled} WHERE ${row}`);
      return `${column} of a row of ${table} garbled`;
    } finally {
      db.close();
    }
  };
}

const ONE = 1;

/** All kinds of damage. */
export const DAMAGES: readonly Damage[] = [
  { name: "wal-cut", to: "killed", right: "committed", apply: cut(WAL, ONE) },
  {
    name: "wal-cut-at-frame",
    to: "killed",
    right: "committed",
    apply: cut(WAL, FRAME, WAL_HEADER),
  },
  { name: "wal-scribble", to: "killed", right: "committed", apply: scribble(WAL) },
  { name: "wal-header", to: "killed", right: "committed", apply: scribble(WAL, WAL_HEADER) },
  { name: "wal-flip", to: "killed", right: "committed", apply: flip(WAL) },
  { name: "wal-page-zeros", to: "killed", right: "committed", apply: page(WAL, "zeros") },
  { name: "wal-page-noise", to: "killed", right: "committed", apply: page(WAL, "noise") },
  { name: "wal-page-other", to: "killed", right: "committed", apply: page(WAL, "other") },
  { name: "wal-empty", to: "killed", right: "committed", apply: empty(WAL) },
  { name: "wal-removed", to: "killed", right: "committed", apply: remove(WAL) },
  { name: "wal-shm-removed", to: "killed", right: "committed", apply: remove(WAL, SHM) },
  { name: "wal-noise", to: "either", right: "committed", apply: noise(WAL) },
  { name: "wal-older", to: "killed", right: "once-true", apply: older(WAL) },
  { name: "shm-removed", to: "killed", right: "committed", apply: remove(SHM) },
  { name: "shm-empty", to: "killed", right: "committed", apply: empty(SHM) },
  { name: "shm-noise", to: "either", right: "committed", apply: noise(SHM) },
  { name: "lock-noise", to: "either", right: "committed", apply: noise(LOCK) },
  { name: "lock-removed", to: "either", right: "committed", apply: remove(LOCK) },
  { name: "db-cut", to: "either", right: "true", apply: cut(DB, ONE) },
  { name: "db-cut-at-page", to: "either", right: "true", apply: cut(DB, PAGE) },
  { name: "db-header", to: "either", right: "true", apply: scribble(DB, 100) },
  { name: "db-scribble", to: "either", right: "true", apply: scribble(DB) },
  { name: "db-flip", to: "either", right: "true", apply: flip(DB) },
  { name: "db-page-zeros", to: "either", right: "true", apply: page(DB, "zeros") },
  { name: "db-page-noise", to: "either", right: "true", apply: page(DB, "noise") },
  // A page that has become free still holds what it held: whole and true, but of the past.
  { name: "db-page-other", to: "either", right: "once-written", apply: page(DB, "other") },
  { name: "db-older", to: "killed", right: "once-true", apply: older(DB) },
  { name: "db-empty", to: "killed", right: "refused", apply: empty(DB) },
  { name: "db-empty-alone", to: "stopped", right: "committed", apply: empty(DB) },
  { name: "db-removed", to: "killed", right: "refused", apply: remove(DB) },
  { name: "field-items", to: "stopped", right: "true", apply: field("items") },
  { name: "field-scheduled", to: "stopped", right: "true", apply: field("scheduled") },
  { name: "field-partitions", to: "stopped", right: "true", apply: field("partitions") },
  { name: "field-leases", to: "stopped", right: "true", apply: field("leases") },
  { name: "field-queues", to: "stopped", right: "true", apply: field("queues") },
  { name: "db-noise", to: "either", right: "true", apply: noise(DB) },
];

// Real PostgreSQL servers for tests and benchmarks, each with data of its own and a port of its own.
// They can be killed, paused, started again, and followed by a standby that can be promoted. None
// outlives the program that started it, however that ends: a small shell script stands by, which ends
// the server and removes its data when the pipe to it closes.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { PASSWORD, type PostgresBinaries, postgresBinaries } from "./postgres-binaries.ts";

// A start that has neither become ready nor ended after so long never will.
const START_MS_MAX = 60_000;
const STREAM_MS_MAX = 30_000;
// How often a start is tried, on another port or once what was killed is gone.
const START_TRIES = 20;
const LINES_KEPT = 1_000;

// Reads the process to end, line by line, until the pipe closes.
const GUARD = `
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then
  kill -QUIT "$pid" 2>/dev/null
  kill -CONT "$pid" 2>/dev/null
  tries=0
  while kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null
fi
rm -rf "$1"
`;

export interface PostgresOptions {
  /** Whether it syncs, and so survives a power cut; false by default, which is faster. */
  readonly fsync?: boolean;
  /** More settings, by their names in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** Where its data lies; a temporary directory is made in it. */
  readonly parent?: string;
}

export type Row = Readonly<Record<string, unknown>>;

/** A database that was made for a test. */
export interface Database {
  readonly url: string;
  drop(): Promise<void>;
}

/** Runs one statement on a connection of its own. */
export async function queryOnce(
  url: string,
  sql: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => undefined); // it is told by the query as well
  await client.connect();
  try {
    return (await client.query<Row>(sql, [...values])).rows;
  } finally {
    await client.end();
  }
}

let databases = 0;

/** Makes an empty database on any server; the user of `url` must be allowed to. */
export async function createDatabase(url: string): Promise<Database> {
  const name = `test_${process.pid}_${Date.now()}_${++databases}`;
  await queryOnce(url, `CREATE DATABASE ${name}`);
  const own = new URL(url);
  own.pathname = `/${name}`;
  const drop = async (): Promise<void> => {
    await queryOnce(url, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  };
  return { url: own.href, drop };
}

let shared: Promise<string> | undefined;

/** The server that all tests of this process share: one of its own, or the one of the environment. */
export function sharedPostgres(): Promise<string> {
  shared ??= Promise.resolve(
    process.env.QUERATOR_TEST_POSTGRES ?? startPostgres().then(({ url }) => url),
  );
  return shared;
}

/** An empty database for one test, on a server that all tests of this process share. */
export async function testDatabase(t: TestContext): Promise<string> {
  const database = await createDatabase(await sharedPostgres());
  t.after(() => database.drop());
  return database.url;
}

let schemas = 0;

/**
 * The URL of a schema for one test, not made yet, on the server that all tests of this process
 * share: quicker to have than a database.
 */
export async function testSchema(t: TestContext): Promise<string> {
  const { QUERATOR_TEST_POSTGRES: external } = process.env;
  const url = new URL(await sharedPostgres());
  const schema = `test_${process.pid}_${Date.now()}_${++schemas}`;
  // A server of ours goes with all that is in it.
  if (external !== undefined) {
    t.after(() => queryOnce(external, `DROP SCHEMA IF EXISTS ${schema} CASCADE`));
  }
  url.searchParams.set("schema", schema);
  return url.href;
}

/** Starts a server with no data in it. */
export async function startPostgres(options: PostgresOptions = {}): Promise<Postgres> {
  const binaries = postgresBinaries();
  const server = new Postgres(binaries, options);
  try {
    server.copyFrom(binaries.template);
    await server.start();
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

export class Postgres {
  readonly directory: string;
  readonly dataDirectory: string;
  /** The last lines of its log. */
  readonly log: string[] = [];
  port = 0;
  readonly #binaries: PostgresBinaries;
  readonly #options: PostgresOptions;
  readonly #guard: ChildProcess;
  readonly #followers = new Set<Postgres>();
  #follows: Postgres | undefined;
  #standbys = 0;
  #child: ChildProcess | undefined;
  #exited: Promise<unknown> = Promise.resolve();

  /** See `startPostgres`. */
  constructor(binaries: PostgresBinaries, options: PostgresOptions) {
    this.#binaries = binaries;
    this.#options = options;
    this.directory = mkdtempSync(join(options.parent ?? tmpdir(), "querator-postgres-"));
    this.#own(this.directory);
    this.dataDirectory = join(this.directory, "data");
    this.#guard = spawn("sh", ["-c", GUARD, "sh", this.directory], {
      stdio: ["pipe", "ignore", "ignore"],
      cwd: "/",
      detached: true,
    });
    this.#guard.stdin!.on("error", () => undefined);
    unref(this.#guard, this.#guard.stdin as Socket);
  }

  /** Such as "18.4". */
  get version(): string {
    return this.#binaries.version;
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  /** The database `postgres`, as the superuser. */
  get url(): string {
    return `postgres://postgres:${PASSWORD}@127.0.0.1:${this.port}/postgres`;
  }

  /** Runs one statement in the database `postgres`. */
  query(sql: string, values: readonly unknown[] = []): Promise<Row[]> {
    return queryOnce(this.url, sql, values);
  }

  /** Makes an empty database. */
  createDatabase(): Promise<Database> {
    return createDatabase(this.url);
  }

  /** Makes the data directory a copy of another; files that vanish meanwhile are left out. */
  copyFrom(other: string): void {
    const { user } = this.#binaries;
    try {
      const stdio = ["ignore", "ignore", "pipe"] as const;
      execFileSync("cp", ["-Rp", other, this.dataDirectory], {
        stdio: [...stdio],
        env: { ...process.env, LC_ALL: "C" },
        cwd: "/",
        ...user,
      });
    } catch (error) {
      const lines = String((error as { stderr?: Buffer }).stderr)
        .trim()
        .split("\n");
      if (!lines.every((line) => line.includes("No such file or directory"))) throw error;
    }
  }

  /** Starts it, if it is not running; on the port that it had before. */
  async start(): Promise<void> {
    if (this.#child !== undefined) return;
    const fixed = this.port !== 0;
    for (let attempt = 1; ; attempt++) {
      if (!fixed) this.port = await freePort();
      const from = this.log.length;
      try {
        await this.#startOnce();
        return;
      } catch (error) {
        const said = this.log.slice(from).join("\n");
        const again = /could not bind|still in use|already exists|is in use/.test(said);
        if (!again || attempt === START_TRIES) throw error;
        await sleep(50);
      }
    }
  }

  /** Kills the server and all of its processes, as a crash of the machine would. */
  async kill(): Promise<void> {
    if (this.#child === undefined) return;
    const ended = this.#ended();
    // Stopped first, so that it starts no more of them.
    this.#signal("SIGSTOP");
    for (const pid of [...this.#children(), this.pid]) send(pid, "SIGKILL");
    await ended;
    this.#freeMemory();
  }

  /** Shuts it down, unless it was killed or has ended before, and starts it again. */
  async restart(mode: "fast" | "immediate" = "fast"): Promise<void> {
    await this.#shutDown(mode);
    await this.start();
  }

  /** Holds up the server and all of its connections: they hang. */
  pause(): void {
    this.#signal("SIGSTOP");
    for (const pid of this.#children()) send(pid, "SIGSTOP");
  }

  /** Lets everything go on. */
  resume(): void {
    for (const pid of this.#children()) send(pid, "SIGCONT");
    this.#signal("SIGCONT");
  }

  /** Ends it and those that follow it, and removes their data. */
  async stop(): Promise<void> {
    for (const follower of this.#followers) await follower.stop();
    this.#followNobody();
    if (this.#child !== undefined) this.resume();
    await this.#shutDown("immediate");
    if (this.#guard.exitCode !== null || this.#guard.signalCode !== null) return;
    this.#guard.ref();
    const gone = once(this.#guard, "exit");
    this.#guard.stdin!.end();
    await gone;
  }

  /**
   * Starts a server that follows this one, and waits until it does. A synchronous one, which is the
   * default, must have every commit on its disk before this server acknowledges it.
   */
  async startStandby({ isSynchronous = true } = {}): Promise<Postgres> {
    const name = `standby_${++this.#standbys}`;
    const standby = new Postgres(this.#binaries, this.#options);
    standby.#follows = this;
    this.#followers.add(standby);
    await this.query("SELECT pg_create_physical_replication_slot($1, true)", [name]);
    const backup = new pg.Client({ connectionString: this.url });
    await backup.connect();
    try {
      const [begin, end] =
        Number.parseInt(this.version, 10) >= 15
          ? ["pg_backup_start('standby', true)", "pg_backup_stop()"]
          : ["pg_start_backup('standby', true, false)", "pg_stop_backup(false)"];
      await backup.query(`SELECT ${begin}`);
      standby.copyFrom(this.dataDirectory);
      const { rows } = await backup.query<{ labelfile: string }>(`SELECT * FROM ${end}`);
      standby.#becomeStandby(rows[0]!.labelfile, name, this.port);
    } finally {
      await backup.end();
    }
    await standby.start();
    if (isSynchronous) {
      await this.query(`ALTER SYSTEM SET synchronous_standby_names = '${name}'`);
      await this.query("SELECT pg_reload_conf()");
    }
    const state = isSynchronous ? "sync" : "async";
    const following = `SELECT 1 FROM pg_stat_replication WHERE application_name = $1
      AND state = 'streaming' AND sync_state = $2`;
    for (const end = Date.now() + STREAM_MS_MAX; ; await sleep(10)) {
      if ((await this.query(following, [name, state])).length > 0) return standby;
      if (Date.now() > end) throw new Error(`no standby follows: ${standby.log.join("\n")}`);
    }
  }

  /** Makes a standby the one that is written to; resolves when it can be. It follows nobody then. */
  async promote(): Promise<void> {
    const [row] = await this.query("SELECT pg_promote(true, 60) AS ok");
    if (row!.ok !== true) throw new Error(`it was not promoted: ${this.log.join("\n")}`);
    this.#followNobody();
  }

  #followNobody(): void {
    if (this.#follows !== undefined) this.#follows.#followers.delete(this);
    this.#follows = undefined;
  }

  #becomeStandby(label: string, name: string, port: number): void {
    const inData = (...path: string[]): string => join(this.dataDirectory, ...path);
    for (const directory of ["pg_wal", "pg_replslot", "pg_dynshmem"]) {
      for (const file of readdirSync(inData(directory))) {
        rmSync(inData(directory, file), { recursive: true, force: true });
      }
    }
    for (const file of ["postmaster.pid", "postmaster.opts"]) rmSync(inData(file), { force: true });
    writeFileSync(inData("backup_label"), label);
    writeFileSync(inData("standby.signal"), "");
    const primary = `host=127.0.0.1 port=${port} user=postgres password=${PASSWORD} application_name=${name}`;
    appendFileSync(
      inData("postgresql.auto.conf"),
      `primary_conninfo = '${primary}'\nprimary_slot_name = '${name}'\nsynchronous_standby_names = ''\n`,
    );
    for (const file of ["backup_label", "standby.signal", "postgresql.auto.conf"]) {
      this.#own(inData(file));
    }
  }

  async #startOnce(): Promise<void> {
    const { fsync = false, settings = {} } = this.#options;
    const all: Record<string, string | number> = {
      listen_addresses: "127.0.0.1",
      port: this.port,
      unix_socket_directories: "",
      // In the data directory, so that it goes with it.
      dynamic_shared_memory_type: "mmap",
      fsync: fsync ? "on" : "off",
      ...settings,
    };
    const flags = Object.entries(all).flatMap(([key, value]) => ["-c", `${key}=${value}`]);
    // Of a process group of its own: an interrupt from the keyboard is not for it.
    const child = spawn(this.#binaries.postgres, ["-D", this.dataDirectory, ...flags], {
      stdio: ["ignore", "ignore", "pipe"],
      cwd: this.directory,
      env: { PATH: process.env.PATH, LC_ALL: "C", TZ: "UTC" },
      detached: true,
      ...this.#binaries.user,
    });
    this.#child = child;
    this.#guard.stdin!.write(`${child.pid}\n`);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#exited = once(child, "close").then(() => {
      if (this.#child === child) this.#child = undefined;
      this.#guard.stdin!.write("\n");
      reject(new Error(`PostgreSQL has ended: ${this.log.slice(-20).join("\n")}`));
    });
    createInterface({ input: child.stderr! }).on("line", (line) => {
      this.log.push(line);
      if (this.log.length > LINES_KEPT) this.log.shift();
      if (/is ready to accept (read-only )?connections/.test(line)) resolve();
    });
    const timer = setTimeout(() => {
      reject(new Error(`PostgreSQL neither starts nor ends: ${this.log.join("\n")}`));
    }, START_MS_MAX);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
    }
    unref(child, child.stderr as Socket);
  }

  async #shutDown(mode: "fast" | "immediate"): Promise<void> {
    if (this.#child === undefined) return;
    const ended = this.#ended();
    this.#signal(mode === "fast" ? "SIGINT" : "SIGQUIT");
    await ended;
  }

  // Whoever waits for the end keeps this program running until the log is read to its end as well.
  #ended(): Promise<unknown> {
    this.#child!.ref();
    (this.#child!.stderr as Socket).ref();
    return this.#exited;
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child !== undefined) send(this.pid, signal);
  }

  #children(): number[] {
    const { pid } = this;
    const file = `/proc/${pid}/task/${pid}/children`;
    const text = existsSync(file)
      ? readFileSync(file, "utf8")
      : execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" })
          .split("\n")
          .map((line) => line.trim().split(/\s+/))
          .filter(([, parent]) => Number(parent) === pid)
          .map(([child]) => child)
          .join(" ");
    return text.trim().split(/\s+/).filter(Boolean).map(Number);
  }

  // What a server that is killed leaves behind until the machine starts again.
  #freeMemory(): void {
    const lines = readFileSync(join(this.dataDirectory, "postmaster.pid"), "utf8").split("\n");
    const id = lines[6]?.trim().split(/\s+/)[1];
    if (id === undefined) return;
    try {
      execFileSync("ipcrm", ["-m", id], { stdio: "ignore" });
    } catch {
      // it is gone, or there is no such command here: some bytes stay
    }
  }

  #own(path: string): void {
    const { uid, gid } = this.#binaries.user;
    if (uid !== undefined && gid !== undefined) chownSync(path, uid, gid);
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // it has ended
  }
}

// Neither keeps this program running.
function unref(child: ChildProcess, pipe: Socket): void {
  child.unref();
  pipe.unref();
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, "close");
  return port;
}

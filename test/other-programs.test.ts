// Other programs that use a file of ours: one that holds a lock, and one that reads in a transaction.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { payloads, SILENT, setup, type TestServer, temporaryDirectory } from "./support/server.ts";

const MIB = 1024 ** 2;
// More than a lock may take to be refused, less than it took when the thread waited for it.
const REFUSED_MS = 4_000;
const LAG_MS_MAX = 1_000;

interface Line {
  readonly text: string;
  readonly check?: string;
  readonly reason?: string;
}

interface World {
  readonly dir: string;
  readonly lines: readonly Line[];
  readonly server: TestServer;
}

/** A server whose queue `first` lies in the storage `one` and `second` in `two`. */
async function world(t: TestContext): Promise<World> {
  const dir = temporaryDirectory(t);
  const config = join(dir, "querator.yaml");
  const queue = (name: string, storage: string): string =>
    `  - {name: ${name}, lease-timeout: 1m, expire-timeout: 24h, partitions: [{partition: 0, storage-name: ${storage}}]}`;
  writeFileSync(
    config,
    `
partition-storage:
  - {name: one, driver: sqlite, config: {storage-dir: ${dir}/one}}
  - {name: two, driver: sqlite, config: {storage-dir: ${dir}/two}}
queues:
${queue("first", "one")}
${queue("second", "two")}
`,
  );
  const lines: Line[] = [];
  const note = (fields: object | string, text?: string): void =>
    void lines.push(typeof fields === "string" ? { text: fields } : { ...fields, text: text! });
  const logger = { ...SILENT, info: note, warn: note, error: note } as unknown as typeof SILENT;
  const server = await setup(t, { config, memory: undefined as never }, { logger });
  return { dir, lines, server };
}

/** Another program that does something with a file until it is told to stop. */
async function program(t: TestContext, file: string, sql: string): Promise<ChildProcess> {
  const source = `
    const { DatabaseSync } = require("node:sqlite");
    const db = new DatabaseSync(${JSON.stringify(file)});
    db.exec(${JSON.stringify(sql)});
    process.stdout.write("ready");
    process.stdin.once("data", () => process.exit());`;
  const child = spawn(process.execPath, ["--eval", source], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  await once(child.stdout!, "data");
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  child.stdin!.write("end");
  await once(child, "exit");
}

async function health({ server }: TestServer): Promise<{ status: string; output: string }> {
  const response = await fetch(`${server.address}/health`);
  const body = (await response.json()) as {
    status: string;
    checks: { "queues:storage": [{ output?: string }] };
  };
  return { status: body.status, output: body.checks["queues:storage"][0].output ?? "" };
}

/** Waits for something that takes real time. */
async function eventually(look: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1_000; i++) {
    if (await look()) return;
    await sleep(10);
  }
  assert.fail("what the test waits for does not happen");
}

const attentions = ({ lines }: World, check: string): readonly string[] =>
  lines
    .filter((line) => line.text === "storage needs attention" && line.check === check)
    .map(({ reason }) => reason!);

const produce = (queue: string): object => ({
  queue_name: queue,
  request_timeout: "30s",
  items: [{ utf8: "x" }],
});

for (const sql of ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"]) {
  test(`a lock of another program (${sql}) is named and stops nothing else`, async (t) => {
    const it = await world(t);
    const { server } = it;
    const file = join(it.dir, "one", "querator.db");
    await server.produce("first", "before");
    const other = await program(t, file, sql);

    let lag = 0;
    let ticked = performance.now();
    const ticker = setInterval(() => {
      lag = Math.max(lag, performance.now() - ticked);
      ticked = performance.now();
    }, 5);
    const from = performance.now();
    const refused = server.call("queue.produce", produce("first"));
    for (let i = 0; i < 20; i++) await server.produce("second", "goes on");
    const { status } = await refused;
    clearInterval(ticker);
    assert.equal(status, 454);
    assert.ok(performance.now() - from < REFUSED_MS, "it is refused soon");
    assert.ok(lag < LAG_MS_MAX, `the thread stood still for ${lag} ms`);

    await server.call("queue.produce", produce("first"));
    const [reason, ...more] = attentions(it, "lock");
    assert.deepEqual(more, [], "it is told once");
    assert.match(reason!, /^another program.* holds a lock on '.*one\/querator\.db'; end it/);
    if (process.platform === "linux") assert.match(reason!, new RegExp(`pid ${other.pid}, `));
    const { output } = await health(server);
    assert.ok(output.includes(reason!), output);

    await end(other);
    await eventually(
      async () => (await server.call("queue.produce", produce("first"))).status === 200,
    );
    await eventually(async () => (await health(server)).status === "pass");
    assert.ok(it.lines.some(({ text }) => text === "storage needs no attention any more"));
    assert.equal(payloads(await server.lease("first", 9))[0], "before");
  });
}

test("a file that is locked at the start is waited for, and then named", async (t) => {
  const dir = temporaryDirectory(t);
  const first = await setup(t, { dataDir: dir });
  await first.createQueue("q");
  await first.produce("q", "there");
  await first.server.stop();
  const file = join(dir, "querator.db");
  const lock = "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE";
  const other = await program(t, file, lock);
  await assert.rejects(
    setup(t, { dataDir: dir }),
    /cannot open '.*querator\.db': another program.* holds a lock on '.*querator\.db'; end it/,
  );

  const starting = setup(t, { dataDir: dir });
  await sleep(100);
  await end(other);
  const again = await starting;
  assert.deepEqual(payloads(await again.lease("q")), ["there"]);
});

test("a log that a reader has held up is told of, and shrinks when that has gone", async (t) => {
  const dir = temporaryDirectory(t);
  const lines: Line[] = [];
  const note = (fields: object, text: string): void => void lines.push({ ...fields, text });
  const logger = { ...SILENT, warn: note } as unknown as typeof SILENT;
  const server = await setup(t, { dataDir: dir }, { logger });
  await server.createQueue("q");
  await server.produce("q", "first");
  const file = join(dir, "querator.db");
  const reader = await program(t, file, "BEGIN; SELECT * FROM items");
  const size = (): number => statSync(`${file}-wal`).size;
  const large = "x".repeat(400_000);
  while (size() < 80 * MIB) await server.produce("q", large, large, large, large);

  await eventually(() => lines.some(({ check }) => check === "log"));
  const reasons = lines.filter(({ check }) => check === "log");
  assert.equal(reasons.length, 1);
  assert.match(reasons[0]!.reason!, /querator\.db-wal' has more than 64 MiB, and grows: another/);
  if (process.platform === "linux")
    assert.match(reasons[0]!.reason!, new RegExp(`pid ${reader.pid}, `));
  const before = await health(server);
  assert.equal(before.status, "warn");
  assert.match(before.output, /querator\.db-wal' has more than 64 MiB/);

  await end(reader);
  await eventually(() => size() <= 32 * MIB);
  await eventually(async () => (await health(server)).status === "pass");
  await server.produce("q", "last");
});

test("a log that a reader has held up is cut off while work goes on", async (t) => {
  const dir = temporaryDirectory(t);
  const server = await setup(t, { dataDir: dir });
  await server.createQueue("q");
  await server.produce("q", "first");
  const file = join(dir, "querator.db");
  const reader = await program(t, file, "BEGIN; SELECT * FROM items");
  const size = (): number => statSync(`${file}-wal`).size;
  const large = "x".repeat(400_000);
  while (size() < 50 * MIB) await server.produce("q", large, large, large, large);
  await end(reader);
  await eventually(async () => {
    await server.produce("q", large, large);
    return size() <= 32 * MIB;
  });
});

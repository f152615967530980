// What stands between a server and its PostgreSQL, or in a PostgreSQL that is fine, and looks like something
// else: poolers, and settings that forbid writes. And outages that nobody's request runs into.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startServer } from "../../src/server/server.ts";
import { needsPgBouncer, startPgBouncer } from "../support/pgbouncer.ts";
import { queryOnce, startPostgres } from "../support/postgres.ts";
import { payloads, SILENT, setup } from "../support/server.ts";
import { ServerNode } from "./node.ts";
import { StallingRelay } from "./stalling-relay.ts";

const postgres = await startPostgres();
after(() => postgres.stop());

const COMMAND = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));

async function database(t: TestContext): Promise<string> {
  const { url, drop } = await postgres.createDatabase();
  t.after(() => drop());
  return url;
}

/** Why a server does not start. */
async function refusal(url: string): Promise<string> {
  const server = await startServer(
    { postgres: url, address: "127.0.0.1:0" },
    { logger: SILENT },
  ).then(
    (started) => started,
    (error: Error) => error,
  );
  if (server instanceof Error) return server.message;
  await server.stop();
  return "none";
}

// --- poolers ---

const POOLED =
  /^PostgreSQL at 127\.0\.0\.1:\d+\/\w+: a pooler gives every transaction another session; let it keep them \(pool_mode = session\), or connect to PostgreSQL itself$/;

for (const [what, settings] of [
  ["transaction", { pool_mode: "transaction" }],
  ["transaction, in turn", { pool_mode: "transaction", server_round_robin: 1, min_pool_size: 4 }],
  ["transaction, one session", { pool_mode: "transaction", default_pool_size: 1 }],
  ["statement", { pool_mode: "statement" }],
] as const) {
  test(`PgBouncer with pooling by ${what} is named, with what to do`, needsPgBouncer, async (t) => {
    const direct = await database(t);
    const url = await startPgBouncer(t, direct, settings);
    assert.match(await refusal(url), POOLED);
    // Nothing was set in a session that others get, and nothing was made.
    const [row] = await queryOnce(url, "SELECT current_setting('enable_seqscan') AS seqscan");
    assert.equal(row!.seqscan, "on");
    const made = await queryOnce(direct, "SELECT 1 FROM pg_namespace WHERE nspname = 'querator'");
    assert.deepEqual(made, []);
  });
}

test("migrate and doctor name a pooler as well", needsPgBouncer, async (t) => {
  const url = await startPgBouncer(t, await database(t), { pool_mode: "transaction" });
  for (const command of ["migrate", "doctor"]) {
    const { code, text } = await run(command, "--postgres", url);
    assert.equal(code, 1, text);
    assert.match(text, /a pooler gives every transaction another session/, command);
  }
});

test("PgBouncer that keeps sessions is as good as none", needsPgBouncer, async (t) => {
  const url = await startPgBouncer(t, await database(t), { pool_mode: "session" });
  const server = await setup(t, { postgres: url });
  await server.createQueue("q");
  await server.produce("q", "one", "two");
  assert.deepEqual(payloads(await server.lease("q", 10)), ["one", "two"]);
});

function run(...args: readonly string[]): Promise<{ code: number; text: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [COMMAND, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), text: stdout + stderr });
    });
  });
}

// --- settings that forbid writes ---

test("default_transaction_read_only is named, and where it comes from, and is no standby", async (t) => {
  const url = await database(t);
  const name = new URL(url).pathname.slice(1);
  const set = "SET default_transaction_read_only = on";
  const reset = "RESET default_transaction_read_only";
  const rows = [
    [`ALTER DATABASE ${name}`, new RegExp(`\\(database\\).*ALTER DATABASE "${name}" ${reset}`)],
    ["ALTER ROLE postgres", new RegExp(`\\(user\\).*ALTER ROLE "postgres" ${reset}`)],
    [
      `ALTER ROLE postgres IN DATABASE ${name}`,
      new RegExp(`\\(database user\\).*ALTER ROLE "postgres" IN DATABASE "${name}" ${reset}`),
    ],
  ] as const;
  for (const [what, expected] of rows) {
    await postgres.query(`${what} ${set}`);
    const reason = await refusal(url);
    const doctor = await run("doctor", "--postgres", url);
    await postgres.query(`BEGIN READ WRITE; ${what} ${reset}; COMMIT`);
    assert.match(reason, expected);
    assert.doesNotMatch(reason, /it is a standby/);
    assert.match(doctor.text, expected);
  }
  assert.equal(await refusal(url), "none");
});

test("a setting that forbids writes while the server runs is named, and it works again by itself", async (t) => {
  const own = await startPostgres();
  t.after(() => own.stop());
  const node = new ServerNode(t, own.url);
  await node.said("querator is ready");
  await node.createQueue("q");
  const reload = async (value: string): Promise<void> => {
    await own.query("SET default_transaction_read_only = off").catch(() => undefined);
    await queryOnce(
      `${own.url}?options=-c%20default_transaction_read_only%3Doff`,
      `ALTER SYSTEM SET default_transaction_read_only = ${value}`,
    );
    await own.query("SELECT pg_reload_conf()");
  };
  await reload("on");
  await node.said("storage does not answer");
  const said = node.lines.find((line) => line.includes("storage does not answer"))!;
  assert.match(
    said,
    /default_transaction_read_only is on \(configuration file\), though this is no standby/,
  );
  assert.match(said, /ALTER SYSTEM RESET default_transaction_read_only/);
  assert.equal((await node.produce("q", "refused")).status, 454);
  await reload("off");
  await node.said("storage answers again");
  for (;;) if ((await node.produce("q", "after")).status === 200) break;
});

test("a standby is called one", async (t) => {
  const own = await startPostgres();
  t.after(() => own.stop());
  const standby = await own.startStandby({ isSynchronous: false });
  assert.match(await refusal(standby.url), /it is a standby; name the primary/);
});

// --- outages while nobody asks ---

const GONE = "storage does not answer";
const BACK = "storage answers again";

const OUTAGES: readonly [
  string,
  (t: TestContext) => Promise<{ url: string; go: () => unknown; comeBack: () => unknown }>,
][] = [
  [
    "a PostgreSQL that is killed",
    async (t) => {
      const own = await startPostgres();
      t.after(() => own.stop());
      return { url: own.url, go: () => own.kill(), comeBack: () => own.start() };
    },
  ],
  [
    "a network that swallows every answer",
    async (t) => {
      const relay = await StallingRelay.start(t, postgres.port);
      const url = relay.through(await database(t));
      return { url, go: () => relay.hold(), comeBack: () => relay.letGo() };
    },
  ],
];

for (const [what, prepare] of OUTAGES) {
  test(`${what} is logged once although nobody asks, and that it is back`, async (t) => {
    const { url, go, comeBack } = await prepare(t);
    const node = new ServerNode(t, url);
    await node.said("querator is ready");
    for (let round = 1; round <= 2; round++) {
      const since = node.lines.length;
      const from = performance.now();
      await go();
      await node.said(GONE, since);
      assert.ok(performance.now() - from < 15_000, "within seconds");
      // Long enough for several more tries.
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      await comeBack();
      await node.said(BACK, since);
      // What was still to be done after the start may fail as well, and say so once.
      const told = node.lines
        .slice(since)
        .filter((line) => !line.includes("cannot remove deleted queues yet"));
      assert.deepEqual(
        told.map((line) => (JSON.parse(line) as { msg: string }).msg),
        [GONE, BACK],
      );
      assert.ok(node.lines.length - since - told.length <= 1, node.lines.slice(since).join("\n"));
      assert.match(
        told[0]!,
        /"level":"error".*"err":"[^"]*PostgreSQL[^"]*".*"storage":"postgres-0"/,
      );
    }
  });
}

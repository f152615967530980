// What becomes of a commit whose reply is lost, in every way in which it can be: memory never tells
// anything else than storage, and nothing that was given up happens later.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import {
  describe as described,
  NO_ANSWER,
  PostgresError,
} from "../../src/storage/postgres/errors.ts";
import { openPostgresStorage } from "../../src/storage/postgres/postgres.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { NEW_COUNTERS } from "../../src/storage/storage.ts";
import { changes, item } from "../conformance/storage.ts";
import { queryOnce, startPostgres, testDatabase } from "../support/postgres.ts";

const COUNTERS = NEW_COUNTERS;

const open = (connectionString: string): Promise<Storage> =>
  openPostgresStorage({
    name: "p",
    target: { connectionString },
    schema: "querator",
    connectionsMax: 3,
  });

async function partition(storage: Storage): Promise<number> {
  const made = { queue: "q", number: 0, idPrefix: "p".repeat(18), createdAt: 1 };
  return (await storage.createPartitions([made]))[0]!;
}

const total = async (storage: Storage, key: number): Promise<number> =>
  (await storage.loadPartition(key)).counters.total;

interface Relay {
  readonly url: string;
  /** What is sent with this text in it is kept back, and whoever sent it is cut off. */
  cut(text: string): Promise<{ deliver(): Promise<void> }>;
}

/** Stands between a storage and the server. */
async function startRelay(t: TestContext, url: string): Promise<Relay> {
  const { port } = new URL(url);
  const sockets: Socket[] = [];
  let wanted: { text: string; resolve: (kept: { deliver(): Promise<void> }) => void } | undefined;
  const relay = createServer((client) => {
    const server = connect(Number(port), "127.0.0.1");
    sockets.push(client, server);
    for (const socket of [client, server]) socket.on("error", () => undefined);
    let isCut = false;
    client.on("data", (chunk) => {
      if (isCut) return;
      if (wanted === undefined || !chunk.includes(wanted.text)) {
        server.write(chunk);
        return;
      }
      isCut = true;
      const { resolve } = wanted;
      wanted = undefined;
      client.destroy();
      // The server answers, and whoever should read it is gone.
      const deliver = async (): Promise<void> => {
        const answered = once(server, "data");
        server.end(chunk);
        await answered;
      };
      resolve({ deliver });
    });
    server.on("data", (chunk) => client.write(chunk));
    client.on("close", () => isCut || server.end());
    server.on("close", () => client.destroy());
  }).listen(0, "127.0.0.1");
  await once(relay, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    relay.close();
  });
  const own = new URL(url);
  own.port = String((relay.address() as { port: number }).port);
  return {
    url: own.href,
    cut(text) {
      const { promise, resolve } = Promise.withResolvers<{ deliver(): Promise<void> }>();
      wanted = { text, resolve };
      return promise;
    },
  };
}

test("a commit that was given up does not happen when it arrives late", async (t) => {
  const relay = await startRelay(t, await testDatabase(t));
  const storage = await open(relay.url);
  t.after(() => storage.close());
  const key = await partition(storage);
  const cut = relay.cut("INSERT INTO items");
  const counters = { ...COUNTERS, tail: 2, total: 1 };
  await assert.rejects(storage.commit([changes(key, { counters, adds: [item(1)] })]));
  assert.equal(await total(storage, key), 0);
  await (await cut).deliver();
  assert.equal(await total(storage, key), 0);
  await storage.commit([changes(key, { counters, adds: [item(1)] })]);
  assert.equal(await total(storage, key), 1);
});

test("a commit that is not replicated, as the wait for it was cancelled, is not acknowledged", async (t) => {
  const primary = await startPostgres();
  t.after(() => primary.stop());
  const standby = await primary.startStandby();
  const storage = await open(primary.url);
  t.after(() => storage.close());
  const key = await partition(storage);
  standby.pause();
  const counters = { ...COUNTERS, tail: 2, total: 1 };
  const commit = storage.commit([changes(key, { counters, adds: [item(1)] })]);
  const cancel = `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE wait_event = 'SyncRep' AND query LIKE '%items%'`;
  const refused = assert.rejects(commit, /not replicated/);
  while ((await queryOnce(primary.url, cancel)).length === 0);
  await refused;
  standby.resume();
  assert.equal(await total(storage, key), 1);
});

test("a server that can not write, as it said, is still read", async (t) => {
  const url = await testDatabase(t);
  const storage = await open(url);
  t.after(() => storage.close());
  const key = await partition(storage);
  await queryOnce(url, "ALTER TABLE querator.items ADD CONSTRAINT no CHECK (first < 2)");
  await queryOnce(url, "ALTER TABLE querator.owner ADD CONSTRAINT no CHECK (term < 1)");
  const add = (seq: number): Promise<void> =>
    storage.commit([
      changes(key, { counters: { ...COUNTERS, tail: seq + 1, total: seq }, adds: [item(seq)] }),
    ]);
  await add(1);
  await assert.rejects(add(2), /violates check constraint/);
  assert.equal(await total(storage, key), 1);
});

test("only an error that PostgreSQL has told says that nothing was written", async (t) => {
  const url = await testDatabase(t);
  const told = await queryOnce(url, "SELECT 1 / 0").catch((error: unknown) => error);
  assert.equal(described("place", told).isUndone, true);
  for (const code of ["EPIPE", "ECONNRESET", ""]) {
    const error = described("place", Object.assign(new Error("lost"), { code }));
    assert.equal(error.isUndone, false, code);
  }
  assert.equal(new PostgresError(NO_ANSWER, "no answer").isUndone, false);
});

test("due items are read in order whatever was read and added before", async (t) => {
  const storage = await open(await testDatabase(t));
  t.after(() => storage.close());
  const key = await partition(storage);
  const due = async (): Promise<number[]> =>
    (await storage.readScheduled(key, 2)).map(({ seq }) => seq);
  const add = (seq: number, dueAt: number): Promise<void> =>
    storage.commit([changes(key, { addsScheduled: [item(seq, { dueAt })] })]);
  const expiries = async (): Promise<number[]> =>
    (await storage.readExpiries(key, 2)).map(({ at }) => at);
  const expire = (at: number): Promise<void> =>
    storage.commit([changes(key, { addsExpiry: [{ at, first: 1 }] })]);
  assert.deepEqual(await due(), []);
  assert.deepEqual(await expiries(), []);
  await add(1, 50);
  await expire(50);
  assert.deepEqual(await due(), [1]);
  assert.deepEqual(await expiries(), [50]);
  await add(2, 40);
  await expire(40);
  assert.deepEqual(await due(), [2, 1]);
  assert.deepEqual(await expiries(), [40, 50]);
  // Read while it is on its way.
  await Promise.all([add(3, 30), due(), due(), expire(30), expiries(), expiries()]);
  assert.deepEqual(await due(), [3, 2]);
  assert.deepEqual(await expiries(), [30, 40]);
  // Back to scheduled, earlier than anything there.
  const to = { attempts: 1, expireAt: 9, dueAt: 10, attributes: "", group: "" };
  const move = { fromSeq: 1, toSeq: 4, ...to } as const;
  await storage.commit([
    changes(key, { moves: [{ ...move, from: "scheduled", to: "scheduled" }] }),
  ]);
  assert.deepEqual(await due(), [4, 3]);
});

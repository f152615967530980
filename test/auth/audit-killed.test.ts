// A server is killed while things are changed, again and again: what was answered has its entry in the audit, and an
// entry of what is written with its change has its change.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { startPostgres } from "../support/postgres.ts";
import { temporaryDirectory } from "../support/server.ts";
import { ServerProcess } from "../support/server-process.ts";

const ROUNDS = 3;
const EACH = 24;

for (const driver of ["sqlite", "postgres"] as const) {
  test(`what was answered is in the audit over kills: ${driver}`, async (t) => {
    const dir = temporaryDirectory(t);
    const database = driver === "postgres" ? await startPostgres() : undefined;
    t.after(() => database?.stop());
    const start = async (): Promise<ServerProcess> => {
      const place =
        database === undefined
          ? { dataDir: join(dir, "data"), threads: 2 }
          : { postgres: database.url };
      const server = await ServerProcess.start(place);
      t.after(() => server.dispose());
      return server;
    };
    let server = await start();
    const call = async (path: string, body: object) => {
      const reply = await fetch(`${server.address}/v2/${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      // biome-ignore lint/suspicious/noExplicitAny: replies of every shape
      return { status: reply.status, body: (await reply.json()) as any };
    };
    const ready = async (): Promise<void> => {
      // PostgreSQL has to notice first that the one before is gone.
      while ((await call("queues.list", {})).status === 503);
    };
    await ready();
    await call("queues.create", { queue_name: "shared" });
    // By what they are told as: how often they were answered.
    const answered = new Map<string, number>();
    for (let round = 0; round < ROUNDS; round++) {
      const changes = Array.from({ length: EACH }, (_, i): [string, object, string] => {
        const name = `r${round}-${i}`;
        if (i % 4 === 0) return ["queues.create", { queue_name: name }, name];
        if (i % 4 === 1) return ["namespaces.create", { name }, name];
        if (i % 4 === 2) return ["roles.create", { name }, name];
        return ["queue.clear", { queue_name: "shared", queue: true }, "shared"];
      });
      const killAt = 2 + ((round * 7) % 12);
      let count = 0;
      let killed: Promise<unknown> | undefined;
      await Promise.all(
        changes.map(async ([path, request, target]) => {
          try {
            const { status } = await call(path, request);
            assert.equal(status, 200);
            const told = `${path} ${target}`;
            answered.set(told, (answered.get(told) ?? 0) + 1);
            if (++count === killAt) killed = server.kill();
          } catch (error) {
            if (error instanceof assert.AssertionError) throw error;
          }
        }),
      );
      await killed;
      await server.dispose();
      server = await start();
      await ready();
      const { entries } = (await call("audit.list", { limit: 1_000 })).body;
      const seen = new Map<string, number>();
      for (const { call: path, target } of entries) {
        const told = `${path} ${target}`;
        seen.set(told, (seen.get(told) ?? 0) + 1);
      }
      for (const [told, times] of answered) {
        assert.ok((seen.get(told) ?? 0) >= times, `${told} was answered, and is not in the audit`);
      }
      // Both are there, or neither.
      const names = async (path: string, list: string, key: string): Promise<string[]> =>
        // biome-ignore lint/suspicious/noExplicitAny: replies of every shape
        ((await call(path, {})).body[list] ?? []).map((each: any) => each[key]);
      const there = [
        ...(await names("queues.list", "queues", "queue_name")).map((n) => `queues.create ${n}`),
        ...(await names("namespaces.list", "namespaces", "name")).map(
          (n) => `namespaces.create ${n}`,
        ),
        ...(await names("roles.list", "roles", "name")).map((n) => `roles.create ${n}`),
      ].filter((told) => told !== "namespaces.create _system");
      const withRecords = [...seen.keys()].filter((told) => !told.startsWith("queue.clear"));
      assert.deepEqual(withRecords.toSorted(), there.toSorted());
    }
    assert.ok(answered.size > 0);
  });
}

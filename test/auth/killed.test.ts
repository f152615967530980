// A server is killed while keys are taken away, again and again: a key of which it was said that it is gone never
// works again, and one of which nothing was said either works or is gone.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startPostgres } from "../support/postgres.ts";
import { temporaryDirectory } from "../support/server.ts";
import { ServerProcess } from "../support/server-process.ts";

const ROUNDS = 3;
const KEYS = 40;
// Of those that are taken away in one round.
const EACH = 12;

interface Key {
  readonly id: string;
  readonly key: string;
}

for (const driver of ["sqlite", "postgres"] as const) {
  test(`what was said to be taken away stays so over kills: ${driver}`, async (t) => {
    const dir = temporaryDirectory(t);
    const database = driver === "postgres" ? await startPostgres() : undefined;
    t.after(() => database?.stop());
    const admin = `qtr-test-${"A".repeat(43)}`;
    const start = () =>
      ServerProcess.start({
        env: { QUERATOR_AUTH: "keys", QUERATOR_BOOTSTRAP_KEY: admin },
        ...(database === undefined ? { dataDir: join(dir, "data") } : { postgres: database.url }),
      });
    let server = await start();
    const call = async (path: string, body: object, key = admin) => {
      const reply = await fetch(`${server.address}/${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
        body: JSON.stringify(body),
      });
      // biome-ignore lint/suspicious/noExplicitAny: replies of every shape
      return { status: reply.status, body: (await reply.json()) as any };
    };
    const { body: user } = await call("v2/users.create", { username: "u" });
    const binding = { namespace: "_system", role_name: "Viewer", user_id: user.id };
    await call("v2/bindings.create", binding);
    const keys: Key[] = [];
    for (let i = 0; i < KEYS; i++) {
      const { body } = await call("v2/keys.create", { user_id: user.id });
      keys.push({ id: body.info.id, key: body.key });
    }
    const gone = new Set<Key>();
    const unknown = new Set<Key>();
    for (let round = 0; round < ROUNDS; round++) {
      const chosen = keys.slice(round * EACH, (round + 1) * EACH);
      // Killed when so many have been answered; the others are under way.
      const killAt = 1 + ((round * 5) % EACH);
      let answered = 0;
      let killed: Promise<unknown> | undefined;
      await Promise.all(
        chosen.map(async (each) => {
          try {
            const { status } = await call("v2/keys.revoke", { id: each.id });
            assert.equal(status, 200);
            gone.add(each);
            answered++;
            if (answered === killAt) killed = server.kill();
          } catch (error) {
            if (error instanceof assert.AssertionError) throw error;
            unknown.add(each);
          }
        }),
      );
      await killed;
      await server.dispose();
      server = await start();
      t.after(() => server.dispose());
      // PostgreSQL has to notice first that the one before is gone.
      while ((await call("v2/queues.list", {})).status === 503);
      for (const each of keys) {
        // Under /v1, where wrong keys are answered the same however many there were.
        const { status } = await call("v1/queues.list", {}, each.key);
        if (gone.has(each)) assert.equal(status, 401, "a key that was taken away works again");
        else if (unknown.has(each)) assert.ok(status === 200 || status === 401, String(status));
        else assert.equal(status, 200);
        if (unknown.delete(each) && status === 401) gone.add(each);
      }
    }
    assert.ok(gone.size > 0);
  });
}

test("a first key that works can be read after a kill at the start", async (t) => {
  const dataDir = join(temporaryDirectory(t), "data");
  for (let i = 0; i < 3; i++) {
    const server = new ServerProcess({ dataDir, env: { QUERATOR_AUTH: "keys" } });
    t.after(() => server.dispose());
    if (i < 2) {
      // Somewhere in its start; a little later each time.
      await new Promise((resolve) => setTimeout(resolve, 300 + 150 * i));
      await server.kill();
      continue;
    }
    await server.ready;
    const key = readFileSync(join(dataDir, "admin-key"), "utf8").trim();
    const reply = await fetch(`${server.address}/v2/keys.list`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
      body: "{}",
    });
    assert.equal(reply.status, 200);
    assert.equal(((await reply.json()) as { keys: object[] }).keys.length, 1);
  }
});

// The first key, and what is open before anybody has one: what a start makes, what a later one does not make
// again, and which starts are refused.

import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ServerOptions } from "../../src/config/config.ts";
import { startServer } from "../../src/server/server.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import {
  ADMIN_KEY,
  SILENT,
  setup,
  setupClosed,
  type TestServer,
  temporaryDirectory,
} from "../support/server.ts";
import { freshPlace } from "../support/storages.ts";

const KEY = /^qtr-live-[0-9A-Za-z]{43}\n$/;

/** A server with `--auth keys`, and all that it logs. */
async function start(
  t: TestContext,
  options: ServerOptions,
): Promise<{ readonly server: TestServer; readonly log: readonly string[] }> {
  const log: string[] = [];
  const at = (fields: object | string, message?: string): void => {
    log.push(JSON.stringify([fields, message]));
  };
  const logger = { debug: at, info: at, warn: at, error: at } as unknown as typeof SILENT;
  return { server: await setup(t, { auth: "keys", ...options }, { logger }), log };
}

const mayAll = async (server: TestServer, key: string) =>
  (await server.as(key).call("/v2/queues.list", {})).status === 200;

test("the first start makes a key, in a file that only its user can read", async (t) => {
  const dataDir = join(temporaryDirectory(t), "data");
  const path = join(dataDir, "admin-key");
  const { server, log } = await start(t, { dataDir });
  const text = readFileSync(path, "utf8");
  assert.match(text, KEY);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(log.filter((line) => line.includes(path)).length, 1);
  assert.ok(!log.join("\n").includes(text.trim()));
  assert.ok(await mayAll(server, text.trim()));
  assert.deepEqual(
    readdirSync(dataDir).filter((name) => name.includes("admin-key")),
    ["admin-key"],
  );
});

test("a later start makes no key again, whatever has become of the first", async (t) => {
  for (const driver of ["sqlite", "postgres"] as const) {
    const place = await freshPlace(t, driver);
    const first = await setupClosed(t, place);
    const { users } = await first.ok("/v2/users.list", {});
    const { keys } = await first.ok("/v2/keys.list", {});
    assert.deepEqual([users.length, keys.length], [1, 1]);
    const { id: other } = await first.ok("/v2/users.create", { username: "other" });
    const binding = { namespace: "_system", role_name: "Admin", user_id: other };
    await first.ok("/v2/bindings.create", binding);
    const { key } = await first.ok("/v2/keys.create", { user_id: other });
    await first.as(key).ok("/v2/users.delete", { id: users[0].id });
    await first.server.stop();
    const second = await setupClosed(t, place);
    assert.equal(await mayAll(second, ADMIN_KEY), false, driver);
    const left = await second.as(key).ok("/v2/keys.list", {});
    assert.equal(left.keys.length, 1, driver);
    await second.server.stop();
  }
});

test("nobody is let in without a key, and a door that was closed stays closed", async (t) => {
  const place = await freshPlace(t, "sqlite");
  const binding = { namespace: "_system", role_name: "Admin", user_id: "anonymous" };
  const first = await setupClosed(t, place);
  const isOpen = async (server: TestServer) =>
    (await server.as(undefined).call("/v2/queues.list", {})).status === 200;
  assert.equal(await isOpen(first), false);
  await first.ok("/v2/bindings.create", binding);
  assert.equal(await isOpen(first), true);
  await first.server.stop();
  const second = await setupClosed(t, place);
  assert.equal(await isOpen(second), true);
  await second.ok("/v2/bindings.delete", binding);
  assert.equal(await isOpen(second), false);
  await second.server.stop();
  for (let i = 0; i < 2; i++) {
    const again = await setupClosed(t, place);
    assert.equal(await isOpen(again), false);
    const { bindings = [] } = await again.ok("/v2/bindings.list", {});
    assert.ok(bindings.every((each: { user_id: string }) => each.user_id !== "anonymous"));
    await again.server.stop();
  }
});

test("standard roles are made new with a start, and keep their ids", async (t) => {
  const place = await freshPlace(t, "sqlite");
  const roles = async (server: TestServer) => (await server.ok("/v2/roles.list", {})).roles;
  const first = await setupClosed(t, place);
  const before = await roles(first);
  assert.ok(before.some((role: { name: string }) => role.name === "Operator"));
  await first.server.stop();
  const second = await setupClosed(t, place);
  assert.deepEqual(await roles(second), before);
});

test("a start that ended between file and storage leaves a key that the next one takes", async (t) => {
  const dataDir = temporaryDirectory(t);
  const path = join(dataDir, "admin-key");
  const wrapStorage = (inner: ConstructorParameters<typeof FaultyStorage>[0]) => {
    const faulty = new FaultyStorage(inner);
    faulty.always("putQueues", "fail");
    return faulty.storage;
  };
  await assert.rejects(
    startServer({ dataDir, auth: "keys", address: "127.0.0.1:0" }, { logger: SILENT, wrapStorage }),
    /putQueues fails/,
  );
  const text = readFileSync(path, "utf8");
  const { server, log } = await start(t, { dataDir });
  assert.equal(readFileSync(path, "utf8"), text);
  assert.ok(await mayAll(server, text.trim()));
  assert.equal(log.filter((line) => line.includes(path)).length, 1);
});

test("a start that ended after storage, but before it told the file, tells it the next time", async (t) => {
  const dataDir = temporaryDirectory(t);
  const path = join(dataDir, "admin-key");
  const wrapStorage = (inner: ConstructorParameters<typeof FaultyStorage>[0]) => {
    const faulty = new FaultyStorage(inner);
    faulty.always("putQueues", "lose-reply");
    return faulty.storage;
  };
  await assert.rejects(
    startServer({ dataDir, auth: "keys", address: "127.0.0.1:0" }, { logger: SILENT, wrapStorage }),
  );
  const { server, log } = await start(t, { dataDir });
  assert.ok(await mayAll(server, readFileSync(path, "utf8").trim()));
  assert.equal(
    (await server.as(readFileSync(path, "utf8").trim()).ok("/v2/keys.list", {})).keys.length,
    1,
  );
  assert.ok(log.some((line) => line.includes(path)));
});

test("the first key is what it was given as, from a file as well, and is written nowhere", async (t) => {
  const dir = temporaryDirectory(t);
  const bootstrapKeyFile = join(dir, "given");
  writeFileSync(bootstrapKeyFile, `${ADMIN_KEY}\n`);
  for (const given of [{ bootstrapKey: ADMIN_KEY }, { bootstrapKeyFile }]) {
    const dataDir = join(dir, Object.keys(given).join());
    const { server, log } = await start(t, { dataDir, ...given });
    assert.ok(await mayAll(server, ADMIN_KEY));
    assert.equal(existsSync(join(dataDir, "admin-key")), false);
    assert.ok(!log.join("\n").includes(ADMIN_KEY));
  }
});

test("a file with the first key is needed by the first start only", async (t) => {
  const place = await freshPlace(t, "sqlite");
  const bootstrapKeyFile = join(temporaryDirectory(t), "given");
  const refused = (text: RegExp) =>
    assert.rejects(start(t, { ...place, bootstrapKeyFile }), (error: Error) => {
      assert.match(error.message, text);
      assert.ok(!error.message.includes("AAAA"));
      return true;
    });
  await refused(/^bootstrap-key-file: cannot read the file: ENOENT/);
  await assert.rejects(start(t, { ...place, auth: "none", bootstrapKeyFile }), {
    message: "bootstrap-key-file is of no use without authentication; add --auth keys",
  });
  writeFileSync(bootstrapKeyFile, "\n");
  await refused(/^bootstrap-key-file: the file '.*' is empty$/);
  writeFileSync(bootstrapKeyFile, ADMIN_KEY.slice(0, -1));
  await refused(/^bootstrap-key-file: the file '.*' does not hold a key; a key is qtr-TAG-SECRET/);
  writeFileSync(bootstrapKeyFile, ADMIN_KEY);
  const { server } = await start(t, { ...place, bootstrapKeyFile });
  await server.server.stop();
  const gone = { ...place, bootstrapKeyFile: `${bootstrapKeyFile}-gone` };
  assert.ok(await mayAll((await start(t, gone)).server, ADMIN_KEY));
});

test("a key that others may have written or read is not taken", async (t) => {
  const dir = temporaryDirectory(t);
  const cases: Record<string, (path: string) => void> = {
    "readable by others": (path) => {
      writeFileSync(path, ADMIN_KEY);
      chmodSync(path, 0o640);
    },
    "a link": (path) => {
      writeFileSync(`${path}-real`, ADMIN_KEY, { mode: 0o600 });
      symlinkSync(`${path}-real`, path);
    },
    "a directory": (path) => mkdirSync(path),
    "not a key": (path) => writeFileSync(path, "hidden", { mode: 0o600 }),
  };
  for (const [name, make] of Object.entries(cases)) {
    const dataDir = join(dir, name);
    mkdirSync(dataDir);
    make(join(dataDir, "admin-key"));
    await assert.rejects(start(t, { dataDir }), (error: Error) => {
      assert.match(error.message, /admin-key/, name);
      assert.ok(!error.message.includes(ADMIN_KEY) && !error.message.includes("hidden"), name);
      return true;
    });
  }
});

test("without authentication nothing is made, and it can be switched on later", async (t) => {
  const dataDir = temporaryDirectory(t);
  const open = await setup(t, { dataDir });
  await open.createQueue("jobs");
  assert.deepEqual(await open.ok("/v2/users.list", {}), { users: [] });
  await open.server.stop();
  assert.equal(existsSync(join(dataDir, "admin-key")), false);
  const { server } = await start(t, { dataDir });
  const key = readFileSync(join(dataDir, "admin-key"), "utf8").trim();
  const { queues } = await server.as(key).ok("/v2/queues.list", {});
  assert.equal(queues[0].queue_name, "jobs");
});

test("a start says that everybody may do everything, where that may not be meant", async (t) => {
  const dataDir = temporaryDirectory(t);
  const told = async (options: ServerOptions) => {
    const { server, log } = await start(t, { dataDir, ...options });
    await server.server.stop();
    return log.filter((line) => /without a key|has to show a key/.test(line));
  };
  assert.deepEqual(await told({ auth: "none" }), []);
  assert.deepEqual(await told({ auth: "keys" }), []);
  assert.match((await told({ auth: "none" })).join(), /nobody has to show a key, as an earlier/);
  const reached = await told({ auth: "none", address: "0.0.0.0:0" });
  assert.match(reached.join(), /everybody who reaches this server may do everything/);
  assert.deepEqual(await told({ auth: "keys" }), []);
});

test("a server that others can reach asks who they are, or was told not to", async () => {
  for (const address of [":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "somewhere.example:0"]) {
    await assert.rejects(
      startServer({ address, memory: true }, { logger: SILENT }),
      /^ConfigError: address: .* can be reached from other machines, and nobody has to show a key; use --auth keys, or --auth none if everybody may do everything$/,
      address,
    );
  }
  for (const auth of ["none", "keys"] as const) {
    const more = auth === "keys" ? { bootstrapKey: ADMIN_KEY } : {};
    const options = { address: "0.0.0.0:0", memory: true, auth, ...more };
    const server = await startServer(options, { logger: SILENT });
    await server.stop();
  }
});

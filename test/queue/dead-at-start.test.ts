// What has died while the server was down goes to its dead queue at the next start, however late that
// queue is there.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as eventLoop } from "node:timers/promises";
import type { Storage } from "../../src/storage/storage.ts";
import { payloads, setup, temporaryDirectory } from "../support/server.ts";

// More rounds of the event loop than the first turn of a queue takes.
const ROUNDS = 50;

test("an item that died while the server was down waits until its dead queue is loaded", async (t) => {
  const options = { dev: false, memory: false, dataDir: temporaryDirectory(t) };
  const before = await setup(t, options);
  await before.createQueue("graves");
  const rules = { lease_timeout: "100ms", max_attempts: 1, dead_queue: "graves" };
  await before.createQueue("work", rules);
  await before.produce("work", "it");
  const { items } = await before.lease("work");
  await before.server.stop();

  const wrapStorage = (storage: Storage): Storage => {
    const load = storage.loadPartition.bind(storage);
    storage.loadPartition = async (key) => {
      const stored = (await storage.listPartitions()).find((each) => each.key === key);
      if (stored?.queue === "graves") {
        while (Date.now() < Date.parse(items[0].lease_deadline) + 1_000) await eventLoop();
        for (let i = 0; i < ROUNDS; i++) await eventLoop();
      }
      return load(key);
    };
    return storage;
  };
  const after = await setup(t, options, { wrapStorage });
  assert.deepEqual(payloads(await after.lease("graves")), ["it"]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { ItemRecord } from "../../src/storage/storage.ts";
import { collectGarbage } from "../support/garbage.ts";
import { changes, item, testStorage } from "./storage.ts";

testStorage("memory", async () => new MemoryStorage({ name: "mem-0" }), { durable: false });

test("storage memory lets go of the payloads of removed items", async () => {
  const storage = new MemoryStorage({ name: "mem-0" });
  const made = { queue: "q", number: 0, idPrefix: "x".repeat(18), createdAt: 1 };
  const [key] = await storage.createPartitions([made]);
  const payloads: WeakRef<Uint8Array>[] = [];
  for (let seq = 1; seq <= 2_000; seq++) {
    const payload = Buffer.alloc(10);
    payloads.push(new WeakRef(payload));
    const added = item(seq, { record: new ItemRecord("", payload), dueAt: 5_000 - seq });
    const table = seq % 2 === 0 ? "adds" : "addsScheduled";
    await storage.commit([changes(key!, { [table]: [added] })]);
  }
  const all = [{ first: 1, last: 2_000 }];
  await storage.commit([changes(key!, { removes: all, removesScheduled: all })]);
  await collectGarbage();
  // What the stack or a register still holds may survive.
  const alive = payloads.filter((payload) => payload.deref() !== undefined).length;
  assert.ok(alive < 10, `${alive} payloads are still held`);
  await storage.close();
});

// The audit by itself: when those are told who listen to it, and what an entry may hold.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SystemClock } from "../clock.ts";
import { MemoryStorage } from "../storage/memory.ts";
import { type AuditChange, type AuditEntry, AuditLog, SERVER_DEED } from "./audit.ts";

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

async function open(records = new MemoryStorage({ name: "memory" })): Promise<AuditLog> {
  const usernameOf = (): string => "jane";
  return AuditLog.open({ clock: new SystemClock(), log: SILENT, records, usernameOf });
}

test("who listens is told of an entry once it is durable, and of none that is not", async () => {
  const records = new MemoryStorage({ name: "memory" });
  const audit = await open(records);
  const told: AuditEntry[] = [];
  audit.onEntry((entry) => told.push(entry));
  const note = { deed: SERVER_DEED, target: "jobs" };
  await audit.along([note], async ({ puts, gone }) => {
    assert.deepEqual(told, []);
    await records.putQueues(puts, gone);
  });
  assert.deepEqual(
    told.map(({ target, username }) => [target, username]),
    [["jobs", "jane"]],
  );
  const fails = audit.along([note], () => Promise.reject(new Error("no disk")));
  await assert.rejects(fails, /no disk/);
  assert.equal(told.length, 1);
  // What the failed write may have left goes with the next.
  await audit.along([], async ({ puts, gone }) => {
    assert.deepEqual([puts.length, gone.length], [0, 1]);
  });
});

test("an entry is bounded, whatever has changed", async () => {
  const audit = await open();
  const long = "é".repeat(100_000);
  const changes = Array.from(
    { length: 1_000 },
    (_, i): AuditChange => ({ field: `f${i}`, to: long }),
  );
  await audit.along([{ deed: SERVER_DEED, target: long, changes }], async ({ puts }) => {
    assert.equal(puts.length, 1);
    assert.ok(puts[0]!.record.length < 10_000, `${puts[0]!.record.length}`);
    const { changes: kept } = JSON.parse(puts[0]!.record) as AuditEntry;
    assert.deepEqual(kept.at(-1), { field: "...", to: `${1_000 - (kept.length - 1)} more` });
  });
});

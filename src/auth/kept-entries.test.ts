// What is kept of the audit when there is no room for all of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type AuditEntry, SERVER_DEED, type WhichEntries } from "./audit.ts";
import { KeptEntries } from "./kept-entries.ts";

const ALL: WhichEntries = {
  namespace: "",
  userId: "",
  call: "",
  target: "",
  since: 0,
  until: 0,
  before: "",
  limit: 1_000,
};

let made = 0;

function entry(namespace: string, outcome: AuditEntry["outcome"] = "done"): AuditEntry {
  const id = String(++made).padStart(9, "0");
  const own = { id, at: made, username: "", target: "t", changes: [] };
  return { ...SERVER_DEED, ...own, namespace, outcome };
}

function add(kept: KeptEntries, given: AuditEntry, bytes = 10): readonly string[] {
  const { gone } = kept.makeRoom(1, bytes, 0);
  kept.add(given, bytes);
  return gone;
}

function countIn(kept: KeptEntries, namespace: string): number {
  return kept.list({ ...ALL, namespace }).length;
}

test("who has most of them gives up the oldest, and never others", () => {
  const kept = new KeptEntries({ entries: 100, bytes: 1_000_000 });
  for (let i = 0; i < 10; i++) add(kept, entry("quiet"));
  const flood = Array.from({ length: 500 }, () => entry("busy"));
  const gone = flood.flatMap((each) => add(kept, each));
  assert.deepEqual(
    gone,
    flood.slice(0, 410).map(({ id }) => id),
  );
  assert.deepEqual([countIn(kept, "quiet"), countIn(kept, "busy")], [10, 90]);
  assert.equal(kept.list(ALL).length, 100);
});

test("bytes are bounded too", () => {
  const kept = new KeptEntries({ entries: 1_000, bytes: 1_000 });
  for (let i = 0; i < 20; i++) add(kept, entry("a"), 100);
  assert.equal(countIn(kept, "a"), 10);
  add(kept, entry("b"), 600);
  assert.deepEqual([countIn(kept, "a"), countIn(kept, "b")], [4, 1]);
});

test("what was not allowed pushes out no more than others of it", () => {
  const kept = new KeptEntries({ entries: 100, bytes: 1_000_000 });
  add(kept, entry("a"));
  for (let i = 0; i < 5; i++) add(kept, entry("a", "denied"));
  assert.equal(kept.deniedCount, 5);
  const { gone } = kept.makeRoom(1, 10, 2);
  assert.equal(gone.length, 2);
  assert.deepEqual([kept.deniedCount, countIn(kept, "a")], [3, 4]);
});

test("what went for a write that has failed is there again, in its order", () => {
  const kept = new KeptEntries({ entries: 5, bytes: 1_000_000 });
  for (let i = 0; i < 5; i++) add(kept, entry(i % 2 === 0 ? "a" : "b"));
  const before = kept.list(ALL).map(({ id }) => id);
  const { gone, undo } = kept.makeRoom(3, 30, 0);
  assert.equal(gone.length, 3);
  assert.equal(kept.list(ALL).length, 2);
  undo();
  assert.deepEqual(
    kept.list(ALL).map(({ id }) => id),
    before,
  );
  assert.equal(add(kept, entry("a")).length, 1);
});

test("those from before a time are found in steps, from all namespaces", () => {
  const kept = new KeptEntries({ entries: 100, bytes: 1_000_000 });
  const all = Array.from({ length: 9 }, (_, i) => entry(`n${i % 3}`));
  for (const each of all) add(kept, each);
  const over = all[7]!.at;
  const seen: string[] = [];
  for (;;) {
    const ids = kept.before(over, 3);
    if (ids.length === 0) break;
    assert.ok(ids.length <= 3);
    seen.push(...ids);
    kept.remove(ids);
  }
  assert.deepEqual(
    seen.toSorted(),
    all.slice(0, 7).map(({ id }) => id),
  );
  assert.equal(kept.list(ALL).length, 2);
});

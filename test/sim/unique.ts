// Unique keys, as anybody may check them who knows what was produced with which: a queue never has two items of
// one, and what is answered as a duplicate is one of an item that was there.

import assert from "node:assert/strict";
import type { Window } from "./auditor.ts";
import { certaintyOf } from "./effects.ts";
import type { View } from "./observe.ts";

/** By the number of the item: where it was produced, and with which key. */
export type KeysOfItems = Map<number, { readonly queue: string; readonly key: string }>;

export function checkUnique(window: Window, keys: KeysOfItems): void {
  const [before, after] = [holdersOf(window.before, keys), holdersOf(window.after, keys)];
  for (const [where, numbers] of after) {
    assert.equal(numbers.length, 1, `${where} is that of the items ${numbers.join(", ")}`);
  }
  // Who may have had a key in between, though it is seen neither before nor after.
  const mayHave = new Set<string>();
  const calls = window.calls.filter((call) => call.path === "v2/queue.produce");
  for (const call of calls) {
    const certainty = certaintyOf(call);
    if (certainty === "none") continue;
    for (const [i, { unique_key }] of itemsOf(call.request).entries()) {
      const isBorn = certainty === "maybe" || call.body.results[i].status === "created";
      if (isBorn) mayHave.add(whereOf(String(call.request.queue_name), unique_key));
    }
  }
  for (const call of calls.filter((each) => certaintyOf(each) === "done")) {
    for (const [i, { unique_key }] of itemsOf(call.request).entries()) {
      if (call.body.results[i].status === "created") continue;
      const where = whereOf(String(call.request.queue_name), unique_key);
      const wasTaken = before.has(where) || mayHave.has(where);
      assert.ok(wasTaken, `call ${call.number} finds a duplicate of nothing: ${where}`);
    }
  }
}

const whereOf = (queue: string, key: string): string => `${key} of ${queue}`;

function itemsOf(request: Record<string, unknown>): readonly { readonly unique_key: string }[] {
  return request.items as { unique_key: string }[];
}

// The items that have keys. What has come to another queue has none there.
function holdersOf(view: View, keys: KeysOfItems): ReadonlyMap<string, readonly number[]> {
  const holders = new Map<string, number[]>();
  for (const { name, partitions } of view.queues.values()) {
    for (const { n } of partitions.flatMap(({ items, scheduled }) => [...items, ...scheduled])) {
      const mine = keys.get(n);
      if (mine?.queue !== name) continue;
      const where = whereOf(name, mine.key);
      holders.set(where, [...(holders.get(where) ?? []), n]);
    }
  }
  return holders;
}

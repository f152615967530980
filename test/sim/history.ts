// What queues keep of items that have ended: how each ended, until its time is over, whatever crashes; of no
// more than they are to keep; and nothing that did not happen.

import assert from "node:assert/strict";
import type { Ends } from "./auditor.ts";
import { isSame, type Window } from "./checks.ts";
import type { Place, Way } from "./life.ts";
import type { SeenEnd, SeenQueue, Settings } from "./observe.ts";

/** Until when one is kept, at the earliest and at the latest. */
interface Kept {
  least: number;
  readonly most: number;
}

/** What a window says of one queue. */
interface Scope {
  readonly before: SeenQueue;
  readonly now: SeenQueue;
  readonly window: Window;
  readonly keepLeast: number;
  readonly keepMost: number;
  readonly isBounded: boolean;
}

export class HistoryAuditor {
  // By queue and id.
  readonly #kept = new Map<string, Kept>();
  #latest = 0;

  /** Checks one window. */
  check(window: Window, ends: Ends, itemIdOf: (n: number) => string | undefined): void {
    this.#latest = Math.max(this.#latest, window.after.at, window.before.at);
    for (const [name, now] of window.after.queues) {
      const before = window.before.queues.get(name);
      if (before === undefined || !isSame(name, window)) continue;
      const settings = [before.settings, now.settings, ...(window.settings.get(name) ?? [])];
      const keeps = settings.map(({ keep }) => keep);
      const scope = {
        ...{ before, now, window },
        keepLeast: Math.min(...keeps),
        keepMost: Math.max(...keeps),
        isBounded: settings.some(({ keepMax }) => keepMax < 100),
      };
      this.#checkKept(scope);
      this.#checkNew(scope, settings, ends.get(name)!, itemIdOf);
      checkBound(now);
    }
  }

  #checkKept(scope: Scope): void {
    const { before, now, window, keepLeast, keepMost } = scope;
    for (const [id, { endedAt }] of now.ended) {
      const key = `${now.name} ${now.createdAt} ${id}`;
      const known = this.#kept.get(key) ?? { least: Infinity, most: endedAt + keepMost };
      known.least = Math.min(known.least, endedAt + keepLeast);
      this.#kept.set(key, known);
      const isOver = known.most < window.after.at;
      assert.ok(!isOver, `${now.name}: ${id} is kept beyond its time`);
    }
    for (const [id, end] of before.ended) {
      if (now.ended.has(id)) {
        const { state, result } = now.ended.get(id)!;
        assert.deepEqual([state, result], [end.state, end.result], `${now.name}: end of ${id}`);
        continue;
      }
      const known = this.#kept.get(`${now.name} ${now.createdAt} ${id}`);
      const least = Math.min(known?.least ?? 0, end.endedAt + keepLeast);
      assert.ok(
        least <= this.#latest || isCrowdedOut(id, end.partition, scope),
        `${now.name}: ${id} was ${end.state}, and is kept no more`,
      );
    }
  }

  #checkNew(
    scope: Scope,
    settings: readonly Settings[],
    ends: ReadonlyMap<number, readonly Place[]>,
    itemIdOf: (n: number) => string | undefined,
  ): void {
    const { before, now, window, keepLeast } = scope;
    const hasNoDead = settings.every(({ deadQueue }) => deadQueue === "");
    const ways = new Map<string, Place[]>();
    for (const [n, places] of ends) {
      const id = itemIdOf(n);
      if (id === undefined) continue;
      ways.set(id, [...(ways.get(id) ?? []), ...places]);
      const states = new Set(places.map(({ way }) => stateOf(way, hasNoDead)));
      const [state] = states;
      if (states.size !== 1 || state === "" || keepLeast === 0) continue;
      const end = now.ended.get(id);
      if (end === undefined) {
        const isOver = window.before.at + keepLeast <= this.#latest;
        const where = `${now.name}: item ${n} was ${state}, and is not kept: ${id} of ${[...now.ended.keys()].join(" ")}`;
        assert.ok(isOver || isCrowdedOut(id, undefined, scope), where);
        continue;
      }
      assert.equal(end.state, state, `${now.name}: end of item ${n}`);
      const results = places.map(({ result }) => result);
      assert.ok(
        results.includes(end.result),
        `${now.name}: item ${n} has the result ${end.result}`,
      );
    }
    for (const [id, { state }] of now.ended) {
      if (before.ended.has(id)) continue;
      const isSo = ways.get(id)?.some(({ way }) => stateOf(way, true) === state);
      assert.ok(isSo !== false, `${now.name}: ${id} is kept as ${state}, and was not`);
    }
  }
}

// As it is kept; "" if it is not.
function stateOf(way: Way, hasNoDead: boolean): SeenEnd["state"] | "" {
  if (way === "completed" || way === "cancelled") return way;
  if (!hasNoDead) return "";
  if (way === "expired") return way;
  return way === "rejected" || way === "attempts" ? "rejected" : "";
}

// What was produced first goes first. While time passes others may have gone since.
function isCrowdedOut(id: string, partition: number | undefined, scope: Scope): boolean {
  const { now, window, isBounded } = scope;
  if (!isBounded) return false;
  if (window.before.at !== window.after.at || window.hasTrouble) return true;
  const kept = [...now.ended.values()].filter(
    (each) => partition === undefined || each.partition === partition,
  );
  return kept.length >= 2 && kept.some(({ itemId }) => itemId > id);
}

function checkBound({ name, partitions, ended, settings }: SeenQueue): void {
  for (const [partition] of partitions.entries()) {
    const count = [...ended.values()].filter((each) => each.partition === partition).length;
    assert.ok(count <= settings.keepMax, `${name}/${partition} keeps ${count} that have ended`);
  }
}

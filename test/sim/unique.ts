// Unique keys, as anybody may check them who knows what was produced with which: a queue never has two items of
// one, a key is taken as long as its item says and free exactly then, and what is answered as a duplicate is one
// of an item that was there.

import assert from "node:assert/strict";
import { isSame, spots, type Window } from "./checks.ts";
import { UNIQUE_KEYS } from "./commands.ts";
import { certaintyOf } from "./effects.ts";
import type { SeenItem, SeenQueue } from "./observe.ts";
import type { AllProduced, Wish } from "./produced.ts";
import type { Call } from "./world.ts";

/** What is known of items beside a view. */
export interface Lives {
  /** Whether one has never been leased; undefined if that is not known. */
  isFresh(n: number): boolean | undefined;
  /** Whether one has, or may have, been in a dead queue: there it has lost its key. */
  wasDead(n: number): boolean;
}

/** A key that is taken for a time, whatever becomes of its item: by when it ends, at the earliest and at the latest. */
interface Period {
  readonly n: number;
  readonly least: number;
  readonly most: number;
  isCertain: boolean;
}

/** What a produce says, and was told, of one item with a key. */
interface Asked {
  readonly call: Call;
  readonly n: number;
  readonly wish: Wish;
  readonly status: "created" | "replaced" | "taken" | "maybe";
}

// After a step of the wall clock what was over may hold again.
const REMEMBERED = 400e6;

export class KeyAuditor {
  readonly #produced: AllProduced;
  // By queue and key.
  readonly #periods = new Map<string, Period[]>();

  constructor(produced: AllProduced) {
    this.#produced = produced;
  }

  /** Checks one window. */
  check(window: Window, lives: Lives): void {
    for (const [name, queue] of window.after.queues) {
      const asked = this.#askedOf(name, window);
      if (!isSame(name, window)) {
        for (const key of UNIQUE_KEYS) this.#periods.delete(`${name} ${key}`);
      }
      for (const key of UNIQUE_KEYS) {
        const mine = asked.filter(({ wish }) => wish.key === key);
        const periods = this.#periods.get(`${name} ${key}`) ?? [];
        if (isSame(name, window)) this.#checkAnswers(key, mine, { name, window, periods, lives });
        const now = notePeriods(periods, mine, window);
        this.#periods.set(`${name} ${key}`, now);
        this.#checkKey(queue, key, { periods: now, at: window.after.at, lives });
      }
      this.#checkShown(queue, lives);
    }
  }

  #askedOf(queue: string, { calls }: Window): readonly Asked[] {
    return calls.flatMap((call) => {
      const certainty = certaintyOf(call);
      const isMine = call.path === "v2/queue.produce" && call.request.queue_name === queue;
      if (!isMine || certainty === "none") return [];
      const { items } = call.request as { items: { utf8: string }[] };
      return items.flatMap(({ utf8 }, i): Asked[] => {
        const n = Number(utf8);
        const { wish } = this.#produced.get(n)!;
        if (wish === undefined) return [];
        if (certainty === "maybe") return [{ call, n, wish, status: "maybe" }];
        const { status = "" } = call.body.results[i];
        const isNew = status === "created" || status === "scheduled";
        return [
          { call, n, wish, status: isNew ? "created" : status === "replaced" ? status : "taken" },
        ];
      });
    });
  }

  // Who has a key that ends with its item, for sure or perhaps, and who waits behind.
  #holdersOf(queue: SeenQueue, key: string, lives: Lives) {
    const sure: SeenItem[] = [];
    const perhaps: SeenItem[] = [];
    const behind: SeenItem[] = [];
    for (const { item } of spots(queue).values()) {
      if (item.uniqueKey !== key) continue;
      const { wish } = this.#produced.get(item.n)!;
      if (item.isBehind) behind.push(item);
      else if (wish!.until === "pending") sure.push(item);
      else if (wish!.until === "waiting") {
        const isFresh = lives.isFresh(item.n);
        if (isFresh === true) sure.push(item);
        else if (isFresh === undefined) perhaps.push(item);
      }
    }
    return { sure, perhaps, behind };
  }

  #checkKey(
    queue: SeenQueue,
    key: string,
    { periods, at, lives }: { periods: readonly Period[]; at: number; lives: Lives },
  ): void {
    const where = `${queue.name}: ${key}`;
    const numbers = (items: readonly SeenItem[]): string => items.map(({ n }) => n).join(", ");
    const { sure, perhaps, behind } = this.#holdersOf(queue, key, lives);
    assert.ok(sure.length <= 1, `${where} is that of the items ${numbers(sure)}`);
    assert.ok(behind.length <= 1, `${where}: the items ${numbers(behind)} wait behind another`);
    const [holder] = sure;
    assert.ok(
      behind.length === 0 || holder !== undefined,
      `${where}: item ${numbers(behind)} waits behind none`,
    );
    const taken = queue.keys.get(key);
    if (holder !== undefined) {
      assert.equal(taken, holder.itemId, `${where} is not taken by item ${holder.n}`);
      return;
    }
    const must = periods.find(({ isCertain, least }) => isCertain && least > at);
    assert.ok(taken !== undefined || must === undefined, `${where} is free too early: ${must?.n}`);
    const may = perhaps.length > 0 || periods.some(({ most }) => most > at);
    assert.ok(taken === undefined || may, `${where} is taken by nobody: ${taken}`);
  }

  // An item has its key until it is dead, and none then.
  #checkShown(queue: SeenQueue, { wasDead }: Lives): void {
    for (const { item } of spots(queue).values()) {
      const { wish, queue: from } = this.#produced.get(item.n) ?? {};
      if (wish === undefined) continue;
      const where = `${queue.name}: item ${item.n}`;
      if (queue.name === "dead" && from !== "dead") {
        assert.equal(item.uniqueKey, "", `${where} is dead and has a key`);
      } else if (wish.until === "pending" && from === queue.name && !wasDead(item.n)) {
        assert.equal(item.uniqueKey, wish.key, `${where} has lost its key`);
      }
    }
  }

  #checkAnswers(
    key: string,
    asked: readonly Asked[],
    {
      name,
      window,
      periods,
      lives,
    }: { name: string; window: Window; periods: readonly Period[]; lives: Lives },
  ): void {
    const before = window.before.queues.get(name)!;
    const now = window.after.queues.get(name)!;
    const mayHave = before.keys.has(key) || asked.some(({ status }) => status !== "taken");
    const [holder] = this.#holdersOf(before, key, lives).sure;
    const isStill =
      holder !== undefined && this.#holdersOf(now, key, lives).sure[0]?.n === holder.n;
    const isReplaced = asked.some(({ status }) => status === "replaced" || status === "maybe");
    const { at } = window.after;
    const period = periods.find(({ isCertain, least }) => isCertain && least > at);
    for (const { call, n, status, wish } of asked) {
      const where = `call ${call.number}: ${key} of ${name}`;
      assert.ok(status !== "taken" || mayHave, `${where} finds a duplicate of nothing`);
      if (status !== "created") continue;
      assert.ok(
        !isStill || wish.onDuplicate === "keep_latest",
        `${where}: item ${n} was created, and the key was that of item ${holder?.n}`,
      );
      assert.ok(
        period === undefined || isReplaced,
        `${where}: item ${n} was created, and the key was that of item ${period?.n} for a time`,
      );
    }
  }
}

// What is taken for a time after the window. Whoever takes the place of another has the say from then on.
function notePeriods(
  before: readonly Period[],
  asked: readonly Asked[],
  { after }: Window,
): Period[] {
  const periods = before.filter(({ most }) => most + REMEMBERED > after.at);
  for (const each of periods) if (each.least <= after.at) each.isCertain = false;
  const isSure = asked.every(({ status }) => status === "created" || status === "taken");
  if (!isSure) for (const each of periods) each.isCertain = false;
  const created = asked.filter(({ status }) => status === "created");
  for (const { call, n, wish, status } of asked) {
    if (status === "taken" || wish.until !== "period") continue;
    const least = call.startedAt + wish.period;
    const most = after.at + wish.period;
    periods.push({ n, least, most, isCertain: isSure && created.length === 1 && least > after.at });
  }
  return periods;
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { HOUR, MILLISECOND, MINUTE, SECOND } from "../clock.ts";
import { NO_RECORD } from "../storage/storage.ts";
import { Arrivals } from "./arrivals.ts";
import { COUNT } from "./counts.ts";
import { Grant, Item } from "./item.ts";
import { Measures } from "./measures.ts";
import { TimeHistogram } from "./time-histogram.ts";

const START = 1_000 * SECOND;

function counts(numbers: Partial<Record<keyof typeof COUNT, number>>): number[] {
  const all = Array<number>(16).fill(0);
  for (const [name, number] of Object.entries(numbers)) all[COUNT[name as "produced"]] = number;
  return all;
}

function itemsOf(first: number, count: number): Item[] {
  return Array.from({ length: count }, (_, i) => {
    const item = new Item(NO_RECORD, 0);
    item.seq = first + i;
    return item;
  });
}

test("a percentile is never too low, and at most an eighth too high", () => {
  // Each time by itself, from less than the shortest bucket to more than the longest.
  for (let time = 1; time < 2 ** 39; time = Math.ceil(time * 1.01)) {
    const histogram = new TimeHistogram();
    histogram.note(time, 1, START);
    // So the longest does not tell it.
    histogram.note(2 ** 45, 1, START);
    const { p50, max } = histogram.times(START)!;
    assert.ok(p50 >= time, `${time}: ${p50}`);
    assert.ok(p50 <= Math.max(time * 1.125, 64), `${time}: ${p50}`);
    assert.equal(max, 2 ** 45);
  }
});

test("percentiles tell how many took no longer", () => {
  const histogram = new TimeHistogram();
  assert.equal(histogram.times(START), undefined);
  // A hundred, one for each millisecond.
  for (let ms = 1; ms <= 100; ms++) histogram.note(ms * MILLISECOND, 1, START);
  const ends = { p50: 53_248, p90: 90_112, p95: 98_304, p99: 100_000 };
  assert.deepEqual(histogram.times(START), { count: 100, ...ends, max: 100_000 });
  // What takes as long as all others takes no longer than the longest.
  const same = new TimeHistogram();
  same.note(SECOND, 20, START);
  const [p50, max] = [SECOND, SECOND];
  assert.deepEqual(same.times(START), { count: 20, p50, p90: p50, p95: p50, p99: p50, max });
  // Of twenty the 19th is the 95th percentile.
  same.note(MINUTE, 1, START);
  same.note(0, 1, START);
  assert.equal(same.times(START)!.p95, 1_048_576);
  const none = new TimeHistogram();
  none.note(0, 1, START);
  assert.deepEqual(none.times(START), { count: 1, p50: 0, p90: 0, p95: 0, p99: 0, max: 0 });
});

test("percentiles are of five minutes, and totals of all", () => {
  const histogram = new TimeHistogram();
  const begin = 10 * MINUTE;
  for (let minute = 0; minute < 7; minute++) {
    histogram.note((minute + 1) * SECOND, 10 ** minute, begin + minute * MINUTE + 59 * SECOND);
  }
  const at = begin + 7 * MINUTE - 1;
  assert.equal(histogram.times(at)!.count, 1_111_100);
  assert.equal(histogram.times(at + 1)!.count, 1_111_000);
  assert.equal(histogram.times(at + HOUR), undefined);
  const sum = Array.from({ length: 7 }, (_, i) => (i + 1) * SECOND * 10 ** i);
  const bounds = [0, 2 ** 20, 2 ** 21, 2 ** 22, 2 ** 23, Number.POSITIVE_INFINITY];
  const totals = {
    count: 1_111_111,
    sum: sum.reduce((all, each) => all + each),
    below: [0, 1, 11, 1_111, 1_111_111, 1_111_111],
  };
  assert.deepEqual(histogram.totals(bounds), totals);
  // Windows are used again, and nothing of what was in them comes back.
  histogram.note(SECOND, 1, at + HOUR);
  assert.equal(histogram.times(at + HOUR)!.count, 1);
  assert.equal(histogram.totals([]).count, 1_111_112);
});

test("rates are those of the last minute, to the second", () => {
  const measures = new Measures(0);
  const rates = (at: number): number[] => {
    const { produced, completed, dead } = measures.tell(at).rates;
    return [produced, completed, dead];
  };
  assert.deepEqual(rates(START), [0, 0, 0]);
  const first = counts({ produced: 600, deadExpired: 60 });
  measures.count([], first, START);
  assert.deepEqual(rates(START), [10, 0, 1]);
  const second = counts({ produced: 660, deadExpired: 60, completed: 60, deadRejected: 60 });
  measures.count(first, second, START + 30 * SECOND);
  assert.deepEqual(rates(START + 30 * SECOND), [11, 1, 2]);
  assert.deepEqual(rates(START + 60 * SECOND), [11, 1, 2]);
  // They leave as gradually as they may have come.
  assert.deepEqual(rates(START + 61 * SECOND), [9, 1, 1.8]);
  assert.deepEqual(rates(START + 65 * SECOND), [1, 1, 1]);
  assert.deepEqual(rates(START + 95 * SECOND), [0, 0, 0]);
  measures.count(second, [720, ...second.slice(1)], START + HOUR);
  assert.deepEqual(rates(START + HOUR), [1, 0, 0]);
});

test("rates of a queue that is younger than a minute are those of its life", () => {
  const measures = new Measures(START);
  measures.count([], counts({ leased: 120 }), START);
  const leased = (at: number): number => measures.tell(at).rates.leased;
  assert.deepEqual(
    [0, 1, 2, 60].map((s) => leased(START + s * SECOND)),
    [120, 120, 60, 2],
  );
});

test("what ends a lease tells for how long it was held", () => {
  const measures = new Measures(0);
  const held = (seconds: number): Item => {
    const item = new Item(NO_RECORD, 0);
    item.grant = new Grant(1, 1);
    item.grant.heldSince = START - seconds * SECOND;
    return item;
  };
  const [one, two] = [held(1), held(2)];
  const alike = new Item(NO_RECORD, 0);
  alike.grant = two.grant;
  measures.ended([one, two, alike], START);
  assert.deepEqual(measures.run.totals([2 ** 20]), { count: 3, sum: 5 * SECOND, below: [1] });
});

test("items have waited since the batch that has put them in line", () => {
  const arrivals = new Arrivals();
  arrivals.note(1, START);
  arrivals.note(11, START + SECOND);
  arrivals.note(21, START + 3 * SECOND);
  const waits = (items: readonly Item[]): number[] => {
    const histogram = new TimeHistogram();
    const steady = START + 8 * SECOND;
    arrivals.measure(items, { now: 100 * SECOND, steady }, histogram);
    const { count, sum } = histogram.totals([]);
    return [count, sum / SECOND];
  };
  assert.deepEqual(waits(itemsOf(1, 30)), [30, 10 * 8 + 10 * 7 + 10 * 5]);
  assert.deepEqual(waits(itemsOf(10, 2)), [2, 8 + 7]);
  assert.deepEqual(waits([...itemsOf(2, 1), ...itemsOf(25, 1)]), [2, 8 + 5]);
  arrivals.forget(11);
  assert.deepEqual(waits(itemsOf(11, 11)), [11, 10 * 7 + 5]);
  // What was there before tells when it was produced, unless it has moved.
  const [old, moved] = itemsOf(3, 2) as [Item, Item];
  old.createdAt = 40 * SECOND;
  moved.attributes = '{"id":"a"}';
  assert.deepEqual(waits([old, moved, ...itemsOf(21, 1)]), [2, 60 + 5]);
});

test("of a long line it is known to a thirty-second since when it waits", () => {
  const arrivals = new Arrivals();
  const batches = 200_000;
  const at = (batch: number): number => START + batch * MILLISECOND;
  for (let batch = 1; batch <= batches; batch++) arrivals.note(batch, at(batch));
  for (let seq = 1; seq <= batches; seq += 97) {
    const histogram = new TimeHistogram();
    const steady = at(batches);
    arrivals.measure(itemsOf(seq, 1), { now: 0, steady }, histogram);
    const { sum } = histogram.totals([]);
    const wait = steady - at(seq);
    assert.ok(sum >= wait && sum <= wait * (1 + 1 / 32), `${seq}: ${sum}, not ${wait}`);
  }
});

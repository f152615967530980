// What is not small shares each turn of the event loop, and the turn with all that is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Clock, MILLISECOND, VirtualClock } from "../clock.ts";
import { Chunks } from "./chunks.ts";
import { Share } from "./share.ts";

// Steps that take as long as they say, and in which turn each was done.
function setup(): { clock: VirtualClock; work: (ms: number) => () => void; turns: number[] } {
  const clock = new VirtualClock();
  const turns: number[] = [];
  let turn = 0;
  const count = (): void => {
    turn++;
    if (turn < 100) setImmediate(count);
  };
  setImmediate(count);
  return {
    clock,
    turns,
    work: (ms) => () => {
      turns.push(turn);
      clock.advance(ms * MILLISECOND);
    },
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("steps beyond the share of a turn wait for later ones, in order", async () => {
  const { clock, turns, work } = setup();
  const share = new Share(clock as Clock);
  for (const ms of [4, 4, 4, 20, 1, 1]) share.do(work(ms));
  assert.equal(turns.length, 3, "three fit: the third has begun in time");
  for (let i = 0; i < 10; i++) await turn();
  assert.equal(turns.length, 6);
  const [first, second, third, fourth, fifth, sixth] = turns as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  assert.deepEqual([first, second, third], [0, 0, 0]);
  assert.ok(fourth > third && fifth > fourth && sixth === fifth, turns.join());
});

test("one who does one step after the other is not ahead of others", async () => {
  const { clock, work } = setup();
  const share = new Share(clock as Clock);
  const order: string[] = [];
  const go = (name: string, left: number) => (): void => {
    order.push(name);
    work(10)();
    if (left > 1) share.do(go(name, left - 1));
  };
  share.do(work(50));
  share.do(go("a", 3));
  share.do(go("b", 3));
  for (let i = 0; i < 20; i++) await turn();
  assert.equal(order.join(""), "ababab");
});

test("what a step answers or throws is the answer, also of one that waited", async () => {
  const { clock, work } = setup();
  const share = new Share(clock as Clock);
  share.do(work(50));
  assert.equal(await share.run(() => 1), 1);
  await assert.rejects(
    share.run(() => {
      throw new Error("no");
    }),
    /no/,
  );
});

test("pieces of any size make up the same bytes", () => {
  for (const sizes of [
    [],
    [5],
    Array(40).fill(1),
    Array(70_000).fill(2),
    [1, 9_000, ...Array(20).fill(3_000), 70_000, 1],
  ]) {
    const chunks = new Chunks();
    const pieces = (sizes as number[]).map((size, i) => Buffer.alloc(size, i));
    for (const piece of pieces) chunks.add(piece);
    assert.ok(chunks.take().equals(Buffer.concat(pieces)), `${sizes.length} pieces`);
    assert.equal(chunks.take().length, 0);
  }
});

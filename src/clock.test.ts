import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { HOUR, MILLISECOND, SECOND, SystemClock, VirtualClock } from "./clock.ts";

test("steady time is the same for all threads", async () => {
  const clock = new SystemClock();
  const source = `
    import { SystemClock } from ${JSON.stringify(new URL("./clock.ts", import.meta.url))};
    import { parentPort } from "node:worker_threads";
    const clock = new SystemClock();
    parentPort.on("message", () => parentPort.postMessage(clock.steady()));
  `;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  const worker = new Worker(url);
  try {
    for (let i = 0; i < 20; i++) {
      const before = clock.steady();
      worker.postMessage("");
      const [there] = (await once(worker, "message")) as [number];
      const after = clock.steady();
      assert.ok(before - 100 <= there && there <= after + 100, `${before} ${there} ${after}`);
    }
  } finally {
    await worker.terminate();
  }
});

test("wall time follows every step of its source, and steady time none", () => {
  let shift = 0;
  const clock = new SystemClock({ wallMs: () => Date.now() + shift });
  for (const step of [0, 3_600_000, -7_200_000, 40, -40]) {
    const steady = clock.steady();
    shift += step;
    const off = clock.now() / 1_000 - (Date.now() + shift);
    assert.ok(Math.abs(off) < 50, `${step}: off by ${off} ms`);
    const passed = clock.steady() - steady;
    assert.ok(passed >= 0 && passed < 50 * MILLISECOND, `${step}: ${passed} passed`);
  }
});

test("a timer for a wall time rings soon after a step passes it, and not before its time after one back", async () => {
  let shift = 0;
  const clock = new SystemClock({ wallMs: () => Date.now() + shift });
  const forward = Promise.withResolvers<void>();
  let isEarly = false;
  clock.wakeAt(clock.now() + HOUR, forward.resolve);
  const at = clock.now() + HOUR + 100 * MILLISECOND;
  const back = Promise.withResolvers<void>();
  clock.wakeAt(at, () => {
    isEarly = clock.now() < at;
    back.resolve();
  });
  // The looks of a clock keep no process alive.
  const alive = setInterval(() => undefined, 1_000);
  shift = 3_600_000 - 1;
  await forward.promise;
  shift -= 200;
  await back.promise;
  clearInterval(alive);
  assert.equal(isEarly, false);
});

test("a timer for a while takes its time, whatever is done to the wall clock", async () => {
  let shift = 0;
  const clock = new SystemClock({ wallMs: () => Date.now() + shift });
  const from = performance.now();
  const rung = new Promise<void>((resolve) => clock.wakeAfter(100 * MILLISECOND, resolve));
  shift = -3_600_000;
  await rung;
  assert.ok(performance.now() - from >= 100);
});

test("of a virtual clock both times go on together, but for a step", () => {
  const clock = new VirtualClock();
  const [now, steady] = [clock.now(), clock.steady()];
  const rung: string[] = [];
  clock.wakeAt(now + 2 * SECOND, () => rung.push("wall"));
  clock.wakeAfter(SECOND, () => rung.push("steady"));
  clock.step(HOUR);
  assert.deepEqual([clock.now() - now, clock.steady() - steady], [HOUR, 0]);
  assert.deepEqual(rung, ["wall"]);
  clock.step(-HOUR);
  clock.advance(SECOND);
  assert.deepEqual([clock.now() - now, clock.steady() - steady], [SECOND, SECOND]);
  assert.deepEqual(rung, ["wall", "steady"]);
  clock.set(now);
  assert.deepEqual([clock.now() - now, clock.steady() - steady], [0, SECOND]);
});

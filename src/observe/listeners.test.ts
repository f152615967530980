import assert from "node:assert/strict";
import { test } from "node:test";
import { MILLISECOND, SECOND, VirtualClock } from "../clock.ts";
import { queueError } from "../errors.ts";
import { Listeners, type Outlet } from "./listeners.ts";
import { Ring } from "./ring.ts";

const RUN = "0123abcd";
const INTEREST = { namespace: "", queues: [], audit: "" } as const;

/** Where a listener of a test is sent to: takes what it is given as long as it is told to. */
class Sent implements Outlet {
  takes = true;
  isEnded = false;
  isDestroyed = false;
  readonly chunks: Buffer[] = [];
  drain: () => void = () => undefined;

  write(bytes: Buffer): boolean {
    this.chunks.push(bytes);
    return this.takes;
  }

  onDrain(drained: () => void): void {
    this.drain = drained;
  }

  end(): void {
    this.isEnded = true;
  }

  destroy(): void {
    this.isDestroyed = true;
  }

  get bytes(): number {
    return this.chunks.reduce((sum, { length }) => sum + length, 0);
  }

  /** The types and what else counts of what was sent. */
  get told(): string[] {
    const text = Buffer.concat(this.chunks).toString();
    return Array.from(
      text.matchAll(/^data: (.*)$/gm),
      ([, data]) => JSON.parse(data!) as { type: string; attempts?: number; at_most?: number },
    ).map(({ type, attempts, at_most }) => `${type} ${attempts ?? at_most ?? ""}`);
  }
}

function setup(max: number) {
  const clock = new VirtualClock();
  const ring = new Ring(max);
  const listeners = new Listeners(
    {
      ring,
      follow: async () => undefined,
      unfollow: () => undefined,
      listen: async () => ({ run: RUN, since: 0, end: ring.end }),
      unlisten: () => undefined,
      pageFrom: undefined,
    },
    clock,
  );
  let n = 0;
  return {
    clock,
    ring,
    listeners,
    async add(): Promise<Sent> {
      const sent = new Sent();
      const wish = { interest: INTEREST, what: undefined, item: "" };
      await listeners.add({ wish, after: "", mayListen: () => true }, () => sent);
      return sent;
    },
    /** So many items are leased, each once more often than the one before. */
    happen(count: number): void {
      for (let i = 0; i < count; i++) {
        const queue = "jobs";
        const where = { at: 0, queue, partition: 0, prefix: "p".repeat(18) };
        ring.append({ ...where, what: [3], ids: [n], attempts: [n++] });
      }
      listeners.wake();
    },
    pass(duration: number): void {
      clock.advance(duration);
    },
  };
}

const leased = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => `leased ${from + i}`);

test("who does not take what it is sent is sent no more, and is told of the gap when it does", async () => {
  const { add, happen, pass } = setup(100);
  const slow = await add();
  const quick = await add();
  slow.takes = false;
  happen(10);
  pass(SECOND);
  for (let i = 0; i < 50; i++) {
    happen(50);
    pass(SECOND);
  }
  assert.deepEqual(quick.told, leased(0, 2_510));
  assert.deepEqual(slow.told, leased(0, 10));
  const before = slow.chunks.length;
  slow.takes = true;
  slow.drain();
  pass(SECOND);
  assert.equal(slow.chunks.length, before + 1, "the gap and what is behind it in one piece");
  assert.deepEqual(slow.told, [...leased(0, 10), "gap 2400", ...leased(2_410, 100)]);
});

test("all that are at the same place with the same wish are sent the same bytes", async () => {
  const { add, happen, pass } = setup(1_000);
  const all = [await add(), await add(), await add()];
  happen(100);
  pass(SECOND);
  assert.equal(new Set(all.map(({ chunks }) => chunks[0])).size, 1);
});

test("a listener that hears nothing is sent its cursor every 15 seconds", async () => {
  const { add, pass } = setup(10);
  const sent = await add();
  pass(15 * SECOND + MILLISECOND);
  assert.equal(Buffer.concat(sent.chunks).toString(), `: \nid: ${RUN}.0\n\n`);
  pass(15 * SECOND + MILLISECOND);
  assert.equal(sent.chunks.length, 2);
});

test("a listener that takes nothing for a minute is cut off", async () => {
  const { add, happen, pass } = setup(10);
  const sent = await add();
  sent.takes = false;
  happen(1);
  for (let i = 0; i < 8; i++) pass(10 * SECOND);
  assert.equal(sent.isDestroyed, true);
});

test("the end is told to all, and nobody is let in after it", async () => {
  const { add, listeners } = setup(10);
  const sent = await add();
  listeners.close(queueError("shutting_down", {}));
  assert.deepEqual(sent.told, ["end "]);
  assert.equal(sent.isEnded, true);
  await assert.rejects(add(), { code: "shutting_down" });
});

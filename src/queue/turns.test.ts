import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as eventLoop } from "node:timers/promises";
import { MILLISECOND, VirtualClock } from "../clock.ts";
import { MemoryStorage } from "../storage/memory.ts";
import { type Committer, Turns, type TurnTaker } from "./turns.ts";

// More rounds of the event loop than turns take to look for requests.
const ROUNDS = 10;

/** A queue with so many clients, each of which has one request at a time. */
class Clients implements TurnTaker {
  readonly committer: Committer;
  readonly #turns: Turns;
  /** How many requests each turn has found. */
  readonly turns: number[] = [];
  #asking = 0;
  #isAwake = false;

  constructor(turns: Turns, committer: Committer) {
    this.#turns = turns;
    this.committer = committer;
  }

  ask(count: number): void {
    for (let i = 0; i < count; i++) {
      this.#asking++;
      this.#turns.noteArrival(this);
    }
    if (!this.#isAwake) this.#turns.wake(this);
    this.#isAwake = true;
  }

  takeTurn(): void {
    const found = this.#asking;
    this.#isAwake = false;
    this.#asking = 0;
    this.turns.push(found);
    void this.committer.commit([]).then(() => this.committer.noteAnswers(found));
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < ROUNDS; i++) await eventLoop();
}

// Commits that take so long; those before the test have made that known.
async function setUp(commitTime: number): Promise<{ clock: VirtualClock; clients: Clients }> {
  const clock = new VirtualClock();
  const storage = new MemoryStorage({ name: "slow" });
  storage.commit = async () => clock.advance(commitTime);
  const turns = new Turns({ pace: clock });
  const clients = new Clients(turns, turns.committer(storage));
  for (let i = 0; i < 20; i++) {
    clients.ask(10);
    await settle();
  }
  clients.turns.length = 0;
  return { clock, clients };
}

test("a turn waits for most of the clients that a slow commit has answered", async () => {
  const { clients } = await setUp(4 * MILLISECOND);
  clients.ask(1);
  await settle();
  clients.ask(6);
  await settle();
  assert.deepEqual(clients.turns, []);
  clients.ask(1);
  await settle();
  assert.deepEqual(clients.turns, [8]);
});

test("a turn waits no longer than a slow commit takes", async () => {
  const { clock, clients } = await setUp(4 * MILLISECOND);
  clients.ask(1);
  await settle();
  clock.advance(3.6 * MILLISECOND);
  await settle();
  assert.deepEqual(clients.turns, []);
  clock.advance(0.4 * MILLISECOND);
  await settle();
  assert.deepEqual(clients.turns, [1]);
});

test("a turn waits for nobody where commits are fast", async () => {
  const { clients } = await setUp(0.2 * MILLISECOND);
  clients.ask(1);
  await settle();
  assert.deepEqual(clients.turns, [1]);
});

test("a lone client is not waited for once it has come back alone", async () => {
  const { clock, clients } = await setUp(4 * MILLISECOND);
  clients.ask(1);
  await settle();
  clock.advance(4 * MILLISECOND);
  await settle();
  assert.deepEqual(clients.turns, [1]);
  clients.ask(1);
  await settle();
  assert.deepEqual(clients.turns, [1, 1]);
});

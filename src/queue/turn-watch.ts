// How long the turns of a loop take, and where: for the metrics, for the log if one is slow, and for who asks what the
// loop is doing. A few readings of the clock for each turn, whatever it does.

import { toMs } from "../slow.ts";
import type { Turns } from "./turns.ts";

export class TurnWatch {
  readonly #queue: string;
  readonly #turns: Turns;
  // Of the turn under way, or of the last one, in steady time: when it began, had read what its plan needs, was planned,
  // and had its first commit behind it. 0 for what it has not come to.
  #begunAt = 0;
  #readAt = 0;
  #plannedAt = 0;
  #writtenAt = 0;
  #requests = 0;
  #isUnderWay = false;

  constructor(queue: string, turns: Turns) {
    this.#queue = queue;
    this.#turns = turns;
  }

  /** When the turn under way has begun. */
  get begunAt(): number {
    return this.#begunAt;
  }

  /** For how long the turn under way has been so, in microseconds; 0 if there is none. */
  get time(): number {
    return this.#isUnderWay ? Math.max(this.#turns.steady() - this.#begunAt, 0) : 0;
  }

  /** What the turn under way is doing; "" if there is none. */
  get phase(): "" | "reading" | "planning" | "committing" | "following" {
    if (!this.#isUnderWay) return "";
    if (this.#readAt === 0) return "reading";
    if (this.#plannedAt === 0) return "planning";
    return this.#writtenAt === 0 ? "committing" : "following";
  }

  begin(): void {
    this.#begunAt = this.#turns.steady();
    this.#readAt = 0;
    this.#plannedAt = 0;
    this.#writtenAt = 0;
    this.#requests = 0;
    this.#isUnderWay = true;
  }

  /** All is read that the plan for so many requests needs. */
  read(requests: number): void {
    this.#readAt = this.#turns.steady();
    this.#requests = requests;
  }

  planned(): void {
    this.#plannedAt = this.#turns.steady();
  }

  written(): void {
    this.#writtenAt = this.#turns.steady();
  }

  end(): void {
    const turns = this.#turns;
    const now = turns.steady();
    const time = now - this.#begunAt;
    this.#isUnderWay = false;
    turns.times.turn.note(time);
    const slow = turns.slow?.turns;
    if (slow === undefined || time < slow.limit) return;
    slow.note(this.#queue, time, () => {
      const readAt = this.#readAt || now;
      const plannedAt = this.#plannedAt || readAt;
      const writtenAt = this.#writtenAt || (this.#plannedAt === 0 ? plannedAt : now);
      return {
        requests: this.#requests,
        read_ms: toMs(readAt - this.#begunAt),
        plan_ms: toMs(plannedAt - readAt),
        commit_ms: toMs(writtenAt - plannedAt),
        // What came of it: dead letters, what other queues have asked for, steps of operations.
        after_ms: toMs(now - writtenAt),
      };
    });
  }
}

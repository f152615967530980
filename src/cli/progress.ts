// How far a long command is, in one line of stderr that is drawn again and again. Only for people:
// if stderr is no terminal, nothing is drawn.

import { type Clock, MILLISECOND, SECOND } from "../clock.ts";
import { count } from "./text.ts";

const DRAW_EVERY = 100 * MILLISECOND;
const BAR_COLUMNS = 24;

export class Progress {
  readonly #clock: Clock;
  readonly #what: string;
  readonly #isDrawn = process.stderr.isTTY;
  readonly #since: number;
  #drawnAt = 0;

  constructor(clock: Clock, what: string) {
    this.#clock = clock;
    this.#what = what;
    this.#since = clock.steady();
  }

  /** Tells how many are done, of how many if that is known. */
  update(
    done: number,
    total?: number,
    share = total === undefined ? undefined : done / total,
  ): void {
    const now = this.#clock.steady();
    if (!this.#isDrawn || now - this.#drawnAt < DRAW_EVERY) return;
    this.#drawnAt = now;
    const seconds = (now - this.#since) / SECOND;
    const rate = seconds > 0 ? `, ${count(Math.round(done / seconds))} a second` : "";
    process.stderr.write(`\r\x1b[K${bar(share)}${count(done)} ${this.#what}${rate}`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#isDrawn && this.#drawnAt > 0) process.stderr.write("\r\x1b[K");
  }
}

function bar(share: number | undefined): string {
  if (share === undefined || !Number.isFinite(share)) return "";
  const part = Math.min(Math.max(share, 0), 1);
  const full = Math.round(part * BAR_COLUMNS);
  return `${"█".repeat(full)}${"░".repeat(BAR_COLUMNS - full)} ${Math.floor(part * 100)}%  `;
}

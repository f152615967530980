// A request that was refused, or only reads, has changed nothing: the whole visible state is the same
// before and after it. Inputs that are hardly ever accepted are sent in groups, with one look at the state for
// each group; all others one by one, with a look after each. What time alone does to items - a lease
// ends, an item expires - is told apart by the deadlines that the state itself shows.

import { setTimeout as sleep } from "node:timers/promises";
import type { PipeClient } from "../support/pipe-client.ts";
import type { Findings } from "./findings.ts";
import type { Input } from "./input.ts";
import { isUnknown, type Judged } from "./judge.ts";
import { differences, readState, type State, somethingWasDue } from "./visible-state.ts";

const GROUP = 12;
const REST_TRIES = 20;
const REST_MS = 5;

/** Sends and judges inputs side by side; answers undefined for what was given up or is a fault. */
export type Explore = (inputs: readonly Input[]) => Promise<readonly (Judged | undefined)[]>;

/** Sends inputs, and looks at the state before and after those that must not change it. */
export class Refusals {
  readonly #client: PipeClient;
  readonly #findings: Findings;
  /** The state as it was seen last, unless something was accepted since. */
  #known: State | undefined;

  constructor(client: PipeClient, findings: Findings) {
    this.#client = client;
    this.#findings = findings;
  }

  /** Sends all inputs, and looks whether those that must not change anything do. */
  async check(inputs: readonly Input[], explore: Explore): Promise<void> {
    this.#known = undefined;
    const hopeless = inputs.filter((input) => input.hopeless === true);
    for (let at = 0; at < hopeless.length; at += GROUP) {
      await this.#send(hopeless.slice(at, at + GROUP), explore);
    }
    for (const input of inputs) if (input.hopeless !== true) await this.#send([input], explore);
  }

  async #send(group: readonly Input[], explore: Explore): Promise<void> {
    const before = this.#known ?? (await this.#stateAtRest());
    this.#known = undefined;
    const outcomes = await explore(group);
    const inert = outcomes.every((judged, i) => judged !== undefined && isInert(group[i]!, judged));
    if (!inert) return;
    const after = await readState(this.#client);
    const changed = differences(before, after);
    if (changed.length === 0) {
      this.#known = after;
      this.#findings.held += group.length;
    } else if (!somethingWasDue(before, Date.now())) {
      const kind = "a request that was refused, or only reads, changes something";
      this.#findings.found({ kind, detail: changed.join("; ") }, group);
    }
  }

  // What earlier requests have set in motion - expiries, letters to a dead queue - comes to its end.
  async #stateAtRest(): Promise<State> {
    let state = await readState(this.#client);
    for (let i = 0; i < REST_TRIES; i++) {
      await sleep(REST_MS);
      const next = await readState(this.#client);
      if (differences(state, next).length === 0) return next;
      state = next;
    }
    return state;
  }
}

// Reads are accepted and change nothing all the same.
function isInert(input: Input, judged: Judged): boolean {
  const { status } = judged;
  if (isUnknown(judged)) return false;
  const reads = input.endpoint.reads && input.path === input.endpoint.path && !input.raw;
  return status === 200 ? reads : status !== 0;
}

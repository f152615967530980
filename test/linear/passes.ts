// Leases, put together into passes. The server deals the items of one pass one at a time in turn to
// all leases that wait, under one deadline, so leases with the same deadline are one step: together
// they take what stands at the head. Leases whose replies were lost may have taken items as well;
// how many at most is kept here, and no more: which of them took what is left open.

import { type Lease, type LeasedItem, REPLIES } from "./history.ts";
import type { Rules, Stay, Step } from "./plan.ts";

/** How many items leases without a reply can have taken. */
export class Unseen {
  readonly #starts: number[] = [];
  readonly #totals: number[] = [];

  constructor(leases: readonly Lease[]) {
    let total = 0;
    for (const lease of [...leases].sort((a, b) => a.start - b.start)) {
      total += lease.batch;
      this.#starts.push(lease.start);
      this.#totals.push(total);
    }
  }

  /** How many by a certain time, in all. */
  until(time: number): number {
    let low = 0;
    for (let high = this.#starts.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle]! <= time) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : this.#totals[low - 1]!;
  }
}

export interface LeaseContext {
  readonly find: (item: LeasedItem) => Stay;
  readonly leaseTimeout: number;
  readonly rules: Rules;
}

/** The steps of all leases that got something, and what those without a reply may have taken. */
export function leaseSteps(
  leases: readonly Lease[],
  context: LeaseContext,
): { readonly passes: readonly Step[]; readonly unseen: Unseen } {
  const groups = new Map<string, Lease[]>();
  for (const lease of leases) {
    if (lease.reply !== REPLIES.ok) continue;
    const { deadlineText } = lease.items[0]!;
    const group = groups.get(deadlineText);
    if (group === undefined) groups.set(deadlineText, [lease]);
    else group.push(lease);
  }
  const passes: Step[] = [];
  for (const group of groups.values()) {
    // The same deadline by chance: the clock may have stepped back.
    if (overlap(group)) passes.push(makePass(group, context));
    else for (const lease of group) passes.push(makePass([lease], context));
  }
  return { passes, unseen: new Unseen(leases.filter(({ reply }) => reply === undefined)) };
}

function overlap(leases: readonly Lease[]): boolean {
  return Math.max(...leases.map((each) => each.start)) <= Math.min(...leases.map((l) => l.end));
}

function makePass(leases: readonly Lease[], context: LeaseContext): Step {
  const { find, leaseTimeout, rules } = context;
  const stays = leases.flatMap((lease) => lease.items.map(find)).sort((a, b) => a.rank - b.rank);
  // The moment of a pass is when it reads the clock, and its deadline tells what it read.
  const read = leases.map((lease) => lease.items[0]!.deadline - leaseTimeout);
  return {
    kind: "pass",
    start: Math.max(Math.min(...read) - rules.tolerance, ...leases.map((lease) => lease.start)),
    end: Math.min(Math.max(...read) + rules.tolerance, ...leases.map((lease) => lease.end)),
    operations: leases,
    stays,
    hungry: rules.exactDeal && leases.some((lease) => lease.items.length < lease.batch),
    dealt: !rules.exactDeal || isDeal(leases),
  };
}

// Whether the leases got what they would be dealt one at a time in turn, in some order of arrival.
function isDeal(leases: readonly Lease[]): boolean {
  const sorted = leases.flatMap((lease) => lease.items.map(({ id }) => id)).sort();
  let active = [...leases].sort((a, b) => (a.items[0]!.id < b.items[0]!.id ? -1 : 1));
  for (let round = 0, dealt = 0; dealt < sorted.length; round++) {
    active = active.filter((lease) => lease.batch > round);
    if (active.length === 0) return false;
    for (const lease of active) {
      if (dealt === sorted.length) break;
      if (lease.items[round]?.id !== sorted[dealt++]) return false;
    }
  }
  return true;
}

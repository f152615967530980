// What is wrong with a reply, or with two of them, whatever the order of things was: items that
// nobody produced, ids that belong to two stays, deadlines that do not fit the clock, errors that
// an operation cannot get.

import { type Extend, type History, type Lease, type Operation, REPLIES } from "./history.ts";
import type { Problem, Rules } from "./plan.ts";

/** The first problem that shows at first sight; undefined if there is none. */
export function findProblem(history: History, rules: Rules): Problem | undefined {
  const makers = new Map<string, Operation>();
  for (const each of history.operations) {
    if (each.kind === "produce") for (const payload of each.payloads) makers.set(payload, each);
  }
  const names = new Names(makers);
  for (const operation of history.operations) {
    const problem =
      findUnknownReply(operation) ??
      names.find(operation) ??
      (operation.kind === "lease" ? findInLease(operation, history, rules) : undefined) ??
      (operation.kind === "extend" ? findInExtend(operation, rules) : undefined);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function findUnknownReply(operation: Operation): Problem | undefined {
  const { kind, reply } = operation;
  if (reply === undefined || reply === REPLIES.ok) return undefined;
  const ids =
    kind === "complete"
      ? operation.ids
      : kind === "retry"
        ? operation.items.map((item) => item.id)
        : [];
  const verb = kind === "retry" ? "retried" : "completed";
  const known = ids.some(
    (id) => reply === REPLIES.absent(id) || reply === REPLIES.notLeased(id, verb),
  );
  if (known || (kind === "lease" && reply === REPLIES.nothing)) return undefined;
  return { text: `a ${kind} cannot be answered like this`, operations: [operation] };
}

// Which payload and which lease of it an id stands for: always the same.
class Names {
  readonly #makers: ReadonlyMap<string, Operation>;
  readonly #byId = new Map<string, { name: string; operation: Operation }>();
  readonly #byName = new Map<string, { id: string; operation: Operation }>();

  constructor(makers: ReadonlyMap<string, Operation>) {
    this.#makers = makers;
  }

  find(operation: Operation): Problem | undefined {
    if (operation.kind === "produce" && operation.id !== "") {
      return this.#findOne(operation, { payload: operation.payloads[0]!, id: operation.id }, 1);
    }
    if (operation.kind !== "lease" && operation.kind !== "list") return undefined;
    let before = "";
    for (const item of operation.items) {
      const leases =
        item.attempts + (operation.kind === "list" && !("leased" in item && item.leased) ? 1 : 0);
      const problem = this.#findOne(operation, item, leases);
      if (problem !== undefined) return problem;
      if (item.id <= before)
        return { text: "the ids of a reply do not ascend", operations: [operation] };
      before = item.id;
    }
    return undefined;
  }

  #findOne(
    operation: Operation,
    { payload, id }: { readonly payload: string; readonly id: string },
    leases: number,
  ): Problem | undefined {
    if (!this.#makers.has(payload)) {
      return { text: `'${payload}' was never produced`, operations: [operation] };
    }
    if (leases < 1) {
      return { text: `${payload} is leased for the 0th time`, operations: [operation] };
    }
    const name = `${payload} in its lease ${leases}`;
    const other = this.#byId.get(id);
    if (other !== undefined && other.name !== name) {
      return {
        text: `one id stands for ${other.name} and for ${name}`,
        operations: [other.operation, operation],
      };
    }
    const same = this.#byName.get(name);
    if (same !== undefined && same.id !== id) {
      return { text: `${name} has two ids`, operations: [same.operation, operation] };
    }
    this.#byId.set(id, { name, operation });
    this.#byName.set(name, { id, operation });
    return undefined;
  }
}

function findInExtend(extend: Extend, { tolerance }: Rules): Problem | undefined {
  if (extend.reply !== REPLIES.ok) return undefined;
  for (const { outcome, deadline, duration } of extend.items) {
    if (outcome !== "ok") continue;
    const moment = deadline - duration;
    if (moment < extend.start - tolerance || moment > extend.end + tolerance) {
      return {
        text: "the deadline of an extension is not that of its moment",
        operations: [extend],
      };
    }
  }
  return undefined;
}

function findInLease(lease: Lease, history: History, rules: Rules): Problem | undefined {
  if (lease.reply !== REPLIES.ok) return undefined;
  const problem = (text: string): Problem => ({ text, operations: [lease] });
  const { items, batch, start, end } = lease;
  if (items.length === 0) return problem("a lease was answered without an item");
  if (items.length > batch) return problem("a lease got more items than it wanted");
  const { deadline, deadlineText } = items[0]!;
  if (items.some((item) => item.deadlineText !== deadlineText)) {
    return problem("the items of one lease have several deadlines");
  }
  const begun = deadline - history.leaseTimeout;
  if (begun < start - rules.tolerance || begun > end + rules.tolerance) {
    return problem(
      `the deadline is off by ${begun < start ? begun - start : begun - end} microseconds`,
    );
  }
  return undefined;
}

// Makes a failing history small enough to be read. It only takes away what a right history could
// lose without becoming wrong: whatever comes after the failure, whole items with everything that
// was done to them, and operations that change nothing. So what is left is wrong for a real reason.

import { check } from "./checker.ts";
import { type History, type Operation, REPLIES } from "./history.ts";
import { RULES, type Rules } from "./plan.ts";

const STATES_MAX = 200_000;
const TIME_MS_MAX = 20_000;

export interface Shrunk {
  readonly history: History;
  /** The rules by which it is wrong: taking items away spoils the dealing, so that is left out if it can be. */
  readonly rules: Rules;
}

/** The smallest wrong part that is found in a wrong history. */
export function shrink(history: History, rules: Rules = RULES): Shrunk {
  const loose = { ...rules, exactDeal: false };
  if (!isWrong(history, loose)) return { history: cutBehind(history, rules), rules };
  const until = performance.now() + TIME_MS_MAX;
  const keeps = (smaller: History): boolean => performance.now() < until && isWrong(smaller, loose);
  let small = cutBehind(history, loose);
  small = withoutItems(small, keeps);
  small = withoutIdle(small, keeps);
  return { history: withoutItems(small, keeps), rules: loose };
}

function isWrong(history: History, rules: Rules): boolean {
  return check(history, { rules, statesMax: STATES_MAX }).kind === "wrong";
}

// What began after the operation that has no place cannot be the reason; what ends after it may
// as well never have been answered.
function cutBehind(history: History, rules: Rules): History {
  const verdict = check(history, { rules });
  if (verdict.kind !== "wrong") return history;
  const cut = cutAt(history, Math.max(...verdict.operations.map((each) => each.end)));
  return isWrong(cut, rules) ? cut : history;
}

/** What had been seen of a history at some time. */
export function cutAt(history: History, time: number): History {
  const operations = history.operations
    .filter(({ start }) => start <= time)
    .map((each) => (each.end > time ? unanswered(each) : each));
  return { ...history, operations };
}

function unanswered(operation: Operation): Operation {
  const open = { end: Infinity, reply: undefined };
  const { kind } = operation;
  if (kind === "lease" || kind === "list") return { ...operation, ...open, items: [] };
  if (kind === "produce") return { ...operation, ...open, id: "" };
  if (kind === "cancel") return { ...operation, ...open, outcome: undefined };
  if (kind === "get") return { ...operation, ...open, state: undefined };
  return { ...operation, ...open };
}

// Tries to do without more and more items at a time, then fewer and fewer.
function withoutItems(history: History, keeps: (smaller: History) => boolean): History {
  let small = history;
  let payloads = small.operations.flatMap((each) => (each.kind === "produce" ? each.payloads : []));
  for (let size = payloads.length >> 1; size > 0; size >>= 1) {
    for (let i = 0; i < payloads.length; ) {
      const chunk = new Set(payloads.slice(i, i + size));
      const smaller = without(small, chunk);
      if (keeps(smaller)) {
        small = smaller;
        payloads = payloads.filter((payload) => !chunk.has(payload));
      } else i += size;
    }
  }
  return small;
}

/** The history as it would be if these items had never been there. Spoils the dealing. */
export function without(history: History, payloads: ReadonlySet<string>): History {
  const ids = new Set<string>();
  for (const each of history.operations) {
    if (each.kind === "produce" && payloads.has(each.payloads[0]!)) ids.add(each.id);
    if (each.kind !== "lease" && each.kind !== "list") continue;
    for (const { payload, id } of each.items) if (payloads.has(payload)) ids.add(id);
  }
  const others = <T extends { readonly payload: string }>(items: readonly T[]): T[] =>
    items.filter((item) => !payloads.has(item.payload));
  const reduce = (each: Operation): Operation | [] => {
    switch (each.kind) {
      case "produce": {
        const left = each.payloads.filter((payload) => !payloads.has(payload));
        return left.length === 0 ? [] : { ...each, payloads: left };
      }
      case "lease": {
        const items = others(each.items);
        return each.items.length > 0 && items.length === 0 ? [] : { ...each, items };
      }
      case "list":
        return { ...each, items: others(each.items) };
      case "taken":
      case "cancel":
      case "get":
        return ids.has(each.id) ? [] : each;
      case "complete": {
        const left = each.ids.filter((id) => !ids.has(id));
        return left.length === 0 || blames(each, ids) ? [] : { ...each, ids: left };
      }
      case "extend": {
        const items = each.items.filter(({ id }) => !ids.has(id));
        return items.length === 0 ? [] : { ...each, items };
      }
      case "retry": {
        const items = each.items.filter(({ id }) => !ids.has(id));
        return items.length === 0 || blames(each, ids) ? [] : { ...each, items };
      }
    }
  };
  return { ...history, operations: history.operations.flatMap(reduce) };
}

// Whether the error of an operation names one of the ids.
function blames({ reply }: Operation, ids: ReadonlySet<string>): boolean {
  const id = /'([^']+)'/.exec(reply ?? "")?.[1];
  return id !== undefined && ids.has(id);
}

// Tries to do without each operation that changes nothing.
function withoutIdle(history: History, keeps: (smaller: History) => boolean): History {
  let small = history;
  for (const each of history.operations) {
    const isVain = each.kind === "extend" && each.items.every(({ outcome }) => outcome !== "ok");
    const isLook = each.kind === "list" || each.kind === "get" || each.kind === "taken";
    const idle = isVain || isLook || (each.reply !== undefined && each.reply !== REPLIES.ok);
    if (!idle) continue;
    const smaller = { ...small, operations: small.operations.filter((other) => other !== each) };
    if (keeps(smaller)) small = smaller;
  }
  return small;
}

// A failing history in a form that people can read: one line for each operation, in order of begin.

import { check } from "./checker.ts";
import { type History, type Operation, REPLIES } from "./history.ts";
import { RULES, type Rules } from "./plan.ts";
import { shrink } from "./shrink.ts";

const LINES_MAX = 60;

/** Tells why a history is wrong, by its smallest wrong part that is found. */
export function explain(history: History, rules: Rules = RULES): string {
  const small = shrink(history, rules);
  const verdict = check(small.history, { rules: small.rules });
  const blamed: readonly Operation[] = verdict.kind === "wrong" ? verdict.operations : [];
  const text = verdict.kind === "wrong" ? verdict.text : "the search was given up";
  const kept = small.rules.exactDeal
    ? around(small.history.operations, blamed)
    : small.history.operations;
  const isMute = ({ kind, reply }: Operation): boolean => kind === "lease" && reply === undefined;
  const all = kept.filter((each) => !isMute(each)).sort((a, b) => a.start - b.start);
  const last = all.findLastIndex((each) => blamed.includes(each));
  const shown = all.slice(Math.max(0, last + 1 - LINES_MAX), Math.max(last + 1, LINES_MAX));
  const mute = small.history.operations.filter(isMute).length;
  return [
    `queue ${history.queue}, leases of ${ms(history.leaseTimeout)} ms: ${text}`,
    `${shown.length} of ${history.operations.length} operations, and ${mute} leases without a reply; times in ms; > has no place:`,
    ...shown.map((each) => `${blamed.includes(each) ? ">" : " "} ${describe(each)}`),
  ].join("\n");
}

// What could not be shrunk is wrong in how a pass was dealt: what went on at that moment tells most.
function around(
  operations: readonly Operation[],
  blamed: readonly Operation[],
): readonly Operation[] {
  const from = Math.max(...blamed.map(({ start }) => start));
  const to = Math.min(...blamed.map(({ end }) => end));
  return operations.filter(({ start, end }) => start <= to && end >= from && end !== Infinity);
}

/** One operation in one line: when, who, what, and what came of it. */
export function describe(operation: Operation): string {
  const { start, end, client } = operation;
  const times = `${ms(start).padStart(10)} .. ${(end === Infinity ? "?" : ms(end)).padStart(10)}`;
  return `${times}  ${client.padEnd(5)} ${asked(operation)} -> ${came(operation)}`;
}

function asked(operation: Operation): string {
  switch (operation.kind) {
    case "produce":
      return `produce ${operation.payloads.join(" ")}${operation.key === "" ? "" : ` with key ${operation.key}`}`;
    case "taken":
      return `produce with key ${operation.key}`;
    case "cancel":
    case "get":
      return `${operation.kind} ${short(operation.id)}`;
    case "lease":
      return `lease up to ${operation.batch}`;
    case "complete":
      return `complete ${operation.ids.map(short).join(" ")}`;
    case "retry":
      return `retry ${operation.items.map(({ id, dead }) => short(id) + (dead ? " (dead)" : "")).join(" ")}`;
    case "extend":
      return `extend ${operation.items.map(({ id, duration }) => `${short(id)} by ${ms(duration)}`).join(", ")}`;
    case "list":
      return "list";
  }
}

function came(operation: Operation): string {
  const { kind, reply } = operation;
  if (reply === undefined) return "no reply";
  if (reply !== REPLIES.ok) return reply.replace(/'(\w+)'/, (_, id: string) => short(id));
  if (kind === "produce" && operation.id !== "") return `${reply}, ${short(operation.id)}`;
  if (kind === "taken") return `taken by ${short(operation.id)}`;
  if (kind === "cancel") return String(operation.outcome);
  if (kind === "get") return String(operation.state);
  if (kind === "lease") {
    const until = operation.items[0]?.deadline;
    const items = operation.items.map((i) => `${i.payload} ${short(i.id)} (lease ${i.attempts})`);
    return `${items.join(", ")}${until === undefined ? "" : `, until ${ms(until)}`}`;
  }
  if (kind === "list") {
    const items = operation.items.map(
      (i) => `${i.payload} ${short(i.id)} (${i.leased ? `lease ${i.attempts}` : "waits"})`,
    );
    return items.join(", ") || "nothing";
  }
  if (kind === "extend") {
    const items = operation.items.map(({ outcome, deadline }) =>
      outcome === "ok" ? `until ${ms(deadline)}` : outcome,
    );
    return items.join(", ");
  }
  return reply;
}

function ms(micros: number): string {
  return (micros / 1_000).toFixed(3);
}

function short(id: string): string {
  return `#${id.slice(-5)}`;
}

// Histories written by hand, one operation a line, for tests of the checker:
//
//     2-4  c1  lease 2 = a@1 b@2       from 2 to 4 ms, client c1, up to 2 items; got a under id 1 ...
//     2-4  c1  lease 2 at 3 = a@1:2    the server's clock was 3; it is the second lease of a
//     2-?  c1  complete 1              no reply came; 1 is an id
//     2-4  c1  complete 1 2 = absent 2
//     2-4  c1  retry 1 2dead = ok
//     2-4  c1  extend 1:50 2:9 = ok ended     for 50 ms, and 9; or `waits`, `absent`
//     2-4  c1  list = a@1 b@2:1!       b is leased
//     2-4  c1  claim k a = 1           a produce of a with the unique key k: its id is 1
//     2-4  c1  claim k = taken 1       a produce with the unique key k, which item 1 has
//     2-4  c1  cancel 1 = cancelled    or `marked`, `absent`
//     2-4  c1  get 1 = leased          or `waiting`, `marked`, `absent`
//
// Without "at" a lease begins at the end of its operation; leases of one moment are one pass.

import {
  type Call,
  type Cancel,
  type ExtendOutcome,
  type Get,
  type History,
  type LeasedItem,
  type Operation,
  REPLIES,
} from "./history.ts";

/** How long leases are in these histories. */
export const LEASE_MS = 100;

const LINE = /^([\d.]+)-([\d.]+|\?)\s+(\w+)\s+(\w+)([^=]*?)(?:\s*=\s*(.*))?$/;

const OUTCOMES: Readonly<Record<string, ExtendOutcome>> = {
  ok: "ok",
  ended: "lease_ended",
  waits: "not_leased",
  absent: "item_not_found",
  cancelled: "item_cancelled",
};

/** Reads a history. */
export function script(text: string): History {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  return { queue: "script", leaseTimeout: LEASE_MS * 1_000, operations: lines.map(readLine) };
}

function readLine(line: string): Operation {
  const match = LINE.exec(line);
  if (match === null) throw new Error(`cannot read: ${line}`);
  const [, start, end, client, kind, rest, came] = match;
  const call: Call = {
    client: client!,
    start: Number(start) * 1_000,
    end: end === "?" ? Infinity : Number(end) * 1_000,
    reply: end === "?" ? undefined : REPLIES.ok,
  };
  const words = (text = ""): string[] => text.split(/\s+/).filter((word) => word !== "");
  const asked = words(rest);
  switch (kind) {
    case "produce":
      return { kind, ...call, payloads: asked, key: "", id: "" };
    case "claim": {
      const [key, payload] = asked;
      const [answer, holder] = words(came);
      if (answer === "taken") return { kind: "taken", ...call, key: key!, id: id(holder!) };
      const named = answer === undefined ? "" : id(answer);
      return { kind: "produce", ...call, payloads: [payload!], key: key!, id: named };
    }
    case "cancel":
      return { kind, ...call, id: id(asked[0]!), outcome: came as Cancel["outcome"] };
    case "get":
      return { kind, ...call, id: id(asked[0]!), state: came as Get["state"] };
    case "lease": {
      const batch = Number(asked[0]);
      const wait = call.end - call.start;
      if (came === "nothing") {
        return { kind, ...call, batch, wait, reply: REPLIES.nothing, items: [] };
      }
      const begun = asked[1] === "at" ? Number(asked[2]) * 1_000 : call.end;
      const items = words(came).map((word) => readLeased(word, begun));
      return { kind, ...call, batch, wait, items };
    }
    case "complete":
      return { kind, ...call, ...readReply(call, came, "completed"), ids: asked.map(id) };
    case "retry": {
      const items = asked.map((word) => ({
        id: id(word.replace("dead", "")),
        dead: word.endsWith("dead"),
      }));
      return { kind, ...call, ...readReply(call, came, "retried"), items };
    }
    case "extend": {
      const outcomes = words(came);
      const items = asked.map((word, i) => {
        const [number, duration] = word.split(":");
        const micros = Number(duration) * 1_000;
        const outcome = OUTCOMES[outcomes[i] ?? ""];
        return { id: id(number!), duration: micros, outcome, deadline: call.end + micros };
      });
      return { kind, ...call, items };
    }
    case "list":
      return { kind, ...call, items: words(came).map(readListed) };
    default:
      throw new Error(`cannot read: ${line}`);
  }
}

function readReply(
  { reply }: Call,
  came: string | undefined,
  verb: "completed" | "retried",
): Pick<Call, "reply"> {
  const [what, name] = (came ?? "ok").split(" ");
  if (reply === undefined || what === "ok") return { reply };
  const about = id(name!);
  return { reply: what === "absent" ? REPLIES.absent(about) : REPLIES.notLeased(about, verb) };
}

function readLeased(word: string, begun: number): LeasedItem {
  const [, payload, number, attempts] = /^(\w+)@([\w.]+)(?::(\d+))?$/.exec(word)!;
  const deadline = begun + LEASE_MS * 1_000;
  return {
    payload: payload!,
    id: id(number!),
    attempts: Number(attempts ?? 1),
    deadline,
    deadlineText: String(deadline),
  };
}

function readListed(word: string) {
  const [, payload, number, attempts, leased] = /^(\w+)@(\w+)(?::(\d+))?(!?)$/.exec(word)!;
  const count = Number(attempts ?? 0);
  return { payload: payload!, id: id(number!), attempts: count, leased: leased === "!" };
}

function id(text: string): string {
  return text.padStart(27, "0");
}

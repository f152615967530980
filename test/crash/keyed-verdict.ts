// What can be judged of a keyed-ledger.ts only when everything has drained: that no two items of a key were there
// at once, that every item that was acknowledged has ended, in a way that somebody asked for and only once, with the
// result that was sent with that, and that what was to follow a complete is there if, and only if, that was done.

import {
  type Finish,
  isForTwo,
  isWhileWaiting,
  type KeyedLedger,
  SLACK_MS,
  type Tracked,
} from "./keyed-ledger.ts";

/** How an item has ended, as the server keeps it. */
export interface Kept {
  readonly state: string;
  /** The serial of the complete. */
  readonly result: number | undefined;
}

const KIND_OF: Readonly<Record<string, readonly Finish["kind"][]>> = {
  completed: ["complete"],
  rejected: ["reject"],
  cancelled: ["cancel", "mark"],
};

/** Judges a run in which everything has ended; adds to the violations of the ledger. */
export function judgeKeys(ledger: KeyedLedger, kept: ReadonlyMap<string, Kept>): void {
  for (const item of ledger.items.values()) judgeEnd(ledger, item, kept.get(item.id));
  for (const id of kept.keys()) {
    if (!ledger.items.has(id)) ledger.violation("invented", `${id} has ended, and nobody saw it`);
  }
  for (const made of ledger.made) {
    if (made.outcome !== "acked" || made.status === "duplicate") continue;
    // One that was cancelled while it waited was leased by nobody.
    const isSeen = ledger.carriers.has(made.serial) || ledger.items.has(made.id);
    if (!isSeen) ledger.violation("lost", `item ${made.serial} of '${made.queue}' is nowhere`);
  }
  for (const finish of ledger.finishes) judgeChild(ledger, finish, kept);
  const byKey = Map.groupBy(ledger.items.values(), ({ key }) => key);
  byKey.delete("");
  for (const items of byKey.values()) judgeKey(ledger, items);
}

function judgeEnd(ledger: KeyedLedger, item: Tracked, end: Kept | undefined): void {
  if (end === undefined) {
    ledger.violation("lost", "it is not there any more, and has not ended", item);
    return;
  }
  const asked = item.finishes.filter(({ kind }) => KIND_OF[end.state]?.includes(kind) === true);
  const acked = item.finishes.filter(
    ({ kind, outcome }) => kind !== "retry" && outcome === "acked",
  );
  const others = acked.filter((each) => !asked.includes(each));
  if (others.length > 0) {
    ledger.violation("doubled", `${end.state}, though its ${others[0]!.kind} succeeded`, item);
  }
  // A cancel may be asked again.
  const completes = acked.filter(({ kind }) => kind === "complete" || kind === "reject");
  if (completes.length > 1) ledger.violation("doubled", "ended twice", item);
  if (asked.every(({ outcome }) => outcome === "refused")) {
    ledger.violation("invented", `${end.state}, and nobody asked for it`, item);
  }
  if (end.state !== "completed") return;
  const by = asked.find(({ serial, outcome }) => serial === end.result && outcome !== "refused");
  if (by === undefined) ledger.violation("result", `its result is ${end.result}`, item);
  const [complete] = completes;
  if (complete !== undefined && complete.serial !== end.result) {
    ledger.violation("result", `its result is ${end.result}, not ${complete.serial}`, item);
  }
}

// What follows a complete came with it: whose result an item tells is the one that was done.
function judgeChild(
  ledger: KeyedLedger,
  { child, lease, serial }: Finish,
  kept: ReadonlyMap<string, Kept>,
): void {
  if (child === undefined || lease === undefined) return;
  const isDone = kept.get(lease.item.id)?.result === serial;
  const isThere = ledger.carriers.has(child.serial) || ledger.items.has(child.id);
  if (isDone === isThere) return;
  const text = isDone ? "is not there, though that was done" : "is there, though that was not done";
  ledger.violation(
    "torn",
    `item ${child.serial}, which follows complete ${serial}, ${text}`,
    lease.item,
  );
}

// Each is surely there from when it was seen first until the first request was sent that may have ended it, or, if
// its key is one of what waits, until it was leased. Where one may wait behind another, that one is leased by nobody
// until the other has ended, and there is no third.
function judgeKey(ledger: KeyedLedger, items: readonly Tracked[]): void {
  const isTwo = isForTwo(items[0]!.key);
  const spans = items.map((item) => ({ item, from: item.seenAt, to: surelyUntil(item) }));
  judgeSpans(ledger, spans, isTwo ? 2 : 1);
  if (!isTwo) return;
  const begun = spans.flatMap(({ item, to }) => {
    const from = Math.min(...item.leases.map(({ repliedAt }) => repliedAt));
    return Number.isFinite(from) ? { item, from, to } : [];
  });
  judgeSpans(ledger, begun, 1);
}

interface Span {
  readonly item: Tracked;
  readonly from: number;
  readonly to: number;
}

// At most so many at a time.
function judgeSpans(ledger: KeyedLedger, spans: readonly Span[], max: number): void {
  let open: Span[] = [];
  for (const span of spans.toSorted((a, b) => a.from - b.from)) {
    if (span.to <= span.from) continue;
    open = [...open.filter(({ to }) => span.from < to), span];
    if (open.length <= max) continue;
    const others = open.slice(0, -1).map(({ item }) => item.id);
    ledger.violation("key", `it is there besides ${others}`, span.item);
  }
}

function surelyUntil({ key, seenAt, leases, finishes }: Tracked): number {
  const ends = finishes.filter(({ kind, outcome }) => kind !== "retry" && outcome !== "refused");
  const until = Math.min(...ends.map(({ sentAt }) => sentAt));
  if (!isWhileWaiting(key)) return until;
  const [first] = leases;
  // Leases whose replies were lost may have taken it before.
  if (first?.attempts !== 1) return seenAt;
  return Math.min(until, first.start - SLACK_MS);
}

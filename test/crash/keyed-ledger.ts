// What the clients of keys-mode.ts know: every item that was sent with its key, every lease, and every request
// that may have ended an item. Items are known by their ids, what they carry by serial numbers, for what is
// replaced keeps its id. What a reply says is checked when it comes against what was acknowledged before; what
// can be told only at the end is in keyed-verdict.ts. Times are those of this program, in milliseconds.

import { microseconds } from "./ledger.ts";

/** acked: done. refused: answered, and not done. unknown: nobody knows. */
export type Outcome = "pending" | "acked" | "refused" | "unknown";

/** Something that was asked once, or until it was known what had come of it. */
interface Asked {
  readonly sentAt: number;
  /** When it was answered last; 0 until then. */
  endedAt: number;
  outcome: Outcome;
}

/** What one item of a produce carries, or what is to follow a complete. */
export interface Made extends Asked {
  readonly serial: number;
  readonly queue: string;
  /** "" for none. */
  readonly key: string;
  /** created, scheduled, replaced or duplicate, if it was answered. */
  status: string;
  id: string;
}

/** A request that ends an item, or gives it back. */
export interface Finish extends Asked {
  /** What its item is to tell as its result. */
  readonly serial: number;
  /** `mark`: a cancel that has found the item leased, so that it ends later. */
  kind: "complete" | "reject" | "cancel" | "mark" | "retry";
  readonly lease: Lease | undefined;
  /** What is to follow. */
  readonly child: Made | undefined;
}

export interface Lease {
  readonly item: Tracked;
  readonly leaseId: string;
  readonly serial: number;
  readonly attempts: number;
  readonly sentAt: number;
  readonly repliedAt: number;
  /** By the clock of the server. */
  readonly start: number;
  readonly deadline: number;
  finish: Finish | undefined;
}

export interface Tracked {
  readonly id: string;
  readonly key: string;
  /** By when it was surely there. */
  seenAt: number;
  readonly leases: Lease[];
  readonly finishes: Finish[];
  /** What is known to have replaced what it carried. */
  readonly replacements: Made[];
}

/** One item as a lease answers it. */
export interface LeasedItem {
  readonly id: string;
  readonly lease_id: string;
  readonly attempts: number;
  readonly lease_deadline: string;
  readonly utf8: string;
  readonly unique_key?: string;
}

/** One result of a produce. */
export interface ProduceResult {
  readonly id?: string;
  readonly status?: string;
  readonly code?: string;
  readonly detail?: string;
}

/** By how much the clock of the server may be read apart from ours. */
export const SLACK_MS = 5;
export const LEASE_MS = 700;

/** Whether a key is free again once its item is leased; else it is when the item has ended. */
export function isWhileWaiting(key: string): boolean {
  return key.startsWith("w");
}

/** Whether of a key two items may be there: one waits until the other has ended. */
export function isForTwo(key: string): boolean {
  return key.startsWith("l");
}

export class KeyedLedger {
  readonly violations: string[] = [];
  readonly made: Made[] = [];
  readonly items = new Map<string, Tracked>();
  readonly finishes: Finish[] = [];
  /** Under which id each serial was leased. */
  readonly carriers = new Map<number, string>();
  leases = 0;
  #finishSerial = 0;

  violation(kind: string, text: string, item?: Tracked): void {
    this.violations.push(`${kind}: ${text}${item === undefined ? "" : `\n  ${describe(item)}`}`);
  }

  // --- produce ---

  /** Notes an item that is about to be sent. */
  makes(queue: string, key: string): Made {
    const serial = this.made.length;
    const made: Made = {
      ...{ serial, queue, key, status: "", id: "" },
      ...{ sentAt: Date.now(), endedAt: 0, outcome: "pending" },
    };
    this.made.push(made);
    return made;
  }

  /** Notes what became of it. */
  wasMade(made: Made, outcome: Outcome, at: number, result: ProduceResult = {}): void {
    made.outcome = outcome;
    made.endedAt = at;
    const holder = result.id ?? /item '([^']+)'/.exec(result.detail ?? "")?.[1] ?? "";
    if (outcome === "refused" && result.code !== "unique_key_taken") return;
    if (outcome !== "acked" && outcome !== "refused") return;
    // That of another item of the same request, of which nothing was done.
    if (holder.startsWith("items[")) return;
    made.status = result.status ?? "refused";
    made.id = holder;
    const isNew = made.status === "created" || made.status === "scheduled";
    // Its lease may have been answered before.
    const carrier = this.carriers.get(made.serial);
    const isStored = isNew || made.status === "replaced";
    if (carrier !== undefined && (!isStored || carrier !== holder)) {
      this.violation(
        "doubled",
        `item ${made.serial} is ${made.status}, and was leased as ${carrier}`,
      );
    }
    const item = this.#track(holder, made.key, at);
    if (made.status === "replaced") item.replacements.push(made);
    if (!isNew) this.#checkTaken(made, item);
  }

  #track(id: string, key: string, at: number): Tracked {
    let item = this.items.get(id);
    if (item === undefined) {
      item = { id, key, seenAt: at, leases: [], finishes: [], replacements: [] };
      this.items.set(id, item);
    }
    item.seenAt = Math.min(item.seenAt, at);
    if (item.key !== key) this.violation("key", `key '${key}' is that of an item without it`, item);
    return item;
  }

  // A key that is said to be taken was not free when this was asked.
  #checkTaken({ serial, sentAt, status }: Made, item: Tracked): void {
    const wrong = (text: string): void => {
      this.violation("key", `item ${serial}, sent ${clock(sentAt)}, is ${status} ${text}`, item);
    };
    const ended = item.finishes.find((each) => isEnd(each) && each.endedAt < sentAt);
    if (ended !== undefined) wrong("though what has its key had ended");
    const leased = item.leases.find(({ repliedAt }) => repliedAt < sentAt);
    if (isWhileWaiting(item.key) && leased !== undefined) {
      wrong("though what had its key had been leased");
    }
  }

  // --- lease ---

  /** Takes one leased item in, and checks it; answers nothing if it makes no sense. */
  leased(
    each: LeasedItem,
    request: { readonly sentAt: number; readonly at: number },
  ): Lease | undefined {
    const made = this.made[Number(each.utf8)];
    if (made === undefined) {
      this.violation("invented", `'${each.utf8}' was never produced`);
      return undefined;
    }
    this.leases++;
    const item = this.#track(each.id, made.key, request.at);
    const { serial, outcome } = made;
    const deadline = microseconds(each.lease_deadline) / 1_000;
    const lease: Lease = {
      ...{ item, leaseId: each.lease_id, serial, attempts: each.attempts, deadline },
      ...{ sentAt: request.sentAt, repliedAt: request.at, start: deadline - LEASE_MS },
      finish: undefined,
    };
    const wrong = (kind: string, text: string): void =>
      this.violation(kind, `${text}; item ${serial}, now leased ${spanOf(lease)}`, item);
    if (outcome === "refused") wrong("invented", "leased though it was refused");
    if (outcome === "acked" && made.status === "duplicate")
      wrong("invented", "a duplicate is there");
    if (outcome === "acked" && made.id !== each.id) wrong("doubled", `its id was ${made.id}`);
    const carrier = this.carriers.get(serial) ?? each.id;
    if (carrier !== each.id) wrong("doubled", `it was leased as ${carrier}`);
    this.carriers.set(serial, each.id);
    const before = item.leases.at(-1);
    if (before !== undefined) this.#checkAfter(before, lease, wrong);
    const cancelled = item.finishes.find(
      ({ kind, outcome: how, endedAt }) =>
        (kind === "cancel" || kind === "mark") && how === "acked" && isAfter(lease, endedAt),
    );
    if (cancelled !== undefined) wrong("cancelled", "leased after it was cancelled");
    const stale = item.replacements.find(
      (by) => made.outcome === "acked" && by.sentAt > made.endedAt && isAfter(lease, by.endedAt),
    );
    if (stale !== undefined) wrong("lost", `it was replaced by ${stale.serial}`);
    item.leases.push(lease);
    return lease;
  }

  #checkAfter(before: Lease, lease: Lease, wrong: (kind: string, text: string) => void): void {
    const { finish } = before;
    const isOver = finish?.outcome === "acked" && finish.kind !== "retry";
    if (isOver) wrong("doubled", `leased again after its ${finish.kind} was acknowledged`);
    const isGivenBack = finish?.kind === "retry" && finish.outcome !== "refused";
    if (!isGivenBack && lease.start < before.deadline - SLACK_MS) {
      wrong("doubled", "leased again before its lease had ended");
    }
  }

  // --- ends ---

  /** Notes that a lease, or an item, is about to be ended or given back. */
  finishing(
    item: Tracked,
    kind: Finish["kind"],
    how: { readonly lease?: Lease; readonly child?: Made } = {},
  ): Finish {
    const finish: Finish = {
      ...{ serial: ++this.#finishSerial, kind, lease: how.lease, child: how.child },
      ...{ sentAt: Date.now(), endedAt: 0, outcome: "pending" },
    };
    if (how.lease !== undefined) how.lease.finish = finish;
    item.finishes.push(finish);
    this.finishes.push(finish);
    return finish;
  }

  /** Notes what became of that. A refusal says nothing of an earlier try, whose reply was lost. */
  finished(item: Tracked, finish: Finish, outcome: Outcome, at: number, code = ""): void {
    const wasUnknown = finish.outcome === "unknown";
    finish.endedAt = at;
    finish.outcome = wasUnknown && outcome === "refused" ? "unknown" : outcome;
    const { lease, kind } = finish;
    if (outcome === "acked" && lease !== undefined && item.leases.at(-1) !== lease) {
      const later = item.leases.at(-1)!;
      // What was given back may have been leased again before we hear of it.
      if (kind !== "retry") {
        this.violation("doubled", `${kind} under an old lease; the last ${spanOf(later)}`, item);
      }
    }
    if (outcome !== "refused" || lease === undefined || wasUnknown) return;
    const others = item.finishes.filter((each) => each !== finish && each.outcome !== "refused");
    if (code === "item_cancelled") {
      if (!others.some((each) => each.kind === "mark" || each.kind === "cancel")) {
        this.violation("cancelled", "an end is refused, and nobody has cancelled it", item);
      }
    } else if (code === "lease_ended" && at < lease.deadline - SLACK_MS) {
      this.violation("lost", `lease ${spanOf(lease)} was forgotten`, item);
    }
  }
}

/** Whether a request has surely ended its item. */
export function isEnd({ kind, outcome }: Finish): boolean {
  return outcome === "acked" && kind !== "retry" && kind !== "mark";
}

function isAfter(lease: Lease, time: number): boolean {
  return lease.sentAt > time || lease.start > time + SLACK_MS;
}

/** The history of an item, for people. */
export function describe({ id, key, seenAt, leases, finishes, replacements }: Tracked): string {
  return [
    `${id} '${key}', seen ${clock(seenAt)}`,
    ...replacements.map(
      (by) => `replaced by ${by.serial}, ${clock(by.sentAt)}..${clock(by.endedAt)}`,
    ),
    ...leases.map((each) => `leased ${spanOf(each)}, attempt ${each.attempts}, ${each.serial}`),
    ...finishes.map(
      ({ kind, serial, sentAt, endedAt, outcome }) =>
        `${kind} ${serial} ${clock(sentAt)}..${clock(endedAt)} ${outcome}`,
    ),
  ].join("\n    ");
}

function spanOf({ start, deadline, repliedAt }: Lease): string {
  return `${clock(start)}..${clock(deadline)}, replied ${clock(repliedAt)}`;
}

function clock(time: number): string {
  return new Date(time).toISOString().slice(14, 23);
}

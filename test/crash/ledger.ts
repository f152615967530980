// What the clients know: every produce with its outcome, every delivery, and how each ended. The
// ledger lives in the program that kills the server, so nothing in it is ever lost. Each reply is
// checked as it comes in against what the server has acknowledged before; what can be judged only at
// the end is in verdict.ts. Nothing is taken from the server on trust but its lease deadlines. Where it may
// forget what was done within a while, nothing is held against it of items with which anything was done then.
// Server times are microseconds since 1970, those of the clients milliseconds.

import type { Answer } from "./client.ts";
import { readSerial } from "./payload.ts";
import type { QueuePlan } from "./queue-plan.ts";

/** acked: answered with success. refused: answered, and not done. unknown: nobody knows. */
export type Outcome = "pending" | "acked" | "refused" | "unknown";

export interface ProduceRecord {
  readonly plan: QueuePlan;
  readonly producer: string;
  readonly items: Item[];
  sentAt: number;
  endedAt: number;
  outcome: Outcome;
}

export interface Item {
  readonly serial: number;
  readonly produce: ProduceRecord;
  /** When it was to become leasable; 0 for at once. */
  readonly dueAt: number;
  readonly deliveries: Delivery[];
  /** Whether something was done with it that the server may have forgotten. */
  isBlurred: boolean;
}

export interface Ending {
  readonly kind: "complete" | "retry" | "dead";
  readonly sentAt: number;
  /** When the item was to become leasable again; 0 for at once. */
  readonly retryAt: number;
  /** When it was answered last; 0 until then. */
  endedAt: number;
  outcome: Outcome;
}

export interface Delivery {
  readonly item: Item;
  readonly plan: QueuePlan;
  readonly partition: number;
  readonly id: string;
  readonly attempts: number;
  /** Server time: when the lease began and when it may end, as far as is known of its extension. */
  readonly start: number;
  deadline: number;
  readonly sentAt: number;
  readonly repliedAt: number;
  extension: Extension | undefined;
  ending: Ending | undefined;
}

/** A request that gave leases another deadline. */
export interface Extension {
  readonly sentAt: number;
  /** When it was answered; 0 until then. */
  endedAt: number;
}

/** What became of one lease of such a request. */
export interface ExtensionResult {
  readonly ok?: boolean;
  readonly code?: string;
  readonly lease_deadline?: string;
}

export interface LeaseReply {
  readonly partition?: number;
  readonly items?: readonly {
    readonly id: string;
    readonly attempts: number;
    readonly lease_deadline: string;
    readonly bytes: string;
    readonly reference: string;
  }[];
}

/** A lease request whose reply was lost: it may have leased up to `batchSize` items. */
interface LostLease {
  readonly sentAt: number;
  readonly at: number;
  readonly batchSize: number;
}

// By how much the wall clock of the server may differ from ours, and how near a time must be to
// be taken as now.
const CLOCK_SLACK = 3_000;
const SOON = 100_000;

export class Ledger {
  readonly plans: ReadonlyMap<string, QueuePlan>;
  readonly produces: ProduceRecord[] = [];
  readonly deliveries: Delivery[] = [];
  readonly lostLeases = new Map<string, LostLease[]>();
  readonly #violations: { readonly text: string; readonly item: Item | undefined }[] = [];
  readonly #items = new Map<number, Item>();
  readonly #ids = new Set<string>();
  readonly #isApart: boolean;
  readonly #blurs: { readonly from: number; readonly to: number }[] = [];
  #doubtedFrom = Number.POSITIVE_INFINITY;
  #serial = 0;

  /** `isApart` says that a dead queue may lie in another storage than what dies into it. */
  constructor(plans: readonly QueuePlan[], { isApart = false } = {}) {
    this.#isApart = isApart;
    this.plans = new Map(plans.map((plan) => [plan.name, plan]));
    for (const { name } of plans) this.lostLeases.set(name, []);
  }

  violation(kind: string, text: string, item?: Item): void {
    if (item?.isBlurred === true) return;
    const all = `${kind}: ${text}${item === undefined ? "" : `\n  ${describe(item)}`}`;
    this.#violations.push({ text: all, item });
  }

  /** What was found wrong; of items, while it is in doubt, only what was found before that. */
  get violations(): readonly string[] {
    return this.#violations
      .filter(({ item }, i) => item === undefined || (!item.isBlurred && i < this.#doubtedFrom))
      .map(({ text }) => text);
  }

  /** From now on the server may forget something, and it is to be told which times that were. */
  doubt(): void {
    this.#doubtedFrom = Math.min(this.#doubtedFrom, this.#violations.length);
  }

  /** It was told, or nothing was forgotten. */
  settle(): void {
    this.#doubtedFrom = Number.POSITIVE_INFINITY;
  }

  /** The server may have forgotten what was done between two times, whether its reply is there already or still to come. */
  blur(from: number, to: number): void {
    this.#blurs.push({ from, to });
    for (const { items } of this.produces) this.#blurThose(items);
  }

  /** How many items that were acknowledged are not judged for it. */
  get blurred(): number {
    return this.produces
      .filter(({ outcome }) => outcome === "acked")
      .reduce((sum, { items }) => sum + items.filter((item) => item.isBlurred).length, 0);
  }

  #blurThose(items: readonly Item[]): void {
    const wasIn = (began: number, ended: number): boolean =>
      this.#blurs.some(({ from, to }) => began <= to && (ended === 0 || ended >= from));
    for (const item of items) {
      const { sentAt, endedAt } = item.produce;
      item.isBlurred ||=
        wasIn(sentAt, endedAt) ||
        item.deliveries.some(
          ({ sentAt: leasedAt, repliedAt, extension, ending }) =>
            wasIn(leasedAt, repliedAt) ||
            (extension !== undefined && wasIn(extension.sentAt, extension.endedAt)) ||
            (ending !== undefined && wasIn(ending.sentAt, ending.endedAt)),
        );
    }
  }

  // --- produce ---

  /** Notes a produce that is about to be sent; items with a time above 0 are for later. */
  produce(plan: QueuePlan, producer: string, dueAts: readonly number[]): ProduceRecord {
    const record: ProduceRecord = {
      plan,
      producer,
      items: [],
      sentAt: Date.now(),
      endedAt: 0,
      outcome: "pending",
    };
    for (const dueAt of dueAts) {
      const item = {
        serial: ++this.#serial,
        produce: record,
        dueAt,
        deliveries: [],
        isBlurred: false,
      };
      record.items.push(item);
      this.#items.set(item.serial, item);
    }
    this.produces.push(record);
    return record;
  }

  produceEnded(record: ProduceRecord, outcome: Outcome, at: number): void {
    record.outcome = outcome;
    record.endedAt = at;
    this.#blurThose(record.items);
    const early = record.items.find((item) => item.deliveries.length > 0);
    if (outcome === "refused" && early !== undefined) {
      this.violation("doubled", "an item was delivered although its produce was refused", early);
    }
  }

  // --- lease ---

  leaseLost(plan: QueuePlan, lease: LostLease): void {
    this.lostLeases.get(plan.name)!.push(lease);
  }

  /** How often an item of a queue may have been leased unseen between two times. */
  lostBetween(queue: string, from: number, to: number): number {
    return this.lostLeases.get(queue)!.filter((lost) => lost.at >= from && lost.sentAt <= to)
      .length;
  }

  /** Takes the reply of a lease in, and checks it. */
  leased(
    plan: QueuePlan,
    reply: LeaseReply,
    request: { readonly sentAt: number; readonly at: number; readonly batchSize: number },
  ): readonly Delivery[] {
    const items = reply.items ?? [];
    if (items.length === 0 || items.length > request.batchSize) {
      this.violation("lease", `a lease of ${request.batchSize} was answered ${items.length} items`);
    }
    const deliveries: Delivery[] = [];
    let lastId = "";
    for (const each of items) {
      if (each.id <= lastId) this.violation("order", `ids of one lease: ${lastId} then ${each.id}`);
      lastId = each.id;
      let serial: number;
      try {
        serial = readSerial(each);
      } catch (error) {
        this.violation("garbled", (error as Error).message);
        continue;
      }
      const item = this.#items.get(serial);
      if (item === undefined) {
        this.violation("invented", `item ${serial} was never produced`);
        continue;
      }
      const deadline = microseconds(each.lease_deadline);
      const delivery: Delivery = {
        item,
        plan,
        partition: reply.partition ?? 0,
        id: each.id,
        attempts: each.attempts,
        start: deadline - plan.leaseMs * 1_000,
        deadline,
        sentAt: request.sentAt,
        repliedAt: request.at,
        extension: undefined,
        ending: undefined,
      };
      this.#check(delivery);
      item.deliveries.push(delivery);
      this.deliveries.push(delivery);
      deliveries.push(delivery);
      this.#blurThose([item]);
    }
    return deliveries;
  }

  #check(delivery: Delivery): void {
    const { item, plan, start } = delivery;
    const wrong = (kind: string, text: string): void =>
      this.violation(kind, `${text}; now ${describeDelivery(delivery)}`, item);
    if (this.#ids.has(delivery.id)) wrong("id", `id ${delivery.id} was used twice`);
    this.#ids.add(delivery.id);
    if (item.produce.outcome === "refused") wrong("invented", "delivered though it was refused");
    const early = start < delivery.sentAt * 1_000 - CLOCK_SLACK;
    if (early || start > delivery.repliedAt * 1_000 + CLOCK_SLACK) {
      wrong("lease", `lease is not ${plan.leaseMs} ms long`);
    }
    const home = item.produce.plan;
    const before = item.deliveries.at(-1);
    const isAgain = before !== undefined && this.#isSecondLetter(before, delivery);
    if (before !== undefined && !isAgain) this.#checkAfter(before, delivery, wrong);
    const first = before === undefined || before.plan !== plan || isAgain;
    if (plan === home && before !== undefined && before.plan !== home) {
      wrong("doubled", "back from the dead queue");
    }
    if (plan !== home && plan.name !== home.deadQueue) wrong("invented", "in a queue not its own");
    if (plan !== home && first && !this.mayBeDead(item, start)) {
      wrong("dead", "in the dead queue although nothing killed it");
    }
    if (plan === home && first && start < item.dueAt - SOON) wrong("order", "before its time");

    const last = first ? 0 : before.attempts;
    const since = first ? item.produce.sentAt : before.repliedAt;
    const { attempts } = delivery;
    if (attempts <= last) wrong("attempts", `attempts went from ${last} to ${attempts}`);
    if (attempts > last + 1) {
      const lost = this.lostBetween(plan.name, since, delivery.repliedAt);
      if (attempts > last + 1 + lost) {
        wrong("attempts", `attempts went from ${last} to ${attempts}, lost replies: ${lost}`);
      }
    }
    if (plan.maxAttempts > 0 && attempts > plan.maxAttempts) wrong("attempts", "beyond the most");
  }

  // Into another storage a dead item is copied before it is removed. If the server is killed in between,
  // and the copy was completed by then, it is copied once more (docs/RELIABILITY.md).
  #isSecondLetter(before: Delivery, { item, plan, attempts }: Delivery): boolean {
    const isDead = plan !== item.produce.plan && before.plan === plan;
    const { ending } = before;
    const mayBeCompleted = ending?.kind === "complete" && ending.outcome === "unknown";
    return this.#isApart && isDead && mayBeCompleted && attempts <= before.attempts;
  }

  // A delivery must not overlap the one before it, nor follow one that was the last.
  #checkAfter(
    before: Delivery,
    delivery: Delivery,
    wrong: (kind: string, text: string) => void,
  ): void {
    const { ending } = before;
    const { start } = delivery;
    if (ending?.kind === "complete" && ending.outcome === "acked") {
      wrong("doubled", "came back after its complete was acknowledged");
      return;
    }
    const dead = ending?.kind === "dead" && ending.outcome === "acked";
    if (dead && delivery.plan === before.plan) wrong("doubled", "came back after it was dead");
    if (start >= before.deadline) return;
    const given =
      ending !== undefined && ending.kind !== "complete" && ending.outcome !== "refused";
    if (!given) {
      wrong("doubled", "leased again before its lease had ended");
    } else if (start < Math.max(ending.sentAt * 1_000 - CLOCK_SLACK, ending.retryAt - SOON)) {
      wrong("doubled", "leased again before it was given back");
    }
  }

  /** Whether an item may have left its queue for good by another way than a complete. */
  mayBeDead(item: Item, now: number): boolean {
    const home = item.produce.plan;
    const last = item.deliveries.findLast((each) => each.plan === home);
    const ending = last?.ending;
    if (ending?.kind === "dead" && ending.outcome !== "refused") return true;
    if (now >= item.produce.sentAt * 1_000 + home.expireMs * 1_000 - CLOCK_SLACK) return true;
    if (home.maxAttempts === 0) return false;
    const since = last?.repliedAt ?? item.produce.sentAt;
    const lost = this.lostBetween(home.name, since, now / 1_000);
    return (last?.attempts ?? 0) + lost >= home.maxAttempts;
  }

  // --- what puts off the end of a lease, or ends it ---

  /** Notes that leases are about to be extended: until it is known, each may end when it would or then. */
  extends(deliveries: readonly Delivery[], ms: number): Extension {
    const extension = { sentAt: Date.now(), endedAt: 0 };
    for (const delivery of deliveries) {
      const least = (extension.sentAt + ms) * 1_000 - CLOCK_SLACK;
      delivery.deadline = Math.min(delivery.deadline, least);
      delivery.extension = extension;
    }
    this.#blurThose(deliveries.map(({ item }) => item));
    return extension;
  }

  /** Notes what became of it. An extended lease must not have ended; one that is refused may have. */
  extended(
    deliveries: readonly Delivery[],
    { extension, at }: { readonly extension: Extension; readonly at: number },
    results: readonly ExtensionResult[],
  ): void {
    extension.endedAt = at;
    this.#blurThose(deliveries.map(({ item }) => item));
    for (const [i, delivery] of deliveries.entries()) {
      const { ok = false, code, lease_deadline: deadline = "" } = results[i] ?? {};
      const { item } = delivery;
      if (!ok) {
        const isEarly = at * 1_000 < delivery.deadline - CLOCK_SLACK;
        if (isEarly) this.violation("lost", `a lease was not extended: ${code}`, item);
        continue;
      }
      delivery.deadline = microseconds(deadline);
      const next = item.deliveries[item.deliveries.indexOf(delivery) + 1];
      if (next !== undefined && next.start < delivery.deadline) {
        this.violation("doubled", "leased again before its extended lease had ended", item);
      }
    }
  }

  /** Notes that deliveries are about to be ended by one request. */
  ends(deliveries: readonly Delivery[], kind: Ending["kind"], retryAt = 0): Ending {
    const ending: Ending = { kind, sentAt: Date.now(), retryAt, endedAt: 0, outcome: "pending" };
    for (const delivery of deliveries) delivery.ending = ending;
    this.#blurThose(deliveries.map(({ item }) => item));
    return ending;
  }

  /** Notes how the request ended. A refusal is only right if the leases may have been over. */
  ended(
    deliveries: readonly Delivery[],
    ending: Ending,
    answer: Pick<Answer, "status" | "at" | "text"> & { readonly outcome: Outcome },
  ): void {
    ending.endedAt = answer.at;
    this.#blurThose(deliveries.map(({ item }) => item));
    const wasUnknown = ending.outcome === "unknown";
    const one = deliveries[0]!;
    // A refusal says nothing about an earlier try, unless it could only come from that: while the
    // lease is on, an item is unknown if it was completed before, and the reply was lost.
    ending.outcome = wasUnknown && answer.outcome === "refused" ? "unknown" : answer.outcome;
    if (answer.outcome === "acked") {
      // What was given back may be leased again before we hear of it; what is gone may not.
      const later = deliveries.find(
        (each) =>
          each.item.deliveries.at(-1)!.plan === each.plan && each.item.deliveries.at(-1) !== each,
      );
      if (ending.kind !== "retry" && later !== undefined) {
        this.violation("doubled", `${ending.kind} under ${later.id}, an old lease`, later.item);
      }
    } else if (answer.status === 400 && answer.at * 1_000 < one.deadline - CLOCK_SLACK) {
      if (wasUnknown) ending.outcome = "acked";
      else this.violation("lost", `a lease was forgotten: ${answer.text}`, one.item);
    }
  }
}

/** Microseconds since 1970 of a time as the server writes it. */
export function microseconds(time: string): number {
  const fraction = /\.(\d+)Z$/.exec(time)?.[1] ?? "";
  return Date.parse(`${time.slice(0, 19)}Z`) * 1_000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

/** The history of an item, for people. */
export function describe(item: Item): string {
  const { produce } = item;
  const due = item.dueAt === 0 ? "" : ` for ${clock(item.dueAt)}`;
  const head = `item ${item.serial} of '${produce.plan.name}', produced ${clock(produce.sentAt * 1_000)}..${clock(produce.endedAt * 1_000)} ${produce.outcome} in a request of ${produce.items.length}${due}`;
  return [head, ...item.deliveries.map(describeDelivery)].join("\n    ");
}

function describeDelivery(delivery: Delivery): string {
  const { plan, partition, id, attempts, start, deadline, ending } = delivery;
  const end =
    ending === undefined
      ? "no ending"
      : `${ending.kind} sent ${clock(ending.sentAt * 1_000)} ${ending.outcome}`;
  return `'${plan.name}' ${partition} ${id} attempt ${attempts}, leased ${clock(start)}..${clock(deadline)}, replied ${clock(delivery.repliedAt * 1_000)}, ${end}`;
}

function clock(time: number): string {
  return new Date(time / 1_000).toISOString().slice(11, 23);
}

// What can be judged only when everything has drained: whether every acknowledged item came to its
// end, whether requests of unknown outcome were done whole or not at all, and whether the order of
// production and of ids held in every partition.

import { type Delivery, describe, type Item, type Ledger, type ProduceRecord } from "./ledger.ts";

export interface Verdict {
  readonly acknowledged: number;
  /** Items of requests whose outcome is unknown that turned out to be there. */
  readonly surfaced: number;
  /** Deliveries: of acknowledged items, each may have several. */
  readonly delivered: number;
  readonly completed: number;
  readonly dead: number;
  readonly lost: number;
  readonly doubled: number;
}

// The server's clock may be set back by as much when it finds that it has run ahead.
const CLOCK_SLACK = 2_000;

// How the text of an id is a number: its last nine characters, base 62.
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

type Fate = "completed" | "dead" | "perhaps" | "open";

/**
 * Judges a run; adds to the violations of the ledger. What is lost can be told only if it has drained.
 */
export function judge(ledger: Ledger, drained: boolean): Verdict {
  const now = Date.now() * 1_000;
  let acknowledged = 0;
  let surfaced = 0;
  let completed = 0;
  let dead = 0;
  for (const produce of ledger.produces) {
    for (const item of produce.items) {
      const fate = fateOf(ledger, item, now);
      const isLost = drained && fate === "open" && !item.isBlurred;
      if (item.deliveries.length > 0 && isLost) {
        ledger.violation("lost", "delivered, but it never came to an end", item);
      }
      if (produce.outcome === "acked") {
        acknowledged++;
        if (fate === "completed") completed++;
        else if (fate === "dead") dead++;
        if (item.deliveries.length === 0 && isLost) {
          ledger.violation("lost", "acknowledged, but never delivered", item);
        }
      } else if (item.deliveries.length > 0) {
        surfaced++;
      }
    }
    if (produce.outcome === "unknown" && drained) checkWhole(ledger, produce, now);
    checkConsecutive(ledger, produce);
  }
  checkLostCapacity(ledger);
  for (const deliveries of byPartition(ledger).values()) checkOrder(ledger, deliveries);
  const count = (kind: string): number =>
    ledger.violations.filter((text) => text.startsWith(`${kind}:`)).length;
  return {
    acknowledged,
    surfaced,
    delivered: ledger.deliveries.length,
    completed,
    dead,
    lost: count("lost"),
    doubled: count("doubled"),
  };
}

function fateOf(ledger: Ledger, item: Item, now: number): Fate {
  const home = item.produce.plan;
  const last = item.deliveries.at(-1);
  const ending = last?.ending;
  if (ending?.kind === "complete" && ending.outcome === "acked") return "completed";
  if (ending?.kind === "complete" && ending.outcome === "unknown") return "perhaps";
  if (last !== undefined && last.plan !== home) return "open";
  if (home.deadQueue !== "") return "open"; // whatever dies is to be seen in the dead queue
  if (ending?.kind === "dead" && ending.outcome === "acked") return "dead";
  return ledger.mayBeDead(item, now) ? "dead" : "open";
}

// All items of a request, or none: what was seen says which.
function checkWhole(ledger: Ledger, produce: ProduceRecord, now: number): void {
  const seen = produce.items.filter((item) => item.deliveries.length > 0);
  if (produce.items.some((item) => item.isBlurred)) return;
  if (seen.length === 0) return;
  for (const item of produce.items) {
    if (item.deliveries.length > 0 || fateOf(ledger, item, now) !== "open") continue;
    ledger.violation("torn", `only ${seen.length} items of its request are there`, item);
  }
}

// Items of one request lie in one partition, under consecutive ids.
function checkConsecutive(ledger: Ledger, produce: ProduceRecord): void {
  let base: { partition: number; number: number } | undefined;
  for (const [index, item] of produce.items.entries()) {
    const first = firstDelivery(ledger, item);
    if (first === undefined) continue;
    const found = { partition: first.partition, number: numberOf(first.id) - index };
    base ??= found;
    if (found.partition === base.partition && found.number === base.number) continue;
    ledger.violation("order", "items of one request do not lie together", item);
  }
}

/** The delivery under the id that the item was produced with, if it was seen. */
function firstDelivery(ledger: Ledger, item: Item): Delivery | undefined {
  const first = item.deliveries[0];
  if (item.dueAt !== 0 || first?.attempts !== 1) return undefined;
  const { plan, sentAt } = item.produce;
  // Where leases count, what was dealt to a lease without a reply is given back as if it had not been.
  const mayBeBack = plan.maxAttempts > 0 && ledger.lostBetween(plan.name, sentAt, first.repliedAt);
  return first.plan === plan && !mayBeBack ? first : undefined;
}

function numberOf(id: string): number {
  let number = 0;
  for (const digit of id.slice(-9)) number = number * 62 + ALPHABET.indexOf(digit);
  return number;
}

// Attempts that nobody saw must have been made by leases whose replies were lost.
function checkLostCapacity(ledger: Ledger): void {
  const unseen = new Map<string, number>();
  for (const { items } of ledger.produces) {
    for (const { deliveries, isBlurred } of items) {
      if (isBlurred) continue;
      for (const [i, { plan, attempts }] of deliveries.entries()) {
        const before = deliveries[i - 1];
        const last = before?.plan === plan ? before.attempts : 0;
        unseen.set(plan.name, (unseen.get(plan.name) ?? 0) + attempts - last - 1);
      }
    }
  }
  for (const [queue, count] of unseen) {
    const lost = ledger.lostLeases.get(queue)!;
    const capacity = lost.reduce((sum, { batchSize }) => sum + batchSize, 0);
    if (count <= capacity) continue;
    ledger.violation(
      "attempts",
      `${count} leases in '${queue}' that nobody saw, and lost replies for ${capacity} only`,
    );
  }
}

function byPartition(ledger: Ledger): ReadonlyMap<string, Delivery[]> {
  const partitions = new Map<string, Delivery[]>();
  for (const delivery of ledger.deliveries) {
    const key = `${delivery.plan.name} ${delivery.partition}`;
    const list = partitions.get(key);
    if (list === undefined) partitions.set(key, [delivery]);
    else list.push(delivery);
  }
  for (const list of partitions.values()) list.sort((a, b) => (a.id < b.id ? -1 : 1));
  return partitions;
}

// In the order of their ids, items are leased one after the other; and ids follow production: of
// one producer in the order of its requests, of several whenever one request was answered before
// the other was sent.
function checkOrder(ledger: Ledger, deliveries: readonly Delivery[]): void {
  let latest = Number.NEGATIVE_INFINITY;
  let latestSent: Item | undefined;
  const lastOf = new Map<string, Item>();
  for (const delivery of deliveries) {
    if (delivery.item.isBlurred) continue;
    if (delivery.start < latest - CLOCK_SLACK) {
      ledger.violation("order", `${delivery.id} was leased before smaller ids`, delivery.item);
    }
    latest = Math.max(latest, delivery.start);

    const { item } = delivery;
    if (firstDelivery(ledger, item) !== delivery) continue;
    const { producer, endedAt, outcome } = item.produce;
    const before = lastOf.get(producer);
    if (before !== undefined && before.serial > item.serial) {
      ledger.violation("order", `produced before ${before.serial}, but behind it`, item);
    }
    lastOf.set(producer, item);
    const overtaken = latestSent !== undefined && latestSent.produce.sentAt > endedAt;
    if (outcome === "acked" && overtaken) {
      ledger.violation(
        "order",
        `behind an item of a later request: ${describe(latestSent!)}`,
        item,
      );
    }
    if (latestSent === undefined || item.produce.sentAt > latestSent.produce.sentAt) {
      latestSent = item;
    }
  }
}

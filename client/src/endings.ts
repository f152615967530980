// How the items of a worker end: completed, given back or dead, by what their handler has decided or by the
// retry policy. Never throws: what goes wrong is an event, and the item comes back when its lease ends.

import type { QueratorClient } from "./client.ts";
import { toMs } from "./duration.ts";
import { LeaseLostError, textOf } from "./errors.ts";
import type { Events } from "./events.ts";
import type { LeasedItem } from "./items.ts";
import type { RetryPolicy } from "./retry-policy.ts";
import { checkWhen, type Outcome, type RetryWhen, retryAt } from "./work-item.ts";
import type { WorkerEvents } from "./worker-options.ts";

// If the policy itself fails.
const RETRY_AFTER_MS = 10_000;

export interface EndingsOptions {
  readonly client: QueratorClient;
  readonly queueName: string;
  readonly events: Events<WorkerEvents>;
  readonly retry: RetryPolicy;
  /** Told when an item has ended. */
  readonly onEnd: () => void;
  /** What to do with an item that was to be released, by a server that cannot. */
  readonly onUnreleased: (item: LeasedItem, when: RetryWhen) => void;
}

export class Endings {
  readonly counters = { completed: 0, retried: 0, released: 0, dead: 0, failed: 0, lost: 0 };
  readonly #options: EndingsOptions;
  #underWay = 0;

  constructor(options: EndingsOptions) {
    this.#options = options;
  }

  /** Items whose end is not confirmed yet. */
  get underWay(): number {
    return this.#underWay;
  }

  /** Ends an item. */
  end(item: LeasedItem, outcome: Outcome): void {
    const { client } = this.#options;
    const at = "when" in outcome ? retryAt(outcome.when, client.now()) : undefined;
    this.#underWay++;
    this.#send(item, outcome, at).then(
      () => {
        this.#note(item, outcome, at);
        this.#over();
      },
      (error: unknown) => {
        const isUnknown = (error as { code?: unknown }).code === "not-implemented";
        if (outcome.kind === "release" && isUnknown) this.#options.onUnreleased(item, outcome.when);
        else if (error instanceof LeaseLostError) this.lose(item);
        else this.report(error);
        this.#over();
      },
    );
  }

  #send(item: LeasedItem, outcome: Outcome, retryAt: Date | undefined): Promise<void> {
    const { client, queueName } = this.#options;
    if (outcome.kind === "complete") return client.complete(queueName, item);
    const { id, partition } = item;
    if (outcome.kind === "release") {
      return client.release(queueName, { id, partition, at: retryAt });
    }
    const dead = outcome.kind === "dead";
    return client.retry(queueName, { id, partition, retryAt, dead });
  }

  #note(item: LeasedItem, outcome: Outcome, at: Date | undefined): void {
    const { counters } = this;
    const { events } = this.#options;
    switch (outcome.kind) {
      case "complete":
        counters.completed++;
        events.emit("completed", { item });
        break;
      case "retry":
        counters.retried++;
        events.emit("retried", { item, at });
        break;
      case "release":
        counters.released++;
        events.emit("released", { item, at });
        break;
      case "dead":
        counters.dead++;
        events.emit("dead", { item, reason: outcome.reason });
    }
  }

  #over(): void {
    this.#underWay--;
    this.#options.onEnd();
  }

  /** Ends an item whose handler failed, as the policy says, or as `outcome` does. */
  fail(item: LeasedItem, error: unknown, outcome = this.judge(item, error)): void {
    this.counters.failed++;
    this.#options.events.emit("failed", { item, error });
    this.end(item, outcome);
  }

  /** What the policy says of an item that failed. */
  judge(item: LeasedItem, error: unknown): Outcome {
    try {
      const decision = this.#options.retry({ attempts: item.attempts, error, item });
      // A policy cannot wait. That it did is told below, and of what becomes of it nobody wants to hear.
      const waited: unknown = decision;
      if (waited instanceof Promise) waited.catch(() => undefined);
      if (decision === "dead") return deadOf(error);
      const when = { after: toMs(decision, "the wait of the retry policy") };
      checkWhen(when);
      return { kind: "retry", when };
    } catch (policyError) {
      this.report(policyError);
      return { kind: "retry", when: { after: RETRY_AFTER_MS } };
    }
  }

  /** Its lease has ended: it is, or soon will be, somebody else's. */
  lose(item: LeasedItem): void {
    this.counters.lost++;
    this.#options.events.emit("lost", { item });
  }

  report(error: unknown): void {
    const { events, queueName } = this.#options;
    if (events.emit("error", { error })) return;
    console.error(`Querator worker of queue '${queueName}': ${textOf(error)}`);
  }
}

/** To the dead queue, for an error. */
export function deadOf(error: unknown): Outcome {
  return { kind: "dead", reason: textOf(error) };
}

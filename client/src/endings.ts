// How the items of a worker end: completed, given back or dead, by what their handler has decided or by the
// retry policy. The server is told until it has answered or the lease has ended. Never throws: what goes
// wrong is an event, and the item comes back when its lease ends. Of a server that is away it tells once.

import type { QueratorClient } from "./client.ts";
import { toMs } from "./duration.ts";
import { ClosedError, isNotImplemented, LeaseLostError, QueratorError, textOf } from "./errors.ts";
import type { Events } from "./events.ts";
import { HeldItem } from "./held-item.ts";
import type { LeasedItem } from "./items.ts";
import type { RetryPolicy } from "./retry-policy.ts";
import { backAt, checkWhen, type Outcome, type RetryWhen, timeOf } from "./work-item.ts";
import type { WorkerEvents } from "./worker-options.ts";

// If the policy itself fails.
const RETRY_AFTER_MS = 10_000;

const BY_QUEUE = "its queue has ended it, by maxAttempts or expireTimeout";

// What passes sooner is not worth a word.
const TROUBLE_MS = 5_000;
const KINDS_MAX = 20;

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
  #isGivenUp = false;
  // Since when requests have been failing, by performance.now(), and what kinds of it were told.
  #troubleSince: number | undefined;
  readonly #told = new Set<unknown>();
  // The same for all items, as there may be many.
  readonly #how = {
    onRepeat: (failure: QueratorError) => this.onRepeat(failure),
    isGivenUp: () => this.#isGivenUp,
  };

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
    const at = "when" in outcome ? timeOf(outcome.when, client.now()) : undefined;
    this.#underWay++;
    let became = outcome;
    const onDead = (): void => {
      if (outcome.kind === "retry") became = { kind: "dead", reason: outcome.reason ?? BY_QUEUE };
    };
    this.#send(item, outcome, onDead).then(
      () => {
        this.works();
        this.#note(item, became, at);
        this.#over();
      },
      (error: unknown) => {
        if (outcome.kind === "release" && isNotImplemented(error)) {
          this.#options.onUnreleased(item, outcome.when);
        } else if (!this.#isGivenUp) {
          this.#noteFailure(item, error);
        }
        this.#over();
      },
    );
  }

  #send(item: LeasedItem, outcome: Outcome, onDead: () => void): Promise<void> {
    const { client, queueName } = this.#options;
    const ref = item instanceof HeldItem ? item.ref : item;
    switch (outcome.kind) {
      case "complete":
        return client.complete(queueName, ref, this.#how);
      case "dead":
        return client.reject(queueName, ref, this.#how);
    }
    const { leaseId, leaseDeadlineMs } = ref;
    const given = { leaseId, leaseDeadlineMs, ...backAt(outcome.when, client.now()) };
    return outcome.kind === "release"
      ? client.release(queueName, given, this.#how)
      : client.retry(queueName, given, { ...this.#how, onDead });
  }

  #noteFailure(item: LeasedItem, error: unknown): void {
    // What may pass was tried for as long as its lease lasted.
    if (error instanceof LeaseLostError || isPassing(error)) this.lose(item);
    else this.report(error);
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
      return { kind: "retry", when, reason: textOf(error) };
    } catch (policyError) {
      this.report(policyError);
      return { kind: "retry", when: { after: RETRY_AFTER_MS }, reason: textOf(error) };
    }
  }

  /** Its lease has ended: it is, or soon will be, somebody else's. */
  lose(item: LeasedItem): void {
    this.counters.lost++;
    this.#options.events.emit("lost", { item });
  }

  // --- trouble with the server ---

  /** A request has failed, and is repeated: it is told if that has gone on for a while. */
  readonly onRepeat = (failure: QueratorError): void => {
    this.#troubleSince ??= performance.now();
    if (performance.now() - this.#troubleSince >= TROUBLE_MS) this.trouble(failure);
  };

  /** A request has failed, and is made again later: what has been told since one worked is not told again. */
  trouble(error: unknown): void {
    this.#troubleSince ??= performance.now();
    const kind = error instanceof QueratorError ? error.code : textOf(error);
    if (this.#told.has(kind) || this.#told.size === KINDS_MAX) return;
    this.#told.add(kind);
    this.report(error);
  }

  /** A request has been answered. */
  works(): void {
    if (this.#troubleSince === undefined) return;
    const wasTold = this.#told.size > 0;
    const afterMs = performance.now() - this.#troubleSince;
    this.#troubleSince = undefined;
    this.#told.clear();
    if (wasTold) this.#options.events.emit("recovered", { afterMs });
  }

  /** Nobody waits any longer: what is not confirmed is told, and not sent again. */
  giveUp(): void {
    if (this.#underWay === 0 || this.#isGivenUp) return;
    this.#isGivenUp = true;
    const text =
      `The worker was closed before the server had confirmed the end of ${this.#underWay} item(s):` +
      " each has ended, or comes back when its lease ends";
    this.report(new ClosedError("closed", text, { uncertain: true }));
  }

  report(error: unknown): void {
    const { events, queueName } = this.#options;
    if (events.emit("error", { error })) return;
    console.error(`Querator worker of queue '${queueName}': ${textOf(error)}`);
  }
}

function isPassing(error: unknown): boolean {
  return error instanceof QueratorError && error.retryable;
}

/** To the dead queue, for an error. */
export function deadOf(error: unknown): Outcome {
  return { kind: "dead", reason: textOf(error) };
}

// How the items of a worker end: completed, given back or dead, by what their handler has decided, or by a retry
// policy, of the worker or of the queue. The server is told until it has answered or the lease has ended. Never throws: what goes
// wrong is an event, and the item comes back when its lease ends. Of a server that is away it tells once.

import { sleep } from "./backoff.ts";
import type { QueratorClient } from "./client.ts";
import { toMs } from "./duration.ts";
import {
  ClosedError,
  ItemCancelledError,
  isNotImplemented,
  LeaseLostError,
  QueratorError,
  ServerError,
  textOf,
} from "./errors.ts";
import type { Events } from "./events.ts";
import { Fatal, RetryLater } from "./failures.ts";
import { HeldItem } from "./held-item.ts";
import type { GivenItemError } from "./item-error.ts";
import type { ItemRef, LeasedItem } from "./items.ts";
import type { FactsOfQueue } from "./queue-facts.ts";
import { exponential, type RetryPolicy } from "./retry-policy.ts";
import { backAt, checkWhen, type Outcome, type RetryWhen, timeOf } from "./work-item.ts";
import type { WorkerEvents } from "./worker-options.ts";

// If the policy itself fails.
const RETRY_AFTER_MS = 10_000;

const BY_QUEUE = "its queue has ended it, by maxAttempts or expireTimeout";
const BY_LEASE_END = "its lease has ended, and its queue has ended it with that";

// Of items that were lost it is asked whether they are dead: of so many at a time, and so often if their leases last
// on for the server.
const ASKED_MAX = 100;
const ASKED_TIMES = 3;
const ASKED_AGAIN_MS = 1_000;

// What passes sooner is not worth a word.
const TROUBLE_MS = 5_000;
const KINDS_MAX = 20;

type Completion = Outcome & { readonly kind: "complete" };

export interface EndingsOptions {
  readonly client: QueratorClient;
  readonly queueName: string;
  readonly events: Events<WorkerEvents>;
  /** The queue's if it has one, else exponential(), if left out; `server` leaves it to the server in any case. */
  readonly retry: RetryPolicy | "server" | undefined;
  readonly facts: FactsOfQueue;
  /** Told when an item has ended. */
  readonly onEnd: () => void;
  /** What to do with an item that was to be released, by a server that cannot. */
  readonly onUnreleased: (item: LeasedItem, when: RetryWhen) => void;
}

export class Endings {
  readonly counters = {
    completed: 0,
    retried: 0,
    released: 0,
    dead: 0,
    cancelled: 0,
    failed: 0,
    lost: 0,
  };
  readonly #options: EndingsOptions;
  readonly #policy: RetryPolicy;
  // That the server keeps no results has been said.
  #hasToldNoResults = false;
  #underWay = 0;
  #asking = 0;
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
    const { retry = "server" } = options;
    this.#options = options;
    this.#policy = retry === "server" ? exponential() : retry;
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
        } else if (outcome.kind === "complete" && isRefused(error)) {
          this.#endOtherwise(item, outcome, error);
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
      case "complete": {
        const { result, produce } = outcome;
        const done = result === undefined ? ref : { ...named(ref), result };
        if (produce === undefined) return client.complete(queueName, done, this.#how);
        const { onRepeat } = this.#how;
        return client.complete(queueName, done, { onRepeat, produce }).then(() => undefined);
      }
      case "dead": {
        const error = errorOf(outcome.error);
        const given = error === undefined ? ref : { ...named(ref), error };
        return client.reject(queueName, given, this.#how);
      }
    }
    const given = { ...named(ref), ...backAt(outcome.when, client.now()) };
    if (outcome.kind === "release") return client.release(queueName, given, this.#how);
    const error = errorOf(outcome.error);
    return client.retry(queueName, { ...given, error }, { ...this.#how, onDead });
  }

  // It is leased still. Without what is to be done next it is not done; without its result it is, if that is all.
  #endOtherwise(item: LeasedItem, outcome: Completion, cause: unknown): void {
    if (outcome.produce !== undefined || !isNotImplemented(cause)) {
      this.fail(item, cause);
      return;
    }
    if (!this.#hasToldNoResults) {
      this.#hasToldNoResults = true;
      const text = `Results of queue '${this.#options.queueName}' are lost. ${textOf(cause)}`;
      this.report(new ServerError("not-implemented", text, { cause }));
    }
    this.end(item, { kind: "complete" });
  }

  #noteFailure(item: LeasedItem, error: unknown): void {
    if (error instanceof ItemCancelledError) {
      this.counters.cancelled++;
      this.#options.events.emit("cancelled", { item });
      return;
    }
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

  /** Ends an item whose handler failed: as what it threw says, else by the policy, or as `outcome` does. */
  fail(item: LeasedItem, error: unknown, outcome?: Outcome): void {
    if (outcome === undefined && error instanceof RetryLater) {
      const { delay, message: reason } = error;
      this.end(item, { kind: "retry", when: { delay }, reason, error });
      return;
    }
    this.counters.failed++;
    this.#options.events.emit("failed", { item, error });
    if (outcome !== undefined) this.end(item, outcome);
    else if (error instanceof Fatal) this.end(item, deadOf(error));
    else if (typeof this.#options.retry === "function") this.end(item, this.judge(item, error));
    else void this.#failByQueue(item, error);
  }

  // Without a policy, of the queue or of the worker, what fails at once would be tried again at once, for ever.
  async #failByQueue(item: LeasedItem, error: unknown): Promise<void> {
    const { retry, facts } = this.#options;
    this.#underWay++;
    const isLeft = retry === "server" || (await facts.get()).hasRetry;
    this.#underWay--;
    const left: Outcome = { kind: "retry", when: {}, reason: textOf(error), error };
    this.end(item, isLeft ? left : this.judge(item, error));
  }

  /** What the policy of the worker says of an item that failed. */
  judge(item: LeasedItem, error: unknown): Outcome {
    try {
      const decision = this.#policy({ attempts: item.attempts, error, item });
      // A policy cannot wait. That it did is told below, and of what becomes of it nobody wants to hear.
      const waited: unknown = decision;
      if (waited instanceof Promise) waited.catch(() => undefined);
      if (decision === "dead") return deadOf(error);
      const when = { delay: toMs(decision, "the wait of the retry policy") };
      checkWhen(when);
      return { kind: "retry", when, reason: textOf(error), error };
    } catch (policyError) {
      this.report(policyError);
      return { kind: "retry", when: { delay: RETRY_AFTER_MS }, reason: textOf(error), error };
    }
  }

  /** Its lease has ended: it is, or soon will be, somebody else's. */
  lose(item: LeasedItem): void {
    this.counters.lost++;
    this.#options.events.emit("lost", { item });
    if (this.#asking === ASKED_MAX || this.#isGivenUp) return;
    this.#asking++;
    this.#underWay++;
    void this.#diedWithIts(item).then((isDead) => {
      this.#asking--;
      if (isDead) this.#note(item, { kind: "dead", reason: BY_LEASE_END }, undefined);
      this.#over();
    });
  }

  // Whether the end of its lease was the end of an item that was lost. Never rejects: what cannot be told is not.
  async #diedWithIts({ id, leaseId, attempts }: LeasedItem): Promise<boolean> {
    const { client, queueName } = this.#options;
    try {
      for (let tries = 0; tries < ASKED_TIMES && !this.#isGivenUp; tries++) {
        if (tries > 0) await sleep(ASKED_AGAIN_MS);
        const found = await client.items.get(id, { queueName, payload: false, timeout: "10s" });
        // Here it may be over some time before it is for the server.
        if (found.leaseId === leaseId) continue;
        const isDead = found.state === "dead" || found.state === "rejected";
        // In a dead queue it begins anew, and tells what it was.
        return isDead && (found.source?.attempts ?? found.attempts) === attempts;
      }
    } catch {
      // Nothing is known of it any more, or nobody can be asked.
    }
    return false;
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

// As it was asked for: what is refused is not done.
// Of what is to be done next.
const REFUSED: ReadonlySet<string> = new Set(["invalid", "queue-not-found", "unique-key-taken"]);

function isRefused(error: unknown): boolean {
  if (!(error instanceof QueratorError) || error.uncertain || error.retryable) return false;
  return isNotImplemented(error) || REFUSED.has(error.code);
}

function isPassing(error: unknown): boolean {
  return error instanceof QueratorError && error.retryable;
}

/** To the dead queue, for an error. */
export function deadOf(error: unknown): Outcome {
  return { kind: "dead", reason: textOf(error), error };
}

// What is more than a lease is said of its name, for an item has none of that.
function named({ leaseId, leaseDeadlineMs = 0 }: ItemRef): Required<ItemRef> {
  return { leaseId, leaseDeadlineMs };
}

// Anything can be thrown, or be given as a reason.
function errorOf(thrown: unknown): GivenItemError | undefined {
  if (thrown === undefined) return undefined;
  return typeof thrown === "object" && thrown !== null ? thrown : textOf(thrown);
}

// What the client's methods are told, and what they answer beside items.

import type { ChangeOptions, KeyOptions } from "./call.ts";
import type { RetryOptions } from "./connection.ts";
import type { Duration } from "./duration.ts";
import type { QueratorError } from "./errors.ts";
import type { ProduceItem } from "./items.ts";
import type { TracingOptions } from "./tracing.ts";
import type { TlsOptions } from "./transport.ts";

export interface ClientOptions {
  /** Where the server listens: `http://localhost:2319`, or `unix:/run/querator.sock`; a path before /v2 is kept. */
  readonly url?: string | URL | undefined;
  /**
   * In place of `url`: several addresses of one server, such as its owner and a standby. The first that
   * works is used, until it does not.
   */
  readonly urls?: readonly (string | URL)[] | undefined;
  /** Sent as `Authorization: Bearer <key>`. */
  readonly key?: string | undefined;
  /**
   * The namespace of all queues that are named. By default that of the key, if that is for one only, or else where a
   * queue of the name is. A server that knows no namespaces is refused.
   */
  readonly namespace?: string | undefined;
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** For calls that do not say it themselves; 30s by default, from 10ms to below 15m. */
  readonly requestTimeout?: Duration | undefined;
  /** How long the client waits beyond the server's time-out before it gives up; 5s by default. */
  readonly timeoutMargin?: Duration | undefined;
  /** How calls are repeated while their time lasts: after waits of up to 100 ms that grow to 2 s, by default. */
  readonly retry?: Partial<RetryOptions> | undefined;
  /** Items that may wait in this client to be produced; 100,000 by default. */
  readonly waitingItemsMax?: number | undefined;
  /** Their bytes; 64 MB by default. */
  readonly waitingBytesMax?: number | undefined;
  /** Milliseconds since 1970, for what depends on the server's clock; that of the system by default. */
  readonly now?: (() => number) | undefined;
  /** For `https` urls, in Node alone and without `fetch`: whom to trust, and what to show. */
  readonly tls?: TlsOptions | undefined;
  /** Makes spans of what the client and its workers do, with the OpenTelemetry that the program has set up. */
  readonly tracing?: TracingOptions | undefined;
  /** Used for every request in place of what is fastest here. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** Of the calls that the server gives up after a time that is told to it. */
export interface HotOptions {
  /** Ends the call: it rejects with the signal's reason. What has been sent may be done all the same. */
  readonly signal?: AbortSignal | undefined;
  /** How long the server may take, repeats included; that of the client by default. */
  readonly requestTimeout?: Duration | undefined;
  /** Told of each failure after which the call is repeated. */
  readonly onRepeat?: ((failure: QueratorError) => void) | undefined;
}

export interface ProduceOptions extends HotOptions, KeyOptions {
  /**
   * Produces all of the items, which are 1000 at most, or none of them, in a request of its own: if a
   * `uniqueKey` is taken with `onDuplicate: "reject"`, say. By default the others are produced.
   */
  readonly allOrNone?: boolean | undefined;
  /**
   * Whether items may be there twice, which does no harm if what consumes them is idempotent; no by default. Then
   * requests travel without an Idempotency-Key, which costs the server less, and are repeated all the same. To a
   * server that knows /v1 only, which has no such keys, nothing else is repeated that may have been done.
   */
  readonly mayRepeat?: boolean | undefined;
}

export interface LeaseOptions extends HotOptions {
  /** Items at most, 1 to 1000; 1 by default. */
  readonly batchSize?: number | undefined;
  /** A name for people to see. Sends a request of its own; without it leases made at the same time travel together. */
  readonly client?: string | undefined;
  /** How long the lease lasts, in place of what the queue says: 10ms to 12h. */
  readonly leaseTimeout?: Duration | undefined;
  /** Only items of these kinds, 16 at most; what is passed over stays in order. All by default. */
  readonly kinds?: readonly string[] | undefined;
  /** Sends a request of its own also without a name. */
  readonly isShared?: boolean | undefined;
  /**
   * Answers items that come although the signal was aborted, in place of giving them back: only of a
   * request of its own. No by default.
   */
  readonly keepsLate?: boolean | undefined;
  /** Whether a client with `tracing` makes a span of it; yes by default. */
  readonly isTraced?: boolean | undefined;
}

export interface EndOptions extends HotOptions, KeyOptions {
  /**
   * Ends all of the leases, which are 1000 at most and of one partition, or none of them, in a request of its
   * own. By default each is ended by itself.
   */
  readonly allOrNone?: boolean | undefined;
}

export interface CompleteOptions extends EndOptions {
  /** What came of the work, of each that does not say its own: any JSON up to 64 KiB. */
  readonly result?: unknown;
}

/** What is to be done when something is complete. */
export interface NextItems {
  /** That of what is complete, by default; it must lie in the same storage, on whatever thread. */
  readonly queueName?: string | undefined;
  readonly items: ProduceItem | readonly ProduceItem[];
}

export interface CompleteAndProduceOptions extends Omit<CompleteOptions, "allOrNone"> {
  /** Written in the transaction that ends the leases, of which there are 1000 at most: both or neither. */
  readonly produce: NextItems | readonly NextItems[];
}

export interface GiveBackOptions extends EndOptions {
  /**
   * Told, before the call ends, the leaseId of each item that will not be tried again, for its queue has ended
   * it. Not by servers that know /v1 only, nor if the reply was lost.
   */
  readonly onDead?: ((leaseId: string) => void) | undefined;
}

export interface ExtendOptions extends EndOptions {
  /** How long the leases last from now on, by the clock of the server: 1ms to 12h. Not needed with `progress`. */
  readonly for?: Duration | undefined;
  /** How far the work is, any JSON up to 4 KiB: for `items.get` to tell, as long as the lease lasts. */
  readonly progress?: unknown;
}

export interface CloseOptions {
  /** How long calls under way are waited for; 30 seconds by default. */
  readonly timeoutMs?: number | undefined;
}

export interface ClearOptions extends ChangeOptions {
  /** What waits. */
  readonly queue?: boolean | undefined;
  /** What is scheduled. */
  readonly scheduled?: boolean | undefined;
  /** With `queue`: what is leased as well. */
  readonly destructive?: boolean | undefined;
}

export interface RawCallOptions extends ChangeOptions {
  /** It is repeated also if it may have been done. No by default. */
  readonly isRepeatable?: boolean | undefined;
  /**
   * Numbers of JSON payloads that JavaScript would round are kept as they are written, as `JSON.rawJSON`, where
   * the platform has it. No by default.
   */
  readonly isExact?: boolean | undefined;
}

export interface Health {
  readonly status: "pass" | "warn" | "fail";
  readonly version: string;
  readonly checks: Readonly<Record<string, readonly Readonly<Record<string, string>>[]>>;
}

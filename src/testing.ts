// `querator/testing`: a server in memory inside a test's own process, with virtual time and a client of it.
// It listens on a free port of this machine only, and is gone when it is stopped.

import type { ClientOptions, QueratorClient, QueueSettings } from "@querator/client";
import { SystemClock } from "./clock.ts";
import { formatDuration } from "./duration.ts";
import { type RunningServer, startServer } from "./index.ts";

/** The time of a test server: it runs with the system's until it is first changed, then it stands. */
export interface TestClock {
  /** What time it is for the server. */
  now(): Date;
  /** Moves time on, by milliseconds or a text such as `1h30m`. What falls due happens at once. */
  advance(duration: number | string): Promise<void>;
  /** Puts the time to a moment; it cannot go back. */
  set(time: Date): Promise<void>;
  /** Lets the time run on from where it is. */
  run(): Promise<void>;
}

export interface TestServerOptions {
  /** Queues to make; a name alone has leases of a minute, and keeps items for ever. */
  readonly queues?: readonly (string | QueueSettings)[];
  /** More for the client, `url` and `now` excepted. */
  readonly client?: Omit<ClientOptions, "url" | "now">;
}

export interface TestServer extends AsyncDisposable {
  /** `http://127.0.0.1:port`. */
  readonly url: string;
  /** A client whose clock is that of the server. */
  readonly client: QueratorClient;
  readonly clock: TestClock;
  /**
   * Waits until the queues, all by default, hold nothing that waits or is leased; what is scheduled is
   * not waited for. Rejects after `timeoutMs`, 10 seconds by default.
   */
  drain(queueNames?: readonly string[], options?: WaitOptions): Promise<void>;
  /** Waits until a condition holds, and answers what it answered. Rejects like `drain`. */
  waitFor<T>(condition: () => T | Promise<T>, options?: WaitOptions): Promise<NonNullable<T>>;
  /** Ends the client and the server; close workers before. May be called more than once. */
  stop(): Promise<void>;
}

export interface WaitOptions {
  readonly timeoutMs?: number;
}

// How often a condition is looked at, in microseconds.
const LOOK_EVERY = 2_000;
// How long the first look at it may take, in microseconds.
const FIRST_LOOK = 1_000_000;

/** Starts a server for a test. */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const server = await startServer(
    { address: "127.0.0.1:0", memory: true, dev: true },
    { logger: { debug() {}, info() {}, warn() {}, error() {} } },
  );
  const clock = new RemoteClock(server.address);
  const { QueratorClient: Client } = await clientPackage();
  const client = new Client({
    ...options.client,
    url: server.address,
    now: () => clock.now().getTime(),
  });
  const test = new InProcess(server, client, clock);
  try {
    for (const queue of options.queues ?? []) {
      await client.queues.create(typeof queue === "string" ? { queueName: queue } : queue);
    }
  } catch (error) {
    await test.stop();
    throw error;
  }
  return test;
}

// By a name that the build leaves as it is; every other import of the client becomes one of the copy that
// the package of the server carries.
const PACKAGE: string = "@querator/client";

// The client of the program that is tested, if it has one: its errors are then of the classes that the
// program knows.
async function clientPackage(): Promise<typeof import("@querator/client")> {
  try {
    return (await import(PACKAGE)) as typeof import("@querator/client");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ERR_MODULE_NOT_FOUND" || !message.includes(`'${PACKAGE}'`)) throw error;
    return import("@querator/client");
  }
}

class InProcess implements TestServer {
  readonly url: string;
  readonly client: QueratorClient;
  readonly clock: TestClock;
  readonly #server: RunningServer;
  readonly #time = new SystemClock();

  constructor(server: RunningServer, client: QueratorClient, clock: TestClock) {
    this.url = server.address;
    this.client = client;
    this.clock = clock;
    this.#server = server;
  }

  async drain(queueNames?: readonly string[], options: WaitOptions = {}): Promise<void> {
    let left = "";
    try {
      await this.waitFor(async () => {
        const names =
          queueNames ?? (await Array.fromAsync(this.client.queues.list(), (q) => q.queueName));
        const stats = await Promise.all(names.map((name) => this.client.stats(name)));
        left = stats
          .filter(({ total }) => total > 0)
          .map((s) => `'${s.queueName}' holds ${s.total} items, ${s.totalLeased} of them leased`)
          .join("; ");
        return left === "";
      }, options);
    } catch (error) {
      throw left === "" ? error : new Error(`Queues do not drain: ${left}`, { cause: error });
    }
  }

  async waitFor<T>(
    condition: () => T | Promise<T>,
    { timeoutMs = 10_000 }: WaitOptions = {},
  ): Promise<NonNullable<T>> {
    const from = this.#time.steady();
    const until = from + timeoutMs * 1_000;
    // A condition that is never answered is given up as well, but the first look is waited for.
    const late = Promise.withResolvers<never>();
    const cancel = this.#time.wakeAfter(Math.max(timeoutMs * 1_000, FIRST_LOOK), () =>
      late.reject(notYet(timeoutMs)),
    );
    late.promise.catch(() => undefined);
    try {
      for (;;) {
        const seen = await Promise.race([condition(), late.promise]);
        if (seen) return seen;
        if (this.#time.steady() >= until) throw notYet(timeoutMs);
        await new Promise<void>((resolve) => this.#time.wakeAfter(LOOK_EVERY, resolve));
      }
    } finally {
      cancel();
    }
  }

  async stop(): Promise<void> {
    await this.client.close();
    await this.#server.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function notYet(timeoutMs: number): Error {
  return new Error(`What the test waits for has not happened within ${timeoutMs} ms`);
}

class RemoteClock implements TestClock {
  readonly #url: string;
  readonly #system = new SystemClock();
  // Added to the system's time while the server's runs, in microseconds.
  #shift = 0;
  // The server's time while it stands.
  #still: number | undefined;

  constructor(url: string) {
    this.#url = `${url}/v1/dev.clock`;
  }

  now(): Date {
    return new Date((this.#still ?? this.#system.now() + this.#shift) / 1_000);
  }

  async advance(duration: number | string): Promise<void> {
    if (typeof duration === "number" && !Number.isFinite(duration)) {
      throw new Error(`Cannot change the clock: advance is invalid; got '${duration}'`);
    }
    const advance = typeof duration === "string" ? duration : formatDuration(duration * 1_000);
    this.#still = await this.#change({ advance });
  }

  async set(time: Date): Promise<void> {
    const now = this.now();
    if (time < now) {
      const to = time.toISOString();
      throw new Error(
        `Cannot change the clock: it is ${now.toISOString()}, and cannot go back to ${to}`,
      );
    }
    this.#still = await this.#change({ now: time.toISOString() });
  }

  async run(): Promise<void> {
    this.#shift = (await this.#change({ run: true })) - this.#system.now();
    this.#still = undefined;
  }

  // Answers what time it is then.
  async #change(change: object): Promise<number> {
    const response = await fetch(this.#url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(change),
    });
    const { now, message } = (await response.json()) as { now?: string; message?: string };
    if (now === undefined) throw new Error(`Cannot change the clock: ${message}`);
    return Date.parse(now) * 1_000;
  }
}

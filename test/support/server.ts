// A server of a test's own: in this process, on a free port, with virtual time, stopped when the
// test ends. Requests go over real sockets.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { ServerOptions } from "../../src/config/config.ts";
import type { Logger } from "../../src/log.ts";
import { type RunningServer, type ServerHooks, startServer } from "../../src/server/server.ts";
import { post } from "./post.ts";

// What never happens fails its test. A machine that is fast has looked often when little time has passed, and one
// that is slow seldom when much has: both are waited for.
const LOOKS = 2_000;
const PATIENCE_MS = 30_000;

export const SILENT: Logger = { debug() {}, info() {}, warn() {}, error() {} };

export interface Reply {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
  readonly body: any;
}

/** A directory that is gone when the test ends. */
export function temporaryDirectory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "querator-test-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** The first key of servers that `setupClosed` starts. */
export const ADMIN_KEY = `qtr-test-${"A".repeat(43)}`;

export class TestServer {
  readonly server: RunningServer;
  /** The key that is shown with every call. */
  readonly key: string | undefined;

  constructor(server: RunningServer, key?: string) {
    this.server = server;
    this.key = key;
  }

  /** The same server, asked with another key, or with none. */
  as(key: string | undefined): TestServer {
    return new TestServer(this.server, key);
  }

  /** Calls an endpoint with JSON: by its path, or by what follows /v1/. */
  async call(path: string, request: object, signal?: AbortSignal): Promise<Reply> {
    const whole = path.startsWith("/") ? path : `/v1/${path}`;
    const url = `${this.server.address}${whole}`;
    const { status, text } = await post(url, JSON.stringify(request), { signal, key: this.key });
    return { status, body: JSON.parse(text) };
  }

  /** Calls an endpoint that must succeed; answers the body. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
  async ok(path: string, request: object): Promise<any> {
    const { status, body } = await this.call(path, request);
    if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  async createQueue(name: string, settings: object = {}): Promise<void> {
    await this.ok("queues.create", {
      queue_name: name,
      lease_timeout: "1m",
      expire_timeout: "24h",
      requested_partitions: 1,
      ...settings,
    });
  }

  async produce(queue: string, ...payloads: string[]): Promise<void> {
    const items = payloads.map((utf8) => ({ utf8 }));
    await this.ok("queue.produce", { queue_name: queue, request_timeout: "10s", items });
  }

  #clients = 0;

  // biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
  lease(queue: string, batch = 1): Promise<any> {
    return this.ok("queue.lease", {
      queue_name: queue,
      request_timeout: "10s",
      batch_size: batch,
      client_id: `client-${++this.#clients}`,
    });
  }

  complete(queue: string, ids: string[], partition = 0): Promise<Reply> {
    const request = { queue_name: queue, partition, ids, request_timeout: "10s" };
    return this.call("queue.complete", request);
  }

  retry(queue: string, items: object[], partition = 0): Promise<Reply> {
    return this.call("queue.retry", { queue_name: queue, partition, items });
  }

  /** The statistics of a queue, and of its first partition. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
  async stats(queue: string): Promise<any> {
    const [logical] = (await this.ok("queue.stats", { queue_name: queue })).logicalQueues;
    const { partitions, ...rest } = logical;
    return { ...rest, partitions, ...partitions[0] };
  }

  // biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
  async list(queue: string, table: "items" | "scheduled" = "items", partition = 0): Promise<any[]> {
    const path = `storage/${table}.list`;
    return (await this.ok(path, { queue_name: queue, partition })).items ?? [];
  }

  /** Moves virtual time on; from the first call on it stands still in between. */
  advance(duration: string): Promise<{ now: string }> {
    return this.ok("dev.clock", { advance: duration });
  }

  /** Waits until `look` answers something truthy, for as many looks and as long as a test has patience. */
  async until<T>(look: () => Promise<T>): Promise<Exclude<T, false | undefined>> {
    const from = performance.now();
    for (let i = 0; i < LOOKS || performance.now() - from < PATIENCE_MS; i++) {
      const seen = await look();
      if (seen) return seen as Exclude<T, false | undefined>;
      await new Promise((resolve) => setImmediate(resolve));
    }
    throw new Error("what the test waits for does not happen");
  }
}

/** Starts a server for one test, in memory unless the options say otherwise, with `--dev`. */
export async function setup(
  t: TestContext,
  options: ServerOptions = {},
  hooks: ServerHooks = {},
): Promise<TestServer> {
  const hasPlace = options.dataDir !== undefined || options.postgres !== undefined;
  const storage = hasPlace ? {} : { memory: true };
  const server = await startServer(
    { address: "127.0.0.1:0", dev: true, ...storage, ...options },
    { logger: SILENT, ...hooks },
  );
  t.after(() => server.stop());
  return new TestServer(server);
}

/** Starts a server on which callers have to show a key; it is asked with the first one, which may do everything. */
export async function setupClosed(
  t: TestContext,
  options: ServerOptions = {},
  hooks: ServerHooks = {},
): Promise<TestServer> {
  const { server } = await setup(t, { auth: "keys", bootstrapKey: ADMIN_KEY, ...options }, hooks);
  return new TestServer(server, ADMIN_KEY);
}

export function payloads(reply: { items?: { bytes?: string; payload?: string }[] }): string[] {
  return (reply.items ?? []).map((item) =>
    Buffer.from(item.bytes ?? item.payload ?? "", "base64").toString(),
  );
}

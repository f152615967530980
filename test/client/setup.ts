// A client of a test's own, with a server of its own.

import type { TestContext } from "node:test";
import { type ClientOptions, QueratorClient } from "@querator/client";
import type { ServerOptions } from "../../src/config/config.ts";
import type { ServerHooks } from "../../src/server/server.ts";
import { setup as setupServer, type TestServer } from "../support/server.ts";

export interface World {
  readonly server: TestServer;
  readonly client: QueratorClient;
}

/** A client that ends with the test. */
export function clientOf(
  t: TestContext,
  url: string,
  options: Partial<ClientOptions> = {},
): QueratorClient {
  const client = new QueratorClient({ url, ...options });
  t.after(() => client.close());
  return client;
}

/** A server, a client of it, and the queue `jobs`. */
export async function setup(
  t: TestContext,
  options: {
    readonly client?: Partial<ClientOptions>;
    readonly server?: ServerOptions;
    readonly hooks?: ServerHooks;
  } = {},
): Promise<World> {
  const server = await setupServer(t, options.server, options.hooks);
  const client = clientOf(t, server.server.address, options.client);
  await client.queues.create({ queueName: "jobs", leaseTimeout: "1m", expireTimeout: "24h" });
  return { server, client };
}

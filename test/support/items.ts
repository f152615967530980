// A server of a test's own, as a client of /v2 uses it.

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { ServerOptions } from "../../src/config/config.ts";
import { type Reply, setup, type TestServer } from "./server.ts";

// biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
export type Json = any;

export class World {
  readonly server: TestServer;

  constructor(server: TestServer) {
    this.server = server;
  }

  call(path: string, request: object): Promise<Reply> {
    return this.server.call(`/v2/${path}`, request);
  }

  ok(path: string, request: object): Promise<Json> {
    return this.server.ok(`/v2/${path}`, request);
  }

  /** The same in Protobuf. */
  async protobuf<Request extends DescMessage, Reply extends DescMessage>(
    path: string,
    request: Request,
    fields: Parameters<typeof create<Request>>[1],
    reply: Reply,
  ): Promise<MessageShape<Reply>> {
    const response = await fetch(`${this.server.server.address}/v2/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/protobuf", Accept: "application/protobuf" },
      body: Buffer.from(toBinary(request, create(request, fields))),
    });
    assert.equal(response.status, 200, path);
    return fromBinary(reply, new Uint8Array(await response.arrayBuffer()));
  }

  /** Produces items; answers their ids. */
  async produce(queue: string, ...items: object[]): Promise<string[]> {
    const { results } = await this.ok("queue.produce", { queue_name: queue, items });
    return results.map(({ id }: Json) => id);
  }

  async lease(queue: string, batch_size = 1): Promise<Json[]> {
    const request = { queue_name: queue, batch_size, request_timeout: "10s" };
    return (await this.ok("queue.lease", request)).items;
  }

  get(id: string, more: object = {}): Promise<Json> {
    return this.ok("item.get", { id, ...more });
  }

  async state(id: string): Promise<string> {
    const { status, body } = await this.call("item.get", { id });
    return status === 200 ? body.state : body.code;
  }

  /** What became of each lease: "ok" or a code. */
  async end(
    path: string,
    queue: string,
    lease_ids: string[],
    more: object = {},
  ): Promise<string[]> {
    const leases = lease_ids.map((lease_id) => ({ lease_id, ...more }));
    const { results } = await this.ok(path, { queue_name: queue, leases });
    return results.map(({ ok, code }: Json) => (ok === true ? "ok" : code));
  }
}

export async function world(t: TestContext, options: ServerOptions = {}): Promise<World> {
  return new World(await setup(t, options));
}

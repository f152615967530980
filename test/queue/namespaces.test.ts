// Queues of the same name in several namespaces are several queues, whatever is done with them, on every storage, over
// threads, and after a restart. Which namespace is meant is said by a header, or by where a name is.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FaultyStorage } from "../support/faulty-storage.ts";
import type { Json } from "../support/openapi.ts";
import { type Reply, setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

/** A server, asked about one namespace; "" says none. */
class In {
  readonly #server: TestServer;
  readonly #namespace: string;

  constructor(server: TestServer, namespace: string) {
    this.#server = server;
    this.#namespace = namespace;
  }

  async call(path: string, request: object): Promise<Reply> {
    const own = this.#namespace === "" ? {} : { "X-Querator-Namespace": this.#namespace };
    const response = await fetch(`${this.#server.server.address}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...own },
      body: JSON.stringify(request),
    });
    const text = await response.text();
    // What a queue is called inside is nobody's business.
    assert.ok(!text.includes("~"), `${path}: ${text}`);
    return { status: response.status, body: JSON.parse(text) };
  }

  async ok(path: string, request: object): Promise<Json> {
    const { status, body } = await this.call(path, request);
    assert.equal(status, 200, `${path}: ${JSON.stringify(body)}`);
    return body;
  }

  async payloads(queue_name: string): Promise<string[]> {
    const { items = [] } = await this.ok("/v2/items.list", { queue_name, payload: true });
    // What came over /v1 is bytes.
    return items
      .map(({ utf8, bytes }: Json) => utf8 ?? Buffer.from(bytes, "base64").toString())
      .sort();
  }
}

const NAMES = ["_system", "a", "b"];

for (const [place, driver, threads] of PLACES) {
  describe(`namespaces on ${place}`, () => {
    test("queues of the same name have nothing in common, also after a restart", async (t) => {
      const options = { threads, ...(await freshPlace(t, driver)) };
      let server = await setup(t, options);
      let spaces = NAMES.map((name) => new In(server, name));
      for (const [i, space] of spaces.entries()) {
        const name = NAMES[i]!;
        if (name !== "_system") await space.ok("/v2/namespaces.create", { name });
        await space.ok("/v2/queues.create", { queue_name: "dead", reference: name });
        const settings = { dead_queue: "dead", reference: name, max_attempts: i + 1 };
        await space.ok("/v2/queues.create", { queue_name: "jobs", ...settings });
        const items = ["1", "2", "3"].map((n) => ({ utf8: `${name}${n}`, unique_key: n }));
        const made = await space.ok("/v2/queue.produce", { queue_name: "jobs", items });
        assert.deepEqual(
          made.results.map(({ status }: Json) => status),
          ["created", "created", "created"],
        );
        const { items: leased } = await space.ok("/v2/queue.lease", { queue_name: "jobs" });
        assert.equal(leased[0].utf8, `${name}1`);
        const leases = [{ lease_id: leased[0].lease_id }];
        await space.ok("/v2/queue.reject", { queue_name: "jobs", leases });
      }
      if (driver !== "memory") {
        await server.server.stop();
        server = await setup(t, options);
        spaces = NAMES.map((name) => new In(server, name));
      }
      for (const [i, space] of spaces.entries()) {
        const name = NAMES[i]!;
        assert.deepEqual(await space.payloads("jobs"), [`${name}2`, `${name}3`]);
        assert.deepEqual(await space.payloads("dead"), [`${name}1`]);
        const { queues } = await space.ok("/v2/queues.list", {});
        assert.deepEqual(
          queues.map((each: Json) => [each.queue_name, each.reference]),
          [
            ["dead", name],
            ["jobs", name],
          ],
        );
        const { items: listed } = await space.ok("/v1/queues.list", { namespace: name });
        assert.deepEqual(
          listed.map((each: Json) => [each.queue_name, each.namespace]),
          [
            ["dead", name],
            ["jobs", name],
          ],
        );
        assert.equal((await space.ok("/v2/queues.info", { queue_name: "jobs" })).reference, name);
      }
      const [system, a, b] = spaces as [In, In, In];

      // The way back leads to where it died.
      const { groups } = await a.ok("/v2/queue.dead_groups", { queue_name: "dead" });
      assert.equal(groups[0].source_queue, "jobs");
      let redrive = await a.ok("/v2/queue.redrive", { queue_name: "dead" });
      while (redrive.state === "running") {
        redrive = await a.ok("/v2/redrives.info", { queue_name: "dead", id: redrive.id });
      }
      assert.equal(redrive.moved, 1);
      assert.deepEqual(await a.payloads("jobs"), ["a1", "a2", "a3"]);
      assert.deepEqual(await b.payloads("jobs"), ["b2", "b3"]);
      const to = await b.call("/v2/queue.redrive", { queue_name: "dead", to: "none" });
      assert.deepEqual([to.status, to.body.field], [404, "to"]);

      // An item is found by its id, wherever it is.
      const { items: ofA } = await a.ok("/v2/items.list", { queue_name: "jobs" });
      const found = await system.ok("/v2/item.get", { id: ofA[0].id, payload: true });
      assert.deepEqual([found.queue_name, found.utf8], ["jobs", "a2"]);
      await system.ok("/v2/item.cancel", { id: ofA[0].id });
      assert.deepEqual(await a.payloads("jobs"), ["a1", "a3"]);

      // What is moved out of one goes into the other.
      const { items } = await a.ok("/v2/items.list", { queue_name: "jobs", payload: true });
      const copies = items.map(({ id, utf8 }: Json) => ({ id, utf8 }));
      await b.ok("/v2/items.import", { queue_name: "jobs", items: copies });
      assert.deepEqual(await b.payloads("jobs"), ["a1", "a3", "b2", "b3"]);
      assert.deepEqual(await a.payloads("jobs"), ["a1", "a3"]);

      // What comes after is in the same namespace.
      const { items: leased } = await b.ok("/v2/queue.lease", { queue_name: "jobs" });
      await b.ok("/v2/queue.complete", {
        queue_name: "jobs",
        leases: [{ lease_id: leased[0].lease_id }],
        produce: [{ queue_name: "jobs", items: [{ utf8: "b4" }] }],
      });
      assert.ok((await b.payloads("jobs")).includes("b4"));
      const stats = await b.ok("/v2/queue.stats", { queue_names: ["jobs", "dead", "none"] });
      assert.deepEqual(
        stats.queues.map(({ queue_name, code }: Json) => [queue_name, code]),
        [
          ["jobs", undefined],
          ["dead", undefined],
          ["none", "queue_not_found"],
        ],
      );

      const { queues: diffs } = await b.ok("/v2/queues.apply", {
        queues: [
          { queue_name: "jobs", max_attempts: 9 },
          { queue_name: "more", dead_queue: "dead" },
        ],
      });
      assert.deepEqual(
        diffs.map(({ queue_name, action }: Json) => [queue_name, action]),
        [
          ["jobs", "updated"],
          ["more", "created"],
        ],
      );
      await a.ok("/v2/queues.delete", { queue_name: "jobs" });
      assert.equal((await a.call("/v2/queues.info", { queue_name: "jobs" })).status, 404);
      const { max_attempts } = await b.ok("/v2/queues.info", { queue_name: "jobs" });
      assert.equal(max_attempts, 9);
      assert.deepEqual(await system.payloads("jobs"), ["_system2", "_system3"]);
      for (const [path, request] of [
        ["queues.delete", { queue_name: "dead" }],
        ["queues.update", { queue_name: "dead", dead_queue: "dead" }],
        ["queues.update", { queue_name: "dead", dead_queue: "jobs" }],
        ["queues.update", { queue_name: "jobs", dead_queue: "none" }],
        ["queues.update", { queue_name: "jobs", if_version: 77 }],
        ["queues.create", { queue_name: "jobs" }],
        ["queue.produce", { queue_name: "none", items: [{}] }],
        ["queue.redrive", { queue_name: "dead", to: "dead" }],
        ["queue.lease", { queue_name: "dead", kinds: Array(20).fill("k") }],
      ] as const) {
        const { status } = await b.call(`/v2/${path}`, request);
        assert.ok(status >= 400 && status < 500, path);
      }
      const used = await b.call("/v2/namespaces.delete", { name: "b" });
      assert.deepEqual([used.status, used.body.code], [409, "namespace_in_use"]);
    });
  });
}

test("who says no namespace means the queue of everybody, or else the only one of its name", async (t) => {
  const server = await setup(t);
  const [none, a, b] = ["", "a", "b"].map((name) => new In(server, name)) as [In, In, In];
  for (const name of ["a", "b"]) await none.ok("/v2/namespaces.create", { name });
  await a.ok("/v2/queues.create", { queue_name: "jobs" });
  const items = [{ utf8: "x" }];
  const request = { queue_name: "jobs", request_timeout: "10s", items };
  await none.ok("/v1/queue.produce", request);
  assert.deepEqual(await a.payloads("jobs"), ["x"]);
  await b.ok("/v2/queues.create", { queue_name: "jobs" });
  assert.equal((await none.call("/v1/queue.produce", request)).status, 400);
  // What says so in a header says so for calls that could say it themselves.
  const settings = { lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 };
  await b.ok("/v1/queues.create", { queue_name: "more", ...settings });
  const { items: listed } = await b.ok("/v1/queues.list", {});
  assert.deepEqual(
    listed.map(({ queue_name, namespace }: Json) => [queue_name, namespace]),
    [
      ["jobs", "b"],
      ["more", "b"],
    ],
  );
  // One that is made is made where everybody is.
  await none.ok("/v2/queues.create", { queue_name: "jobs" });
  await none.ok("/v1/queue.produce", request);
  assert.deepEqual(await new In(server, "_system").payloads("jobs"), ["x"]);
  assert.deepEqual(await b.payloads("jobs"), []);
});

test("a namespace must be there before its queues, and goes after them", async (t) => {
  const server = await setup(t);
  const a = new In(server, "a");
  const made = await a.call("/v2/queues.create", { queue_name: "jobs" });
  assert.deepEqual([made.status, made.body.code], [404, "namespace_not_found"]);
  const listed = await a.call("/v2/queues.list", {});
  assert.deepEqual([listed.status, listed.body.code], [404, "namespace_not_found"]);
  await a.ok("/v2/namespaces.create", { name: "a" });
  await a.ok("/v2/queues.create", { queue_name: "jobs" });
  await a.ok("/v2/queues.delete", { queue_name: "jobs" });
  await a.ok("/v2/namespaces.delete", { name: "a" });
  const bad = await new In(server, "a:b").call("/v2/queues.list", {});
  assert.deepEqual([bad.status, bad.body.field], [400, "namespace"]);
});

test("no queue is made in a namespace that is being deleted", async (t) => {
  let storage: FaultyStorage | undefined;
  const wrapStorage = (inner: FaultyStorage["storage"]): FaultyStorage["storage"] => {
    storage = new FaultyStorage(inner);
    return storage.storage;
  };
  const server = await setup(t, {}, { wrapStorage });
  const a = new In(server, "a");
  await a.ok("/v2/namespaces.create", { name: "a" });
  storage!.next("putQueues", "wait");
  const deleted = a.ok("/v2/namespaces.delete", { name: "a" });
  await storage!.waits();
  // It is there still, and will not be when it is their turn.
  const made = a.call("/v2/queues.create", { queue_name: "jobs" });
  const applied = a.call("/v2/queues.apply", { queues: [{ queue_name: "jobs" }] });
  const old = new In(server, "").call("/v1/queues.create", {
    queue_name: "jobs",
    namespace: "a",
    lease_timeout: "1m",
    expire_timeout: "1h",
    requested_partitions: 1,
  });
  // They have been let in, and wait for their turn, when others that were sent after them have been answered.
  for (let i = 0; i < 20; i++) await a.ok("/v2/queues.list", {});
  storage!.release();
  await deleted;
  for (const reply of [await made, await applied, await old]) {
    assert.match(JSON.stringify(reply.body), /namespace does not exist; 'a' was not found/);
  }
});

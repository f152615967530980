// Queues with types, with validators of three libraries and none.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Codec, defineQueue, type StandardSchema, ValidationError } from "@querator/client";
import { type } from "arktype";
import * as v from "valibot";
import { z } from "zod";
import { startTestServer } from "../../src/testing.ts";

interface Email {
  to: string;
  retries: number;
}

const schemas: Record<string, StandardSchema<Email>> = {
  zod: z.object({ to: z.email(), retries: z.number() }),
  valibot: v.object({ to: v.pipe(v.string(), v.email()), retries: v.number() }),
  arktype: type({ to: "string.email", retries: "number" }),
};

for (const [library, schema] of Object.entries(schemas)) {
  test(`values are checked on both sides, with ${library}`, async (t) => {
    const server = await startTestServer({ queues: ["dead"] });
    t.after(() => server.stop());
    const { client } = server;
    const times = { leaseTimeout: "1m", expireTimeout: "24h" };
    await client.queues.create({ queueName: "emails", deadQueue: "dead", ...times });
    const emails = client.queue(defineQueue({ name: "emails", schema }));
    await emails.produce({ to: "a@example.org", retries: 1 }, { kind: "welcome" });
    await assert.rejects(emails.produce({ to: "nobody", retries: 1 }), (error) => {
      assert.ok(error instanceof ValidationError);
      assert.match(error.message, /^An item of queue 'emails' does not fit its schema; to: /);
      return error.issues.length === 1;
    });
    const bad = { to: "b@example.org" } as unknown as Email;
    await assert.rejects(emails.produceMany([{ to: "c@example.org", retries: 0 }, bad]));
    assert.equal((await client.stats("emails")).total, 1);

    await client.produce("emails", [{ payload: '{"to":"nobody"}' }, { payload: "no JSON" }]);
    const seen: Email[] = [];
    await using worker = emails.worker(({ value }) => seen.push(value));
    await server.drain(["emails"]);
    assert.deepEqual(seen, [{ to: "a@example.org", retries: 1 }]);
    await server.waitFor(() => worker.counters.dead === 2);
    assert.equal((await client.stats("dead")).total, 2);
  });
}

test("a schema that changes values gives the handler what it makes of them", async (t) => {
  const server = await startTestServer({ queues: ["dates"] });
  t.after(() => server.stop());
  const schema = z.object({ at: z.string().transform((text) => new Date(text)) });
  const dates = server.client.queue(defineQueue({ name: "dates", schema }));
  await dates.produce({ at: "2026-01-02T03:04:05Z" });
  for await (const { value } of dates.consume()) {
    const year: number = value.at.getUTCFullYear();
    assert.equal(year, 2026);
    break;
  }
});

test("an invalid item may be tried again instead, and throws in a loop", async (t) => {
  const server = await startTestServer({ queues: ["numbers"] });
  t.after(() => server.stop());
  const { client } = server;
  const definition = defineQueue({ name: "numbers", schema: z.number(), onInvalid: "throw" });
  await client.produce("numbers", { payload: '"a text"' });
  const loop = async (): Promise<void> => {
    for await (const { value } of client.consume(definition)) assert.fail(String(value));
  };
  await assert.rejects(loop(), ValidationError);
  await using worker = client.worker(definition, () => assert.fail("it is not valid"), {
    retry: ({ error }) => (error instanceof ValidationError ? "1h" : "dead"),
  });
  await worker.events.once("retried");
  assert.equal((await client.stats("numbers")).scheduled, 1);
});

test("a queue works without a validator, and with a codec of one's own", async (t) => {
  const server = await startTestServer({ queues: ["plain", "big"] });
  t.after(() => server.stop());
  const { client } = server;
  const plain = client.queue(defineQueue<{ name: string }>({ name: "plain" }));
  await plain.produce({ name: "x" });
  const bigCodec: Codec = {
    name: "bigint",
    encode: (value) => String(value),
    decode: (payload) => BigInt(Buffer.from(payload).toString()),
  };
  const big = client.queue(defineQueue<bigint>({ name: "big", codec: bigCodec }));
  await big.produce(2n ** 70n);
  for await (const item of plain.consume()) {
    assert.deepEqual([item.value.name, item.encoding], ["x", "json"]);
    break;
  }
  for await (const item of big.consume()) {
    assert.deepEqual([item.value, item.encoding], [2n ** 70n, "bigint"]);
    break;
  }
});

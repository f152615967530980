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

// What is given, and the place at which the codec loses it.
const LOST: readonly [
  what: string,
  schema: StandardSchema<never>,
  value: unknown,
  place: string,
][] = [
  ["a date", z.object({ when: z.date() }), { when: new Date(0) }, "when"],
  ["a map", z.object({ of: z.map(z.string(), z.number()) }), { of: new Map([["a", 1]]) }, "of"],
  ["a set", z.object({ of: z.array(z.set(z.number())) }), { of: [new Set([1])] }, "of.0"],
  ["bytes", z.object({ raw: z.instanceof(Uint8Array) }), { raw: Uint8Array.of(1) }, "raw"],
  ["no number", z.object({ n: z.nan() }), { n: Number.NaN }, "n"],
  ["undefined in a list", z.object({ l: z.array(z.undefined()) }), { l: [undefined] }, "l.0"],
  ["a date, with valibot", v.object({ when: v.date() }) as never, { when: new Date(0) }, "when"],
  ["a date, with arktype", type({ when: "Date" }) as never, { when: new Date(0) }, "when"],
  [
    "a date, checked later",
    z.object({ when: z.date().refine(async () => true) }),
    { when: new Date(0) },
    "when",
  ],
] as never;

test("what the codec loses is refused at produce, with the place, and nothing is sent", async (t) => {
  const server = await startTestServer({ queues: ["jobs"] });
  t.after(() => server.stop());
  for (const [what, schema, value, place] of LOST) {
    const queue = server.client.queue(defineQueue<never>({ name: "jobs", schema }));
    for (const produce of [
      () => queue.produce(value as never),
      () => queue.produceMany([value as never]),
    ]) {
      await assert.rejects(produce, (error) => {
        assert.ok(error instanceof ValidationError, what);
        assert.equal(error.code, "codec", what);
        const text = `An item of queue 'jobs' fits its schema, but not any more once it was encoded as json and decoded; ${place}: `;
        assert.ok(error.message.startsWith(text), error.message);
        return error.issues.length === 1;
      });
    }
  }
  assert.equal((await server.client.stats("jobs")).total, 0);
});

test("schemas that make something else of a value are judged by what travels", async (t) => {
  const server = await startTestServer({ queues: ["jobs"] });
  t.after(() => server.stop());
  const { client } = server;
  const epoch = new Date(0);
  const cases: readonly [schema: unknown, value: unknown, seen: unknown][] = [
    [z.object({ when: z.coerce.date() }), { when: epoch }, { when: epoch }],
    [z.string().transform((text) => text.length), "four", 4],
    [z.object({ n: z.number().default(7) }), {}, { n: 7 }],
    [z.string().trim(), "  x ", "x"],
    [z.object({ a: z.string().optional() }), { a: undefined }, {}],
    [v.pipe(v.string(), v.transform(Number)), "12", 12],
    [type("string.numeric.parse"), "12", 12],
    [z.iso.datetime().transform((text) => new Date(text)), "1970-01-01T00:00:00Z", epoch],
  ];
  for (const [schema, value, seen] of cases) {
    const queue = client.queue(
      defineQueue<unknown>({ name: "jobs", schema: schema as StandardSchema }),
    );
    await queue.produce(value);
    for await (const item of queue.consume()) {
      assert.deepEqual(item.value, seen);
      await item.complete();
      break;
    }
  }
});

test("a codec that cannot read what it has written is found out at produce", async (t) => {
  const server = await startTestServer({ queues: ["jobs"] });
  t.after(() => server.stop());
  const codec: Codec = {
    name: "one-way",
    encode: (value) => `<${String(value)}>`,
    decode: (payload) => JSON.parse(Buffer.from(payload).toString()) as unknown,
  };
  for (const schema of [undefined, z.string()]) {
    const queue = server.client.queue(defineQueue<string>({ name: "jobs", schema, codec }));
    await assert.rejects(queue.produce("x"), {
      code: "codec",
      message: /^An item of queue 'jobs' cannot be decoded as one-way; /,
    });
  }
  assert.equal((await server.client.stats("jobs")).total, 0);
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

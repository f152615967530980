// Payloads of one request share their bytes in memory: each item must come back with its own, whatever
// lies beside it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setup, type TestServer, temporaryDirectory } from "../support/server.ts";

interface Given {
  readonly utf8?: string;
  readonly bytes?: string;
  readonly kind?: string;
}

const LATIN = "letters";
const WIDE = "\u00e4\u20ac\u{1f600}";

// Runs of one kind and changes between them, nothing at all, and more than is shared.
const ITEMS: readonly Given[] = [
  { utf8: "" },
  { bytes: Buffer.of(0, 255, 128).toString("base64") },
  { utf8: LATIN },
  { utf8: "" },
  { utf8: `${LATIN} ${LATIN}` },
  // Bytes come before letters.
  { bytes: Buffer.from("bytes").toString("base64"), utf8: "not this" },
  {},
  { utf8: WIDE, kind: "wide" },
  { utf8: LATIN, kind: "wide" },
  { utf8: WIDE.repeat(9_000) },
  { utf8: LATIN },
  { utf8: "x".repeat(70_000) },
  ...Array.from({ length: 300 }, (_, i) => ({ utf8: `${LATIN} ${i}` })),
];

const EXPECTED = ITEMS.map(({ utf8, bytes, kind }) => ({
  kind: kind ?? "",
  payload: bytes || Buffer.from(utf8 ?? "").toString("base64"),
}));

const ASCII = ITEMS.map(({ utf8 = "" }) => ({ utf8: utf8.replaceAll(/[^ -~]/g, "?") }));

async function produce(server: TestServer, queue: string, items: readonly Given[]): Promise<void> {
  await server.ok("queue.produce", { queue_name: queue, request_timeout: "1m", items });
}

function plain(items: { kind?: string; payload?: string; bytes?: string }[]): object[] {
  return items.map(({ kind = "", payload, bytes }) => ({ kind, payload: payload ?? bytes ?? "" }));
}

for (const [name, options] of [
  ["in memory", { memory: true }],
  ["in a file", {}],
  ["in files of two threads", { threads: 2 }],
] as const) {
  test(`every item keeps its own payload, ${name}`, async (t) => {
    const place = "memory" in options ? options : { ...options, dataDir: temporaryDirectory(t) };
    const first = await setup(t, place);
    // Each on another thread, if there are two.
    for (const queue of ["a", "b"]) {
      await first.createQueue(queue);
      await produce(first, queue, ITEMS);
      await produce(first, queue, ASCII);
      assert.deepEqual(plain((await first.list(queue)).slice(0, ITEMS.length)), EXPECTED);
    }
    let server = first;
    if (!("memory" in options)) {
      await first.server.stop();
      server = await setup(t, place);
    }
    for (const queue of ["a", "b"]) {
      const leased = await server.lease(queue, ITEMS.length);
      assert.deepEqual(plain(leased.items), EXPECTED);
      const rest = await server.lease(queue, ASCII.length);
      assert.deepEqual(
        plain(rest.items),
        ASCII.map(({ utf8 }) => ({ kind: "", payload: Buffer.from(utf8).toString("base64") })),
      );
    }
  });
}

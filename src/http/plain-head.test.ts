// Heads of plain requests: what is read of them, what is not plain, and that a head is known again
// whatever the values are that vary.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Access } from "./access.ts";
import type { Endpoint } from "./edge.ts";
import { RequestMeter } from "./meters.ts";
import { PlainHeads } from "./plain-head.ts";

const endpoint: Endpoint = {
  bodyBytesMax: 1_000,
  meter: new RequestMeter("call"),
  handle: () => {
    throw new Error("only heads are read here");
  },
};

/** A reader, and how often it had to take a head to pieces: for each of those it asks whom it lets in. */
function open(): { read: PlainHeads["read"]; pieces: () => number } {
  let pieces = 0;
  class Counting extends Access {
    override check(source: Parameters<Access["check"]>[0]): string | undefined {
      pieces++;
      return super.check(source);
    }
  }
  const endpoints = new Map(["/v1/call", "/v2/call", "/v2/other"].map((path) => [path, endpoint]));
  const rules = { origins: [], hosts: [], listensOn: "localhost" };
  const heads = new PlainHeads(endpoints, new Counting(rules, () => "127.0.0.1"));
  return { read: (text) => heads.read(text), pieces: () => pieces };
}

function headOf(path: string, ...lines: string[]): string {
  return [`POST ${path} HTTP/1.1`, "Host: localhost", ...lines].join("\r\n");
}

test("a head is read with all that it tells", () => {
  const { read } = open();
  const lines = [
    "content-length: 12",
    "AUTHORIZATION:  Bearer abc ",
    "X-Request-Id: r",
    "Idempotency-Key:\tk",
    "traceparent: 00-a",
    "Accept: application/protobuf",
  ];
  for (let i = 0; i < 2; i++) {
    const head = read(headOf("/v2/call", ...lines))!;
    const { path, isV2, contentLength, authorization, requestId, idempotencyKey, traceparent } =
      head;
    assert.deepEqual(
      [path, isV2, contentLength, authorization],
      ["/v2/call", true, 12, "Bearer abc"],
    );
    assert.deepEqual([requestId, idempotencyKey, traceparent], ["r", "k", "00-a"]);
    assert.deepEqual([head.sent.format, head.accepted.format], ["json", "protobuf"]);
  }
  const bare = read(headOf("/v1/call", "Content-Length: 0"))!;
  assert.deepEqual([bare.isV2, bare.contentLength, bare.authorization], [false, 0, undefined]);
  assert.deepEqual([bare.idempotencyKey, bare.traceparent], [undefined, undefined]);
  const { requestId } = read(headOf("/v2/call", "Content-Length: 0"))!;
  assert.match(requestId, /^\S+$/);
});

test("values that vary make no head a new one", () => {
  const { read, pieces } = open();
  for (let i = 0; i < 1_000; i++) {
    for (const path of ["/v1/call", "/v2/call", "/v2/other"]) {
      const head = read(
        headOf(
          path,
          `User-Agent: agent/${i}`,
          `Authorization: Bearer ${i}`,
          "Accept: */*",
          `X-Request-Id: id-${i}`,
          `Idempotency-Key: key-${i}`,
          `traceparent: 00-${i}`,
          `X-Forwarded-For: 10.0.0.1, 10.0.${i}.2`,
          `Content-Length: ${i}`,
        ),
      )!;
      assert.equal(head.path, path);
      assert.deepEqual([head.requestId, head.idempotencyKey], [`id-${i}`, `key-${i}`]);
      assert.deepEqual([head.authorization, head.traceparent], [`Bearer ${i}`, `00-${i}`]);
      assert.equal(head.contentLength, i);
    }
  }
  assert.equal(pieces(), 3);
});

test("a head tells nothing of the one before it", () => {
  const { read } = open();
  const told = [
    "Authorization: Bearer a",
    "Idempotency-Key: k",
    "traceparent: t",
    "X-Request-Id: r",
  ];
  for (let i = 0; i < 2; i++) {
    assert.equal(read(headOf("/v2/call", ...told, "Content-Length: 7"))!.authorization, "Bearer a");
    const { authorization, idempotencyKey, traceparent, requestId, contentLength } = read(
      headOf("/v2/call", "Content-Length: 8"),
    )!;
    assert.deepEqual(
      [authorization, idempotencyKey, traceparent],
      [undefined, undefined, undefined],
    );
    assert.notEqual(requestId, "r");
    assert.equal(contentLength, 8);
  }
});

test("what is not plain is not read, also if the same head was with another value", () => {
  const { read } = open();
  const good = ["Content-Length: 5", "X-Request-Id: r", "Idempotency-Key: k", "User-Agent: u"];
  const changed = (from: string, to: string): string =>
    headOf("/v2/call", ...good).replace(from, to);
  const bad = [
    changed("Length: 5", "Length: 1001"),
    changed("Length: 5", "Length: 5x"),
    changed("Length: 5", "Length: 0x5"),
    changed("Length: 5", "Length: "),
    changed("Length: 5", "Length: +5"),
    changed("Length: 5", "Length: 5, 5"),
    changed("Length: 5", "Length: 0000000005"),
    changed("Length: 5", "Length: 5\r\nContent-Length: 5"),
    changed("Length: 5", "Length: 5\r\nTransfer-Encoding: chunked"),
    changed("Content-Length: 5\r\n", ""),
    changed("Id: r", "Id: r\r\nX-Request-Id: s"),
    changed("Id: r", "Id: r\0"),
    changed("Id: r", "Id: \u00e9"),
    changed("Id: r", "Id: a\rb"),
    changed("Id: r", "Id: a\nX: b"),
    changed("Key: k", "Key: two words"),
    changed("Key: k", "Key: "),
    changed("Key: k", `Key: ${"k".repeat(256)}`),
    changed("Agent: u", "Agent: u\r"),
    changed("Agent: u", "Agent: u\r\nExpect: 100-continue"),
    changed("Agent: u", "Agent: u\r\n folded"),
    changed("localhost", "evil.example"),
    changed("/v2/call", "/v2/nothing"),
    changed("/v2/call", "/v2/call?x"),
    changed("POST", "GET"),
    changed("HTTP/1.1", "HTTP/1.0"),
    "POST /v2/call HTTP/1.1",
    "",
    "\r",
  ];
  for (const text of bad) {
    assert.ok(read(headOf("/v2/call", ...good)), "the one that is plain");
    assert.equal(read(text), undefined, JSON.stringify(text));
  }
  const other = ["Authorization: Basic x", "Content-Length: 5"];
  assert.ok(read(headOf("/v1/call", "Authorization: Bearer x", "Content-Length: 5")));
  assert.equal(read(headOf("/v1/call", ...other)), undefined);
  assert.ok(read(headOf("/v2/call", ...other)));
});

test("many kinds of heads cost no more memory than some", () => {
  const { read, pieces } = open();
  for (let i = 0; i < 500; i++) {
    const text = headOf("/v2/call", `X-Kind-${i}: 1`, "Content-Length: 1");
    for (let again = 0; again < 3; again++) assert.ok(read(text));
  }
  assert.equal(pieces(), 500);
  // The one that was met last is known still, the first one no more than if it were new.
  read(headOf("/v2/call", "X-Kind-499: 1", "Content-Length: 1"));
  assert.equal(pieces(), 500);
  const known = Array.from({ length: 500 }, (_, i) => {
    const before = pieces();
    read(headOf("/v2/call", `X-Kind-${i}: 1`, "Content-Length: 1"));
    return pieces() === before;
  }).filter((isKnown) => isKnown).length;
  assert.ok(known < 100, String(known));
});

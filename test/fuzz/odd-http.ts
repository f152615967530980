// Requests that are odd below their messages: methods, paths, headers and framings that a client
// may send but hardly does, and bytes that are no HTTP at all. The first must get an answer of the
// API; the second may be answered by the HTTP parser, or cut off.

import type { Random } from "../support/random.ts";
import { bytesOf, type Input } from "./input.ts";

const METHODS = ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "HEAD", "PURGE", "QUERY"];

const TYPES: readonly string[] = [
  ...[
    "",
    "*/*",
    "application/*",
    "APPLICATION/JSON",
    "application/json; charset=utf-16",
    " text/plain",
  ],
  ...[
    "application/json,application/protobuf",
    "application/protobuf;q=0.1",
    "application/x-protobuf",
  ],
  ...[
    "text/html, application/json",
    "application/json\u00ff",
    ";",
    ",",
    "__proto__",
    "a".repeat(2_000),
  ],
];

const AUTHORIZATIONS = [
  "Bearer x",
  "Bearer ",
  "bearer x",
  "Basic eDp5",
  "",
  "Bearer",
  "x".repeat(3_000),
];

const IDS = [
  "a",
  "",
  "two words",
  "x".repeat(128),
  "x".repeat(129),
  "x".repeat(256),
  "\u00e9",
  "a\tb",
];

/** Another request to much the same effect, or to none, that is still HTTP. */
export function oddRequest(input: Input, random: Random): Input {
  const header = (name: string, value: string): Input => ({
    ...input,
    headers: [...input.headers.filter(([each]) => each !== name), [name, value]],
    made: `${input.made}, header ${name}`,
  });
  switch (random.below(11)) {
    case 0:
      return { ...input, method: random.pick(METHODS), made: `${input.made}, odd method` };
    case 1:
    case 2:
      return { ...input, path: oddPath(input.path, random), made: `${input.made}, odd path` };
    case 3:
      return header("Content-Type", random.pick(TYPES));
    case 4:
      return header("Accept", random.pick(TYPES));
    case 5:
      return header("Authorization", random.pick(AUTHORIZATIONS));
    case 6:
      return header("Transfer-Encoding", "chunked");
    case 7:
      return header("Expect", "100-continue");
    case 8:
      return header("X-Request-Id", random.pick(IDS));
    case 9:
      return header("Idempotency-Key", random.pick(IDS));
    default:
      return header(random.pick(["Upgrade", "X-HTTP-Method-Override", "__proto__", "Cookie"]), "x");
  }
}

function oddPath(path: string, random: Random): string {
  return random.pick([
    ...[
      "/",
      "//",
      "*",
      "/v1",
      "/v1/",
      "/v1/queue",
      "/v1/__proto__",
      "/v1/constructor",
      "/metrics",
      "/v2/",
      "/v2/x",
    ],
    ...[`/${path}`, `${path}/`, `${path}?x=1`, `${path}?`, `${path}%00`, `${path};x`, `${path}.`],
    ...[path.toUpperCase(), path.replace(".", "%2E"), path.replace("/v1/", "/v2/"), "/v1/../v1"],
    ...["/health", "/v1/queue.produce/../queue.lease", "/v1/toString", `/${"x".repeat(8_000)}`],
  ]);
}

/** Bytes that are not quite HTTP, made of a request that is. */
export function brokenRequest(input: Input, random: Random): Input {
  const bytes = bytesOf(input);
  const length = `Content-Length: ${input.body.length}`;
  const replaced = (from: string, to: string): Buffer =>
    Buffer.from(bytes.toString("latin1").replace(from, to), "latin1");
  const raw = random.pick([
    () => random.bytes(1 + random.below(300)),
    () => Buffer.from("GET / HTTP/0.9\r\n\r\n"),
    () => Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    () => Buffer.from("160301020001000fc0300", "hex"),
    () => replaced("POST", "post"),
    () => replaced("HTTP/1.1", "HTTP/9.9"),
    () => replaced("Host: localhost\r\n", ""),
    () => replaced("Host: localhost", "Host: localhost\r\nHost: other"),
    () => replaced(length, "Content-Length: -1"),
    () => replaced(length, "Content-Length: NaN"),
    () => replaced(length, `Content-Length: ${input.body.length}\r\n${length}`),
    () => replaced(length, `${length}\r\nTransfer-Encoding: chunked`),
    () => replaced(length, "Transfer-Encoding: gzip"),
    () => replaced(length, "Transfer-Encoding: chunked"),
    () => replaced(length, `X\0Y: z\r\n${length}`),
    () => replaced(length, `: empty\r\n${length}`),
    () => replaced(length, `Folded: a\r\n b\r\n${length}`),
    () => replaced("\r\n", "\n"),
    () => replaced("/v1/", "/v1/\u00e9 "),
    () => flipHead(bytes, random),
  ])();
  return { ...input, raw, made: `${input.made}, broken HTTP` };
}

// Only in the head: a flipped body would be a request like any other.
function flipHead(bytes: Buffer, random: Random): Buffer {
  const flipped = Buffer.from(bytes);
  const at = random.below(flipped.indexOf("\r\n\r\n"));
  flipped[at]! ^= 1 << random.below(8);
  return flipped;
}

/** Whether there is no reply of the API to look into: it is no HTTP, or its reply has no body. */
export function isAnsweredBelow(input: Input): boolean {
  return input.raw !== undefined || input.method === "HEAD";
}

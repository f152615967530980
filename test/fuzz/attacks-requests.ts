// Attacks with requests that are too large, too many at once, or broken off. What is too large must
// get its answer although its sender has not finished; what is pipelined must get all its replies, in
// order.

import type { Socket } from "node:net";
import { requestText } from "../support/http-text.ts";
import {
  type Attack,
  type AttackContext,
  keepUp,
  open,
  readAll,
  reset,
  sleep,
  statusesIn,
  TARGET,
} from "./attack.ts";

const QUIET_MS = 20_000;

// Sends until the other side has had enough, then reads what it says.
async function pour(
  socket: Socket,
  head: string,
  pieces: Iterable<string>,
  expected?: RegExp,
): Promise<string> {
  const read = readAll(socket, QUIET_MS, expected);
  socket.write(head);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  for (const piece of pieces) {
    if (socket.destroyed || socket.writableEnded) break;
    if (!socket.write(piece)) {
      await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), closed]);
    }
  }
  return read;
}

function* repeated(piece: string, times: number): Iterable<string> {
  for (let i = 0; i < times; i++) yield piece;
}

async function refused(
  context: AttackContext,
  what: string,
  sent: { readonly head: string; readonly pieces?: Iterable<string>; readonly expected: RegExp },
): Promise<void> {
  const { head, pieces = [], expected } = sent;
  const socket = await open(context.port);
  const seen = await pour(socket, head, pieces, expected);
  context.count(what);
  if (!expected.test(seen)) context.fail(`${what}: got ${JSON.stringify(seen.slice(0, 300))}`);
  await reset([socket]);
}

const HEAD = "HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
const EXCEEDS = /^HTTP\/1\.1 400 .*request body exceeds/s;

/** Bodies beyond their limits, stated and not stated, whole and without an end. */
export const tooLarge: Attack = async (context) => {
  const piece = "x".repeat(100_000);
  const chunk = `${piece.length.toString(16)}\r\n${piece}\r\n`;
  const lease = `POST /v1/queue.lease ${HEAD}`;
  const produce = `POST /v1/queue.produce ${HEAD}`;
  const stated = (bytes: number): string => `Content-Length: ${bytes}\r\n\r\n`;
  const rows = (): readonly (readonly [string, string, Iterable<string>])[] => [
    ["a little too large", `${lease}${stated(1_000)}`, ["x".repeat(1_000)]],
    ["much too large", `${produce}${stated(8_000_000)}`, repeated(piece, 80)],
    ["in chunks", `${lease}Transfer-Encoding: chunked\r\n\r\n`, repeated(chunk, 80)],
    ["announced only", `${produce}${stated(1e15)}`, []],
  ];
  return keepUp(2, async () => {
    for (const [what, head, pieces] of rows()) {
      await refused(context, what, { head, pieces, expected: EXCEEDS });
    }
  });
};

/** Headers that are too large or too many, or have no end. */
export const headerFlood: Attack = async (context) => {
  const lease = `POST /v1/queue.lease ${HEAD}`;
  const large = `${lease}X-Large: ${"x".repeat(100_000)}\r\n\r\n`;
  const names = Array.from({ length: 5_000 }, (_, i) => `X-${i}: y\r\n`).join("");
  const expected = /^(HTTP\/1\.1 431 |$)/;
  return keepUp(2, async () => {
    const pieces = repeated(`X-More: ${"x".repeat(1_000)}\r\n`, 5_000);
    await refused(context, "large header", { head: large, expected });
    await refused(context, "many headers", { head: `${lease}${names}\r\n`, expected });
    await refused(context, "endless headers", { head: lease, pieces, expected });
  });
};

/** Hundreds of requests at once on a connection; on some nobody reads the replies. */
export const pipelined: Attack = async (context) => {
  const many = context.quick ? 200 : 1_000;
  const stats = requestText("queue.stats", { queue_name: "good" });
  const end = keepUp(context.quick ? 2 : 8, async () => {
    const socket = await open(context.port);
    const statuses = statusesIn(await pour(socket, stats.repeat(many), [lastRequest()]));
    context.count("pipelined requests", many);
    const fine = statuses.length === many + 1 && statuses.every((status) => status === 200);
    if (!fine) context.fail(`${many + 1} pipelined requests, ${statuses.length} replies`);
    await reset([socket]);
  });
  const mute = await Promise.all(
    Array.from({ length: context.quick ? 5 : 20 }, () => open(context.port)),
  );
  for (const socket of mute) socket.pause();
  const timer = setInterval(() => {
    for (const socket of mute) if (!socket.writableNeedDrain) socket.write(stats.repeat(50));
  }, 10);
  return async () => {
    clearInterval(timer);
    await end();
    await reset(mute);
  };
};

// The reply to it ends the connection, so that reading it all has an end.
function lastRequest(): string {
  return requestText("queue.stats", { queue_name: "good" }, "Connection: close\r\n");
}

/** Connections opened and reset, many a second: before, within and after a request. */
export const storm: Attack = async (context) => {
  const produce = requestText("queue.produce", {
    queue_name: TARGET,
    request_timeout: "10s",
    items: [{ utf8: "from the storm" }],
  });
  return keepUp(context.quick ? 8 : 32, async () => {
    const socket = await open(context.port);
    const much = context.random.below(4);
    if (much > 0) socket.write(produce.slice(0, Math.ceil((produce.length * much) / 3)));
    if (context.random.oneIn(2)) await sleep(context.random.below(5));
    context.count("connections");
    await reset([socket]);
  });
};

// Attacks on memory: large bodies that are not finished, large replies that are not taken, waiting
// leases whose clients vanish, requests that hold as many items as fit, items whose texts are large.
// The quick form relies on the small limits that hostile-run.ts gives its server.

import type { Socket } from "node:net";
import { Api } from "../support/api.ts";
import { requestText } from "../support/http-text.ts";
import {
  type Attack,
  type AttackContext,
  keepUp,
  open,
  openMany,
  readAll,
  reset,
  sleep,
  statusesIn,
  TARGET,
} from "./attack.ts";

const OVERLOADED = "queue is overloaded; try again later";

// Until all bodies are sent, gigabytes on a busy machine, nothing comes on those that were taken in.
const ANSWER_MS = 150_000;
const WHOLE_REPLY = /\r\n\r\n\{.*\}$/s;

function produceText(field: "utf8" | "reference", bytes: number): string {
  const items = [{ [field]: "x".repeat(bytes) }];
  return JSON.stringify({ queue_name: TARGET, request_timeout: "30s", items });
}

// Whatever was refused or broken off, its bytes count no longer: a large body is taken in again.
async function expectRoom(context: AttackContext): Promise<void> {
  const api = new Api(context.port);
  const large = produceText("utf8", 1_000_000);
  let seen = "";
  for (let i = 0; i < 100 && seen !== "200"; i++) {
    const { status, body } = await api.call("queue.produce", large);
    seen = status === 200 ? "200" : JSON.stringify(body);
    if (status !== 200) await sleep(50);
  }
  if (seen !== "200") context.fail(`afterwards a large body got ${seen}`);
  api.close();
}

/** Many large bodies at once, all but their last byte; that comes at the end. */
export const largeBodies: Attack = async (context) => {
  const produce = requestText("queue.produce", produceText("utf8", 4_900_000));
  const padding = " ".repeat(context.quick ? 8_000_000 : 60_000_000);
  const imported = `{"queue_name":"${TARGET}","items":[{"kind":"x"}]${padding}}`;
  const sockets = await openMany(context.port, context.quick ? 16 : 400);
  let isRefusing = false;
  const replies: { read: Promise<string>; last: string }[] = [];
  for (const [i, socket] of sockets.entries()) {
    // Whoever is answered before the last byte has been refused.
    socket.once("data", () => {
      isRefusing = true;
    });
    const text = i % 8 === 7 ? requestText("storage/items.import", imported) : produce;
    socket.write(text.slice(0, -1));
    replies.push({ read: readAll(socket, ANSWER_MS, WHOLE_REPLY), last: text.slice(-1) });
    // Gigabytes at once would leave no time to read answers, until the server gives up.
    await sleep(0);
  }
  await sleep(context.quick ? 150 : 3_000);
  for (let i = 0; i < 200 && !isRefusing; i++) await sleep(50);
  return async () => {
    for (const [i, { last }] of replies.entries()) {
      if (sockets[i]!.writable) sockets[i]!.write(last);
    }
    for (const { read } of replies) {
      const seen = await read;
      const [status = 0] = statusesIn(seen);
      context.count(status === 0 ? "cut off" : `answered ${status}`);
      const refused = status === 454 && seen.includes(OVERLOADED);
      // On a busy machine the gigabytes may take longer than a request may.
      const fine = status === 200 || refused || status === 408;
      if (!fine) context.fail(`a large body got ${JSON.stringify(seen.slice(0, 300))}`);
    }
    // Together they are far larger than what all requests may hold.
    if (context.counted("answered 454") === 0) context.fail("every large body was taken in");
    await reset(sockets);
    await expectRoom(context);
  };
};

// What makes a large reply when it is listed: a part of what all requests may hold.
async function fillTarget(context: AttackContext): Promise<void> {
  const api = new Api(context.port);
  const [items, bytes] = context.quick ? [8, 500_000] : [16, 1_000_000];
  for (let i = 0; i < items; i++) {
    const { status } = await api.call("queue.produce", produceText("utf8", bytes));
    if (status !== 200) context.fail(`preparing got ${status}`);
  }
  api.close();
}

const LIST = requestText("storage/items.list", { queue_name: TARGET });

/** Clients that ask for large replies, all at once, and read nothing. */
export const neverRead: Attack = async (context) => {
  await fillTarget(context);
  const sockets = await openMany(context.port, context.quick ? 40 : 200);
  for (const [i, socket] of sockets.entries()) {
    socket.pause();
    const lease = { queue_name: TARGET, client_id: `c${i}`, batch_size: 2, request_timeout: "1m" };
    socket.write(i % 10 === 9 ? requestText("queue.lease", lease) : LIST);
  }
  return async () => {
    context.count("connections that read nothing", sockets.length);
    if (!context.quick) {
      for (const socket of sockets) context.count(await endOfReply(socket));
      if (context.counted("large replies kept") > 0) context.fail("a reply was kept for too long");
    }
    await reset(sockets);
  };
};

// More than the system itself keeps for a connection, on both of its ends.
const LARGE = 15_000_000;

// What has become of a reply that nobody has read for long: small ones lie in the buffers of the
// system, large ones must have been cut off, of which little or nothing arrives.
async function endOfReply(socket: Socket): Promise<string> {
  let bytes = 0;
  let length = 0;
  socket.on("data", (chunk: Buffer) => {
    if (bytes === 0) length = Number(/content-length: (\d+)/i.exec(String(chunk))?.[1] ?? 0);
    bytes += chunk.length;
  });
  socket.resume();
  for (let seen = -1; seen < bytes && !socket.closed; await sleep(100)) seen = bytes;
  if (bytes < Math.max(length, 1)) return "replies cut off";
  return length < LARGE ? "small replies" : "large replies kept";
}

/** Clients that ask for large replies and are gone before those are there. */
export const vanishLarge: Attack = async (context) => {
  await fillTarget(context);
  const end = keepUp(1, async () => {
    const sockets = await openMany(context.port, 6);
    // On some connections several requests at once, of which only the first has the socket.
    for (const [i, socket] of sockets.entries()) socket.pause().write(LIST.repeat(1 + (i % 3)));
    await sleep(context.random.below(4));
    context.count("large replies for nobody", 11);
    await reset(sockets);
    await sleep(20);
  });
  return async () => {
    await end();
    await expectRoom(context);
  };
};

/** Leases that wait for items, and whose clients vanish. */
export const vanishingLeases: Attack = async (context) => {
  const sockets = await openMany(context.port, context.quick ? 300 : 5_000);
  for (const [i, socket] of sockets.entries()) {
    const lease = { queue_name: TARGET, client_id: `c${i}`, batch_size: 5, request_timeout: "5m" };
    socket.write(requestText("queue.lease", lease));
  }
  const api = new Api(context.port);
  await waitForLeases(context, api, sockets.length);
  return async () => {
    context.count("leases that waited", sockets.length);
    await reset(sockets);
    await waitForLeases(context, api, 0);
    const items = Array.from({ length: 10 }, (_, i) => ({ utf8: String(i) }));
    await api.ok("queue.produce", { queue_name: TARGET, request_timeout: "10s", items });
    const { total_leased: leased = 0 } = await targetStats(api);
    if (leased > 0) context.fail(`${leased} items were leased to clients that have gone`);
    api.close();
  };
};

async function targetStats(api: Api): Promise<Record<string, number>> {
  const { logicalQueues } = await api.ok("queue.stats", { queue_name: TARGET });
  const { partitions, ...rest } = logicalQueues[0];
  return { ...rest, ...partitions[0] };
}

async function waitForLeases(context: AttackContext, api: Api, expected: number): Promise<void> {
  let waiting = -1;
  for (let i = 0; i < 500 && waiting !== expected; i++) {
    ({ lease_waiting: waiting = 0 } = await targetStats(api));
    if (waiting !== expected) await sleep(20);
  }
  if (waiting !== expected) context.fail(`${waiting} leases wait, not ${expected}`);
}

/** Imports that hold as many items as fit into their body: two bytes each. */
export const itemFlood: Attack = async (context) => {
  const queue = Buffer.concat([Buffer.of(0x0a, TARGET.length), Buffer.from(TARGET)]);
  for (const count of context.quick ? [20_000] : [100_000, 1_000_000, 31_000_000]) {
    const body = Buffer.concat([queue, Buffer.alloc(count * 2, Buffer.of(0x1a, 0))]);
    const socket = await open(context.port);
    const read = readAll(socket, 120_000);
    socket.write(
      "POST /v1/storage/items.import HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" +
        `Content-Type: application/protobuf\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    socket.write(body);
    const seen = await read;
    const [status = 0] = statusesIn(seen);
    context.count(`${count} items: ${status}`);
    if (![200, 400, 454, 455].includes(status))
      context.fail(`${count} items: ${seen.slice(0, 300)}`);
    await reset([socket]);
  }
  return async () => undefined;
};

/** Items whose texts are large: they count for a lease reply and for a page as payloads do. */
export const largeTexts: Attack = async (context) => {
  const [items, bytes, most] = context.quick
    ? [8, 500_000, 3_000_000]
    : [40, 4_900_000, 40_000_000];
  const api = new Api(context.port, { waitMs: 120_000 });
  for (let i = 0; i < items; i++) await api.call("queue.produce", produceText("reference", bytes));
  const lease = { queue_name: TARGET, client_id: "c", batch_size: 1_000, request_timeout: "10s" };
  const size = async (path: string, asked: object): Promise<number> => {
    const { status, body } = await api.call(path, asked);
    if (status !== 200) context.fail(`${path} of large texts: ${status}`);
    return JSON.stringify(body).length;
  };
  const reply = await size("queue.lease", lease);
  if (reply > most) context.fail(`a lease reply has ${reply} bytes, its limit is far below`);
  const page = await size("storage/items.list", { queue_name: TARGET });
  if (page > 100_000_000) context.fail(`a page of items has ${page} bytes`);
  context.count("bytes in a lease reply", reply);
  api.close();
  return async () => undefined;
};

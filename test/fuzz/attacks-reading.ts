// Attacks on the time that reading takes: large bodies that are all refused, sent again and again by a
// few clients. Each kind is what some way of reading finds hard.

import { requestText } from "../support/http-text.ts";
import { RawConnection } from "../support/raw-connection.ts";
import { type Attack, keepUp, open, readAll, reset, sleep, statusesIn } from "./attack.ts";

const CLIENTS = 5;
const BYTES = 4_900_000;
const MISSING = "nope";

// As many entries as fit into so many bytes.
function listOf(entry: string, bytes: number): string {
  const head = `{"queue_name":"${MISSING}","request_timeout":"10s","items":[`;
  const count = Math.floor((bytes - head.length) / (entry.length + 1));
  return `${head}${Array(count).fill(entry).join(",")}]}`;
}

function members(count: number): string {
  return Array.from({ length: Math.floor(count) }, (_, i) => `"k${i}":1`).join(",");
}

/** JSON bodies by what is hard about them. */
export const COSTLY: Readonly<Record<string, (bytes: number) => string>> = {
  "texts of 68 letters": (bytes) => listOf(`{"utf8":"${"x".repeat(68)}"}`, bytes),
  "texts of 60 letters": (bytes) => listOf(`{"utf8":"${"x".repeat(60)}"}`, bytes),
  "texts given twice": (bytes) => listOf(`{"utf8":"a","utf8":"${"x".repeat(66)}"}`, bytes),
  escapes: (bytes) => listOf(`{"utf8":"${"\\n\\u0041".repeat(10)}"}`, bytes),
  "nothing but backslashes": (bytes) => `{"queue_name":"${"\\\\".repeat(bytes / 2)}"}`,
  "empty items": (bytes) => listOf("{}", bytes),
  "empty texts": (bytes) => listOf('{"utf8":"","kind":"","reference":"","encoding":""}', bytes),
  "items of nulls": (bytes) => listOf('{"utf8":null,"kind":null,"bytes":null}', bytes),
  times: (bytes) => listOf('{"enqueue_at":"2024-01-01T00:00:00.123456789Z"}', bytes),
  base64: (bytes) => listOf('{"bytes":"QUJD"}', bytes),
  "names that are not known": (bytes) => `{"items":[{${members(bytes / 14)}}]}`,
  "an object for a text": (bytes) => `{"queue_name":{${members(bytes / 14)}}}`,
  "depth without an end": (bytes) => `{"items":${"[".repeat(bytes)}`,
  "a number of many digits": (bytes) => `{"queue_name":${"9".repeat(bytes)}}`,
  "a time-out of many digits": (bytes) =>
    `{"queue_name":"q","request_timeout":"${"9".repeat(bytes)}s"}`,
  "white space": (bytes) => `{"queue_name":"${MISSING}"${" ".repeat(bytes)}}`,
};

const PATIENCE_MS = 120_000;

/** A few clients, each of which sends one large body after the other. */
export const costlyBodies: Attack = async (context) => {
  const texts = Object.entries(COSTLY).map(([name, make]) => {
    return { name, request: Buffer.from(requestText("queue.produce", make(BYTES)), "latin1") };
  });
  let next = 0;
  const end = keepUp(CLIENTS, async () => {
    const { name, request } = texts[next++ % texts.length]!;
    const connection = await RawConnection.open(context.port);
    const outcome = await connection.send(request, { waitMs: PATIENCE_MS });
    connection.destroy();
    const status = outcome.kind === "reply" ? outcome.reply.status : outcome.kind;
    context.count(`answered ${status}`);
    // In the quick form all of them together hold more than requests may.
    if (status !== 400 && status !== 455 && status !== 454) context.fail(`${name}: ${status}`);
  });
  const wanted = context.quick ? texts.length : 10 * texts.length;
  const giveUpAt = Date.now() + PATIENCE_MS;
  const answered = (): number => context.counted("answered 400") + context.counted("answered 455");
  while (answered() < wanted && Date.now() < giveUpAt) await sleep(20);
  if (answered() < wanted) context.fail(`only ${answered()} bodies were answered`);
  return end;
};

/** Bodies that come a byte at a time, each in a chunk of its own. */
export const crumbs: Attack = async (context) => {
  const body = `{"queue_name":"${MISSING}"${" ".repeat(context.quick ? 100_000 : BYTES)}}`;
  const chunks = Buffer.from(`${body.replace(/./gs, (byte) => `1\r\n${byte}\r\n`)}0\r\n\r\n`);
  const head =
    "POST /v1/queue.produce HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
  const sockets = await Promise.all(Array.from({ length: 3 }, () => open(context.port)));
  const answers = sockets.map(async (socket) => {
    const read = readAll(socket, PATIENCE_MS, /\r\n\r\n\{.*\}$/s);
    socket.write(head);
    socket.write(chunks);
    const [status = 0] = statusesIn(await read);
    context.count(`answered ${status}`);
    if (status !== 400 && status !== 454) context.fail(`crumbs got ${status}`);
  });
  await Promise.all(answers);
  return () => reset(sockets);
};

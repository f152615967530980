// Attacks with what HTTP allows but clients hardly do - upgrades, expectations, absolute URLs, older
// versions - which must be answered, and with what is no HTTP at all, which must be refused or cut off
// at once and never more than that.

import { requestText } from "../support/http-text.ts";
import { type Attack, type AttackContext, keepUp, open, readAll, reset } from "./attack.ts";

const INFO = { queue_name: "good" };
const TEXT = JSON.stringify(INFO);
const FINE = /^HTTP\/1\.1 200 .*"queue_name":"good"/s;
// Answered as bad, or cut off; never more than that.
const REFUSED = /^(HTTP\/1\.1 [45]\d\d .*)?$/s;
const CLOSE = "Connection: close\r\n";
const LENGTH = `Content-Length: ${TEXT.length}\r\n\r\n${TEXT}`;

const ROWS: readonly (readonly [what: string, sent: string | Buffer, expected: RegExp])[] = [
  [
    "upgrade to a web socket",
    requestText("queues.info", INFO, `Upgrade: websocket\r\n${CLOSE}`),
    FINE,
  ],
  [
    "upgrade to HTTP/2",
    requestText(
      "queues.info",
      INFO,
      `Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n${CLOSE}`,
    ),
    FINE,
  ],
  [
    "absolute form",
    `POST http://localhost/v1/queues.info HTTP/1.1\r\nHost: localhost\r\n${CLOSE}${LENGTH}`,
    FINE,
  ],
  ["HTTP/1.0", `POST /v1/queues.info HTTP/1.0\r\n${LENGTH}`, FINE],
  ["another expectation", requestText("queues.info", INFO, `Expect: wonders\r\n${CLOSE}`), REFUSED],
  ["CONNECT", "CONNECT good:80 HTTP/1.1\r\nHost: good:80\r\n\r\n", REFUSED],
  [
    "two lengths",
    `POST /v1/queues.info HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n${LENGTH}`,
    REFUSED,
  ],
  [
    "length and chunks",
    `POST /v1/queues.info HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n${LENGTH}`,
    REFUSED,
  ],
  ["HTTP/2 in the clear", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", REFUSED],
  ["TLS", Buffer.from("16030100c8010000c40303", "hex"), REFUSED],
  ["SSH", "SSH-2.0-OpenSSH_9.6\r\n", REFUSED],
  ["zeros", Buffer.alloc(100_000), REFUSED],
  ["line breaks", `\r\n\r\n\r\nnothing\r\n\r\n`, REFUSED],
];

/** One of each, over and over. */
export const protocols: Attack = async (context) => {
  return keepUp(2, async () => {
    for (const [what, sent, expected] of ROWS) await exchange(context, what, sent, expected);
    const noise = context.random.bytes(1 + context.random.below(5_000));
    await exchange(
      context,
      "random bytes",
      Buffer.concat([noise, Buffer.from("\r\n\r\n")]),
      REFUSED,
    );
    await expectContinue(context);
  });
};

async function exchange(
  context: AttackContext,
  what: string,
  sent: string | Buffer,
  expected: RegExp,
): Promise<void> {
  const socket = await open(context.port);
  const read = readAll(socket, 1_500);
  socket.write(sent);
  const seen = await read;
  context.count("exchanges");
  if (!expected.test(seen)) {
    context.fail(`${what}: got ${JSON.stringify(seen.slice(0, 300))}`);
  }
  await reset([socket]);
}

// The body follows once the server has asked for it.
async function expectContinue(context: AttackContext): Promise<void> {
  const socket = await open(context.port);
  const whole = requestText("queues.info", INFO, `Expect: 100-continue\r\n${CLOSE}`);
  const read = readAll(socket, 3_000);
  socket.once("data", () => socket.write(TEXT));
  socket.write(whole.slice(0, -TEXT.length));
  const seen = await read;
  context.count("exchanges");
  if (!/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /.test(seen)) {
    context.fail(`100-continue: got ${JSON.stringify(seen.slice(0, 300))}`);
  }
  await reset([socket]);
}

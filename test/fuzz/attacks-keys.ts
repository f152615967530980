// Attacks with keys that nobody has: as many as fit, each another one, on connections that stay and on ones that go. None
// may be taken, none may cost the server memory, and who has a right key is kept waiting by none.

import { randomBytes } from "node:crypto";
import { requestText } from "../support/http-text.ts";
import { type Attack, keepUp, open, readAll, reset, statusesIn, TARGET } from "./attack.ts";

const QUIET_MS = 20_000;
const EACH = 50;

function wrongKey(): string {
  return `qtr-live-${randomBytes(32).toString("hex")}`;
}

/** Guesses, for as long as it goes on. */
export const wrongKeys: Attack = async (context) => {
  const paths = ["v2/queue.lease", "queue.lease", "v2/queue.produce"];
  return keepUp(context.quick ? 2 : 16, async () => {
    const path = context.random.pick(paths);
    const ask = (more = ""): string =>
      requestText(
        path,
        { queue_name: TARGET, request_timeout: "5m" },
        `Authorization: Bearer ${wrongKey()}\r\n${more}`,
      );
    const socket = await open(context.port);
    const texts = Array.from({ length: EACH - 1 }, () => ask());
    socket.write(texts.join("") + ask("Connection: close\r\n"));
    const statuses = statusesIn(await readAll(socket, QUIET_MS));
    context.count("wrong keys", statuses.length);
    context.count("of them told to stay away", statuses.filter((each) => each === 429).length);
    // A connection may be closed at a refusal; what was answered was refused.
    const isRefused = statuses.length > 0 && statuses.every((each) => each === 401 || each === 429);
    if (!isRefused) context.fail(`${path} with wrong keys: ${statuses.join() || "no reply"}`);
    await reset([socket]);
  });
};

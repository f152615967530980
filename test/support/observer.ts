// Loaded into the server's own process before the server (`--import`), and does nothing until it is
// asked: then it collects all garbage and says what the process still holds. So a test of the real
// server can tell memory that is kept from memory that has not been collected yet, and sees the
// timers and sockets that are left. Only with an IPC channel, which does not keep the process alive.

import { collectGarbage } from "./garbage.ts";
import type { Holdings } from "./holdings.ts";

async function holdings(): Promise<Holdings> {
  await collectGarbage();
  const { heapUsed, external, rss } = process.memoryUsage();
  const resources = process.getActiveResourcesInfo();
  const count = (name: string): number => resources.filter((each) => each === name).length;
  return {
    heap: heapUsed,
    external,
    rss,
    timers: count("Timeout"),
    sockets: count("TCPSocketWrap"),
  };
}

process.on("message", () => {
  void holdings().then((held) => process.send?.(held));
});
// A server does not outlive the test that started it, even if that has been killed.
process.on("disconnect", () => process.exit(1));
process.channel?.unref();

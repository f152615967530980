// Redis for the benchmarks.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface RunningRedis {
  /** The path of its socket; it listens nowhere else. */
  readonly socket: string;
  stop(): Promise<void>;
}

/** Whether redis-server can be started here. */
export function hasRedis(): boolean {
  return spawnSync("redis-server", ["--version"]).status === 0;
}

/**
 * Starts a Redis of its own with its data in a directory. By default every write is on disk before it
 * is answered, as the server does it; with `everysec` within a second or two.
 */
export async function startRedis(
  dir: string,
  sync: "always" | "everysec" = "always",
): Promise<RunningRedis> {
  mkdirSync(dir);
  const socket = join(dir, "redis.sock");
  const args = ["--port", "0", "--unixsocket", socket, "--dir", dir, "--save", ""];
  const durable = ["--appendonly", "yes", "--appendfsync", sync];
  const child = spawn("redis-server", [...args, ...durable], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    if (!/ready to accept connections/i.test(line)) continue;
    child.stdout.resume();
    return {
      socket,
      async stop() {
        child.kill("SIGTERM");
        if (child.exitCode === null) await once(child, "exit");
      },
    };
  }
  throw new Error("redis-server did not start");
}

// A PgBouncer between a test and a PostgreSQL, where it is installed.

import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, chownSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isThere } from "./commands.ts";
import { PASSWORD } from "./postgres-binaries.ts";
import { temporaryDirectory } from "./server.ts";

export const needsPgBouncer = isThere("pgbouncer --version") ? {} : { skip: "needs pgbouncer" };

// It refuses to run as root; this user is everywhere.
const NOBODY = 65_534;

/** Starts one before a PostgreSQL; answers the URL of the database through it. */
export async function startPgBouncer(
  t: TestContext,
  to: string,
  settings: Readonly<Record<string, string | number>>,
): Promise<string> {
  const url = new URL(to);
  const port = await freePort();
  const dir = temporaryDirectory(t);
  const users = join(dir, "users.txt");
  const config = join(dir, "pgbouncer.ini");
  const all = {
    listen_addr: "127.0.0.1",
    listen_port: port,
    unix_socket_dir: "",
    auth_type: "trust",
    auth_file: users,
    ...settings,
  };
  writeFileSync(users, `"postgres" "${PASSWORD}"\n`);
  writeFileSync(
    config,
    `[databases]\n* = host=127.0.0.1 port=${url.port}\n[pgbouncer]\n${Object.entries(all)
      .map(([name, value]) => `${name} = ${value}`)
      .join("\n")}\n`,
  );
  const isRoot = process.getuid?.() === 0;
  if (isRoot) {
    for (const path of [dir, users, config]) chownSync(path, NOBODY, NOBODY);
    chmodSync(dir, 0o700);
  }
  const child: ChildProcess = spawn("pgbouncer", [config], {
    stdio: ["ignore", "ignore", "pipe"],
    cwd: "/",
    ...(isRoot ? { uid: NOBODY, gid: NOBODY } : {}),
  });
  t.after(() => child.kill("SIGKILL"));
  let said = "";
  child.stderr!.on("data", (chunk) => (said += chunk));
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error(`pgbouncer has ended: ${said}`);
    await sleep(20);
  }
  url.port = String(port);
  return url.href;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

// A server for which the system has too few file descriptors: at its start it says so, and what to do; while
// it runs it goes on answering those that are connected, and logs once.

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { isThere } from "./support/commands.ts";
import { BASE_ENVIRONMENT } from "./support/environment.ts";
import { temporaryDirectory } from "./support/server.ts";

const COMMAND = fileURLToPath(new URL("../bin/querator.js", import.meta.url));
const LOOK = 'console.log(require("fs").readdirSync("/proc/self/fd").length - 1)';
const skip = process.platform === "linux" ? false : "it looks into /proc";
// What Node itself has open before it does anything.
const base = skip ? 0 : Number(execFileSync(process.execPath, ["-e", LOOK], { encoding: "utf8" }));

interface Started {
  readonly child: ChildProcess;
  readonly lines: string[];
  /** Resolves when a line has this text. */
  said(text: string): Promise<string>;
}

/** Starts a server that may have so many descriptors beside what Node has. */
function start(t: TestContext, more: number, ...args: readonly string[]): Started {
  const flags = ["--address", "127.0.0.1:0", "--log-format", "json", ...args];
  const line = `ulimit -n ${base + more}; exec "$@"`;
  const child = spawn("sh", ["-c", line, "sh", process.execPath, COMMAND, "server", ...flags], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...BASE_ENVIRONMENT },
  });
  t.after(() => child.kill("SIGKILL"));
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (each) => {
      lines.push(each);
      for (const look of waiting) look();
    });
  }
  const said = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = lines.find((each) => each.includes(text));
        if (found !== undefined) resolve(found);
      };
      waiting.add(look);
      child.once("close", () => reject(new Error(`ended: ${lines.join("\n")}`)));
      look();
    });
  return { child, lines, said };
}

async function portOf(started: Started): Promise<number> {
  return Number(/"address":"[^"]+:(\d+)"/.exec(await started.said('"address"'))![1]);
}

/** Connects, and resolves when that was taken or refused. */
async function open(t: TestContext, port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  t.after(() => socket.destroy());
  await Promise.race([once(socket, "connect"), once(socket, "close")]);
  return socket;
}

async function asks(socket: Socket, path: string, body = ""): Promise<string> {
  const head = `${body === "" ? "GET" : "POST"} ${path} HTTP/1.1\r\nHost: localhost\r\n`;
  const length = `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
  socket.write(head + (body === "" ? "\r\n" : length + body));
  const [reply] = (await once(socket, "data")) as [Buffer];
  return String(reply).split("\r\n")[0]!;
}

for (const args of [["--memory"], ["--data-dir"], ["--memory", "--threads", "3"]]) {
  test(`with too few at its start it says so: ${args.join(" ")}`, { skip }, async (t) => {
    const all = args.includes("--data-dir") ? [...args, temporaryDirectory(t)] : args;
    for (const more of [2, 10]) {
      const { child, lines } = start(t, more, ...all);
      const [code] = (await once(child, "close")) as [number | null];
      const text = lines.join("\n");
      assert.match(text, /^Error: .*file descriptors.*ulimit -n/m, `${more} more`);
      assert.doesNotMatch(text, /^ +at /m, "no stack");
      assert.equal(code, 1);
    }
  });
}

test("with a few it takes as many connections as there is room for, and says so", {
  skip,
}, async (t) => {
  const started = start(t, 50, "--data-dir", join(temporaryDirectory(t), "data"));
  const port = await portOf(started);
  const room = Number(/"connections":(\d+)/.exec(await started.said("few file descriptors"))![1]);
  assert.ok(room >= 4 && room < 50, String(room));
  const first = await open(t, port);
  assert.match(await asks(first, "/health"), / 200 /);
  const others = await Promise.all(Array.from({ length: 200 }, () => open(t, port)));
  await started.said("more are closed");
  assert.match(await asks(first, "/health"), / 200 /);
  const settings = { lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 };
  const made = JSON.stringify({ queue_name: "q", ...settings });
  assert.match(await asks(first, "/v1/queues.create", made), / 200 /);
  const produced = { queue_name: "q", request_timeout: "5s", items: [{ utf8: "one" }] };
  assert.match(await asks(first, "/v1/queue.produce", JSON.stringify(produced)), / 200 /);
  for (const each of others) each.destroy();
  // Room comes back.
  for (;;) {
    const again = await open(t, port);
    const closed = once(again, "close").catch(() => "reset");
    const seen = await Promise.race([asks(again, "/health").catch(() => closed), closed]);
    again.destroy();
    if (/ 200 /.test(String(seen))) break;
  }
  started.child.kill("SIGTERM");
  assert.deepEqual(await once(started.child, "exit"), [0, null]);
  assert.equal(started.lines.filter((line) => line.includes("more are closed")).length, 1);
});

const needsPrlimit = { skip: skip || (isThere("prlimit --version") ? false : "needs prlimit") };

test(
  "when none are left while it runs, those that are connected are answered, and it is logged once",
  needsPrlimit,
  async (t) => {
    const started = start(t, 200, "--data-dir", join(temporaryDirectory(t), "data"));
    const port = await portOf(started);
    const pid = started.child.pid!;
    const first = await open(t, port);
    assert.match(await asks(first, "/health"), / 200 /);
    const settings = { lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 };
    const made = JSON.stringify({ queue_name: "q", ...settings });
    assert.match(await asks(first, "/v1/queues.create", made), / 200 /);
    const limitTo = (limit: number): void => {
      execFileSync("prlimit", ["--pid", String(pid), `--nofile=${limit}:${base + 200}`]);
    };
    // A limit is one of numbers: the first that is free is what comes next.
    const taken = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
    let free = 0;
    while (taken.has(free)) free++;
    limitTo(free);
    await started.said("no file descriptors are left");
    for (let i = 0; i < 20; i++) {
      const other = await open(t, port);
      const produced = { queue_name: "q", request_timeout: "5s", items: [{ utf8: `item ${i}` }] };
      assert.match(await asks(first, "/v1/queue.produce", JSON.stringify(produced)), / (200|454) /);
      other.destroy();
    }
    assert.match(await asks(first, "/health"), / 200 /);
    limitTo(base + 200);
    await started.said("there are file descriptors again");
    const again = await open(t, port);
    assert.match(await asks(again, "/health"), / 200 /);
    started.child.kill("SIGTERM");
    assert.deepEqual(await once(started.child, "exit"), [0, null]);
    const told = started.lines.filter((line) => line.includes("no file descriptors are left"));
    assert.equal(told.length, 1);
  },
);

// Whoever started the server through npm or npx: the end of that ends the server, in peace, however it comes.
// Who put it into the background on purpose, or started it in another way, is left alone.

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { cleanEnvironment, install, packAll } from "./support/packed.ts";
import { makeScratch, removeScratch } from "./support/scratch.ts";
import { temporaryDirectory } from "./support/server.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const scratch = makeScratch();
const project = join(scratch, "project");
const skip = process.platform === "linux" ? false : "it looks into /proc";

const SERVER = "querator server --memory --address 127.0.0.1:0 --log-format json";
const SCRIPTS = {
  start: SERVER,
  // The shell stays in between.
  behind: `${SERVER} && true`,
  // As a package of somebody else's has it; and a script that calls another.
  through: `npx ${SERVER}`,
  nested: "npm run through",
  background: `${SERVER} > log 2>&1 &`,
  "set-apart": `setsid ${SERVER} > log 2>&1 && true`,
};

before(async () => {
  if (skip !== false) return;
  await install(project, packAll().server);
  const manifest = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as object;
  writeFileSync(join(project, "package.json"), JSON.stringify({ ...manifest, scripts: SCRIPTS }));
});
after(() => removeScratch(scratch));

interface Started {
  /** What was started: npm, as a rule. */
  readonly child: ChildProcess;
  readonly lines: string[];
  readonly port: number;
  /** Of the server. */
  readonly pid: number;
}

/** Starts something that starts a server, and waits for it. */
async function start(
  t: TestContext,
  [file, ...args]: readonly string[],
  { cwd = project, env = cleanEnvironment() } = {},
): Promise<Started> {
  // Of a group of its own, as a terminal has it.
  const child = spawn(file!, args, {
    cwd,
    env,
    detached: true,
    stdio: ["pipe", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  const lines: string[] = [];
  const port = await new Promise<number>((resolve, reject) => {
    createInterface({ input: child.stdout! }).on("line", (line) => {
      lines.push(line);
      const found = /"address":"[^"]+:(\d+)"/.exec(line);
      if (found !== null) resolve(Number(found[1]));
    });
    child.once("close", (code) => reject(new Error(`${file} has ended: ${code} ${lines}`)));
  });
  const pid = serverOn(child.pid!);
  t.after(() => killIfThere(pid));
  return { child, lines, port, pid };
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // it has ended
  }
}

function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}

/** The last descendant of a process that runs the command of the server. */
function serverOn(ancestor: number): number {
  let pid = ancestor;
  for (;;) {
    const child = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0];
    if (child === undefined || child === "") return pid;
    pid = Number(child);
  }
}

function isThere(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function isGone({ pid, port }: Started): Promise<void> {
  while (isThere(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
  const socket = connect(port, "127.0.0.1");
  const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
  assert.equal(error.code, "ECONNREFUSED");
}

function stoppedInPeace({ lines }: Started): void {
  assert.match(lines.join("\n"), /"msg":"querator is stopping"/);
  assert.match(lines.at(-1) ?? "", /"msg":"querator has stopped"/);
}

const WAYS: readonly (readonly [way: readonly string[], signals: readonly NodeJS.Signals[]])[] = [
  [
    ["npx", ...SERVER.split(" ")],
    ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"],
  ],
  [["npm", "exec", "--", ...SERVER.split(" ")], ["SIGTERM"]],
  [
    ["npm", "--silent", "start"],
    ["SIGTERM", "SIGKILL"],
  ],
  [["npm", "--silent", "run", "behind"], ["SIGKILL"]],
  [["npm", "--silent", "run", "through"], ["SIGTERM"]],
  [["npm", "--silent", "run", "nested"], ["SIGTERM"]],
];

for (const [way, signals] of WAYS) {
  for (const signal of signals) {
    test(`${way.slice(0, 4).join(" ")}: ${signal} ends the server`, { skip }, async (t) => {
      const started = await start(t, way);
      assert.notEqual(started.pid, started.child.pid);
      // Ctrl-C goes to all. By itself SIGINT does not end npm, as its shell waits for the command.
      process.kill(signal === "SIGINT" ? -started.child.pid! : started.child.pid!, signal);
      await isGone(started);
      stoppedInPeace(started);
    });
  }
}

test("npm start in a clone ends its server as well", { skip }, async (t) => {
  const flags = ["--memory", "--address", "127.0.0.1:0", "--log-format", "json"];
  const way = ["npm", "--silent", "start", "--", ...flags];
  const started = await start(t, way, { cwd: root });
  started.child.kill("SIGTERM");
  await isGone(started);
});

test("the shell between npm and the server dies, and the server ends", { skip }, async (t) => {
  const started = await start(t, ["npm", "--silent", "run", "behind"]);
  const shell = parentOf(started.pid);
  assert.notEqual(shell, started.child.pid);
  process.kill(shell, "SIGKILL");
  await isGone(started);
  assert.match(started.lines.join("\n"), /"reason":"what started it has ended"/);
});

test("commands that watch end with npx as well", { skip }, async (t) => {
  const { port } = await start(t, ["npx", ...SERVER.split(" ")]);
  const flags = ["--interval", "10ms", "--endpoint", `http://127.0.0.1:${port}`, "-o", "ndjson"];
  const watching = spawn("npx", ["querator", "top", ...flags], {
    cwd: project,
    env: cleanEnvironment(),
    stdio: ["pipe", "pipe", "ignore"],
  });
  t.after(() => watching.kill("SIGKILL"));
  const made = { lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 };
  await fetch(`http://127.0.0.1:${port}/v1/queues.create`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ queue_name: "q", ...made }),
  });
  await once(watching.stdout, "data");
  const pid = serverOn(watching.pid!);
  watching.kill("SIGKILL");
  while (isThere(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
});

test("an old Node that starts a newer one: its end is that of the server, and its code", {
  skip,
}, async (t) => {
  // What a clone does: the command thinks that this Node is too old, and starts the one of the packages.
  const old = join(temporaryDirectory(t), "old.cjs");
  writeFileSync(
    old,
    `if (!process.env.QUERATOR_STARTED_BY)
      Object.defineProperty(process, "versions", { value: { node: "20.20.2" } });`,
  );
  const command = join(root, "bin/querator.js");
  const env = { ...cleanEnvironment(), NODE_OPTIONS: `--require ${old}` };
  const way = [process.execPath, command, ...SERVER.split(" ").slice(1)];
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    const started = await start(t, way, { env });
    assert.notEqual(started.pid, started.child.pid);
    started.child.kill(signal);
    assert.deepEqual(await once(started.child, "exit"), [0, null], signal);
    await isGone(started);
    stoppedInPeace(started);
  }
  const killed = await start(t, way, { env });
  killed.child.kill("SIGKILL");
  await isGone(killed);
  stoppedInPeace(killed);
  const orphaned = await start(t, way, { env });
  process.kill(orphaned.pid, "SIGKILL");
  assert.deepEqual(await once(orphaned.child, "exit"), [null, "SIGKILL"]);
  const wrong = spawn(process.execPath, [command, "server", "--nope"], { env, stdio: "ignore" });
  assert.deepEqual(await once(wrong, "exit"), [2, null]);
});

for (const script of ["background", "set-apart"] as const) {
  test(`a server that a script puts apart (${script}) outlives npm`, { skip }, async (t) => {
    const npm = spawn("npm", ["--silent", "run", script], {
      cwd: project,
      env: cleanEnvironment(),
      stdio: ["pipe", "ignore", "ignore"],
    });
    t.after(() => npm.kill("SIGKILL"));
    if (script === "background") await once(npm, "exit");
    let port = "";
    while (port === "") {
      port = /"address":"[^"]+:(\d+)"/.exec(logOf(project))?.[1] ?? "";
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const pid = Number(
      readdirSync("/proc").find((each) => {
        if (!/^\d+$/.test(each) || Number(each) === npm.pid) return false;
        return inodesOf(each).has(inodeOf(port));
      }),
    );
    t.after(() => killIfThere(pid));
    const ended = npm.exitCode === null ? once(npm, "exit") : undefined;
    npm.kill("SIGKILL");
    await ended;
    // More than it takes to notice.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    assert.equal((await fetch(`http://127.0.0.1:${port}/health`)).status, 200);
    process.kill(pid, "SIGTERM");
    while (isThere(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
    writeFileSync(join(project, "log"), "");
  });
}

function logOf(dir: string): string {
  try {
    return readFileSync(join(dir, "log"), "utf8");
  } catch {
    return "";
  }
}

// The sockets that listen on a port.
function inodeOf(port: string): string {
  const hex = Number(port).toString(16).toUpperCase().padStart(4, "0");
  const text = readFileSync("/proc/net/tcp", "utf8");
  const line = text.split("\n").find((each) => each.includes(`:${hex} 00000000:0000 0A`));
  return line?.trim().split(/\s+/)[9] ?? "none";
}

function inodesOf(pid: string): Set<string> {
  try {
    const out = execFileSync("ls", ["-l", `/proc/${pid}/fd`], { encoding: "utf8", stdio: "pipe" });
    return new Set([...out.matchAll(/socket:\[(\d+)\]/g)].map(([, inode]) => inode!));
  } catch {
    return new Set();
  }
}

// The command as a user runs it.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { BASE_ENVIRONMENT } from "./support/environment.ts";
import { temporaryDirectory } from "./support/server.ts";
import {
  ServerProcess,
  type ServerProcessOptions,
  StartRefused,
} from "./support/server-process.ts";

const COMMAND = fileURLToPath(new URL("../bin/querator.js", import.meta.url));
const { version } = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.url), "utf8"),
) as { version: string };

function run(t: TestContext, args: string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  const child = spawn(process.execPath, [COMMAND, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...BASE_ENVIRONMENT, ...env },
  });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

async function finish(
  child: ChildProcess,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  let stdout = "";
  let stderr = "";
  child.stdout!.on("data", (chunk) => (stdout += chunk));
  child.stderr!.on("data", (chunk) => (stderr += chunk));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}

async function serve(t: TestContext, options: ServerProcessOptions): Promise<ServerProcess> {
  const server = await ServerProcess.start(options);
  t.after(() => server.dispose());
  return server;
}

test("version prints the version", async (t) => {
  for (const args of [["version"], ["--version"]]) {
    const { code, stdout } = await finish(run(t, args));
    assert.equal(code, 0);
    assert.equal(stdout, `querator ${version}\n`);
  }
});

test("--help shows what there is, with examples", async (t) => {
  const { code, stdout } = await finish(run(t, ["--help"]));
  assert.equal(code, 0);
  assert.match(stdout, /Examples:\n {2}querator server/);
  const server = await finish(run(t, ["server", "--help"]));
  for (const flag of [
    "address",
    "data-dir",
    "memory",
    "config",
    "log-level",
    "log-format",
    "dev",
  ]) {
    assert.match(server.stdout, new RegExp(`--${flag}`));
  }
});

test("what is used wrongly ends with 2 and says what is wrong", async (t) => {
  const dir = temporaryDirectory(t);
  const file = join(dir, "querator.yaml");
  writeFileSync(file, "logging:\n  level: loud\n");
  const queues = join(dir, "queues.yaml");
  writeFileSync(queues, "memory: true\nqueues: [{name: q, dead-queue: none}]\n");
  const rows: [string[], NodeJS.ProcessEnv, RegExp][] = [
    [["serve"], {}, /unknown command 'serve'/],
    [["server", "--nope"], {}, /unknown option '--nope'/],
    [["server", "--log-level", "loud"], {}, /'--log-level <level>' argument 'loud' is invalid/],
    [["server", "--address", "2319"], {}, /^Error: address: "2319" is not allowed; use HOST:PORT/],
    [
      ["server", "--memory", "--threads", "0"],
      {},
      /^Error: --threads: 0 is not allowed; use a whole/,
    ],
    [["server", "--memory", "--data-dir", dir], {}, /^Error: give either --memory or --data-dir/],
    [
      ["server", "--config", file],
      {},
      /^Error: querator.yaml: logging.level: "loud" is not allowed; use one of debug, info, warn, error\n$/,
    ],
    [
      ["server", "--config", queues, "--address", "127.0.0.1:0"],
      {},
      /^Error: queues.yaml: queues\[0\]: dead_queue does not exist; 'none' was not found/,
    ],
    [
      ["server", "--config", join(dir, "no.yaml")],
      {},
      /^Error: cannot read the configuration file/,
    ],
    [
      ["server"],
      { QUERATOR_LOG_FORMAT: "xml" },
      /^Error: environment: QUERATOR_LOG_FORMAT: "xml" is not allowed; use one of text, json, color\n$/,
    ],
  ];
  for (const [args, env, pattern] of rows) {
    const { code, stderr } = await finish(run(t, args, env));
    assert.match(stderr, pattern);
    assert.equal(code, 2, args.join(" "));
  }
});

test("server goes on when nobody reads its log any more", async (t) => {
  const child = run(t, ["server", "--memory", "--address", "127.0.0.1:0"]);
  const [line] = (await once(child.stdout!, "data")) as [Buffer];
  const address = /address=(\S+)/.exec(String(line))![1]!;
  child.stdout!.destroy();
  const call = async (path: string, request: object): Promise<{ items: { id: string }[] }> => {
    const body = JSON.stringify(request);
    const response = await fetch(`${address}/v1/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
    });
    assert.equal(response.status, 200);
    return response.json() as never;
  };
  const settings = { lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 };
  await call("queues.create", { ...settings, queue_name: "dead" });
  await call("queues.create", { ...settings, queue_name: "q", dead_queue: "dead" });
  await call("queues.delete", { queue_name: "dead", force: true });
  const timed = { queue_name: "q", request_timeout: "10s" };
  for (const utf8 of ["one", "two"]) {
    await call("queue.produce", { ...timed, items: [{ utf8 }] });
    const { items } = await call("queue.lease", { ...timed, client_id: "c", batch_size: 1 });
    // Its dead queue is gone, which is a line in the log.
    await call("queue.retry", { queue_name: "q", items: [{ id: items[0]!.id, dead: true }] });
  }
  assert.equal((await fetch(`${address}/health`)).status, 200);
  child.kill("SIGTERM");
  assert.deepEqual(await once(child, "exit"), [0, null]);
});

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  test(`server serves, keeps its data, and ends with 0 on ${signal}`, async (t) => {
    const dataDir = temporaryDirectory(t);
    const post = async (
      { address }: ServerProcess,
      path: string,
      body: object,
    ): Promise<string> => {
      const response = await fetch(`${address}/v1/${path}`, {
        method: "POST",
        body: JSON.stringify(body),
        headers: { "Content-Type": "application/json" },
      });
      return response.text();
    };
    const first = await serve(t, { dataDir });
    const health = (await (await fetch(`${first.address}/health`)).json()) as object;
    assert.deepEqual(
      { ...health, checks: undefined },
      { status: "pass", version, checks: undefined },
    );
    const queue = { queue_name: "q", lease_timeout: "1m", expire_timeout: "1h" };
    assert.equal(
      await post(first, "queues.create", { ...queue, requested_partitions: 1 }),
      '{"code":200}',
    );
    const items = [{ utf8: "kept" }];
    await post(first, "queue.produce", { queue_name: "q", request_timeout: "1s", items });

    await assert.rejects(serve(t, { dataDir }), (error) => {
      assert.ok(error instanceof StartRefused);
      assert.equal(error.exit.code, 1);
      assert.match(error.stderr, /^Error: data directory '.*' is in use by another server/);
      return true;
    });

    assert.equal((await first.terminate(signal)).code, 0);

    const again = await serve(t, { dataDir });
    const listed = await post(again, "storage/items.list", { queue_name: "q" });
    assert.match(listed, new RegExp(Buffer.from("kept").toString("base64")));
    // Killed without a chance to clean up, it starts again all the same.
    await again.kill();
    const third = await serve(t, { dataDir });
    const after = await post(third, "storage/items.list", { queue_name: "q" });
    assert.equal(after, listed);
  });
}

test("a signal while the server starts stops it once it is there", async (t) => {
  const started = async (): Promise<ChildProcess> => {
    const child = run(t, ["server", "--memory", "--address", "127.0.0.1:0"], {
      NODE_OPTIONS: `--import ${new URL("support/slow-start.ts", import.meta.url).href}`,
    });
    await once(child.stderr!, "data"); // it is about to start
    return child;
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    const child = await started();
    const ended = finish(child);
    child.kill(signal);
    const { code, stdout } = await ended;
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`querator is stopping reason=${signal}\n.*has stopped`));
  }
});

test("SIGUSR1 opens no debugger, and ends nothing", async (t) => {
  const server = await serve(t, { storage: "memory", env: { QUERATOR_THREADS: "2" } });
  process.kill(server.pid, "SIGUSR1");
  assert.equal((await fetch(`${server.address}/health`)).status, 200);
  assert.equal((await server.terminate()).code, 0);
  assert.equal(server.stderr, "");
});

test("SIGUSR2 writes what the server holds to its log, of all threads, and ends nothing", async (t) => {
  const server = await serve(t, { storage: "memory", env: { QUERATOR_THREADS: "2" } });
  const headers = { "Content-Type": "application/json" };
  const body = '{"queue_name":"jobs"}';
  await fetch(`${server.address}/v2/queues.create`, { method: "POST", headers, body });
  process.kill(server.pid, "SIGUSR2");
  const isLast = ({ msg }: { msg: string }): boolean => msg === "dump: queue";
  for (let looks = 0; looks < 2_000 && !server.log.some(isLast); looks++) {
    assert.equal((await fetch(`${server.address}/health`)).status, 200);
  }
  assert.deepEqual(
    server.log.filter(({ msg }) => msg.startsWith("dump: ")).map(({ msg }) => msg),
    ["dump: server", "dump: thread", "dump: thread", "dump: queue"],
  );
  assert.equal((await server.terminate()).code, 0);
  assert.equal(server.stderr, "");
});

test("SIGUSR2 ends nothing while the server starts", async (t) => {
  const child = run(t, ["server", "--memory", "--address", "127.0.0.1:0"], {
    NODE_OPTIONS: `--import ${new URL("support/slow-start.ts", import.meta.url).href}`,
  });
  await once(child.stderr!, "data"); // it is about to start
  const ended = finish(child);
  child.kill("SIGUSR2");
  child.kill("SIGTERM");
  assert.equal((await ended).code, 0);
});

test("under nohup a hang-up of the terminal is survived", async (t) => {
  const command = [process.execPath, COMMAND, "server", "--memory", "--address", "127.0.0.1:0"];
  // Each shell leaves traces of its own.
  for (const [shell, line] of [
    ["bash", 'nohup "$@"'],
    ["sh", "trap '' HUP; \"$@\"; true"],
  ] as const) {
    const child = spawn(shell, ["-c", line, shell, ...command], {
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...BASE_ENVIRONMENT },
      detached: true,
    });
    const ended = once(child, "exit");
    t.after(() => child.kill("SIGKILL"));
    const [ready] = (await once(child.stdout, "data")) as [Buffer];
    const address = /address=(\S+)/.exec(String(ready))![1]!;
    process.kill(-child.pid!, "SIGHUP");
    assert.equal((await fetch(`${address}/health`)).status, 200, shell);
    process.kill(-child.pid!, "SIGTERM");
    await ended;
  }
});

test("without --dev there are no endpoints for tests", async (t) => {
  const { address } = await serve(t, { storage: "memory" });
  for (const path of ["dev.clock", "dev.pause", "dev.resume"]) {
    const response = await fetch(`${address}/v1/${path}`, { method: "POST", body: "{}" });
    assert.equal(response.status, 501);
  }
});

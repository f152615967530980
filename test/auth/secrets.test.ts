// No key, and no password, is in anything that a server or a command says: what it logs, what it answers to
// requests that are wrong, its documents, its help, or the list of processes.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { BASE_ENVIRONMENT } from "../support/environment.ts";
import { RawConnection } from "../support/raw-connection.ts";
import { temporaryDirectory } from "../support/server.ts";
import { ServerProcess } from "../support/server-process.ts";

const COMMAND = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));
const PASSWORD = "not-to-be-seen-anywhere";

/** Everything that was said, and that none of it holds a secret. */
class Said {
  readonly #texts: string[] = [];
  readonly #secrets: string[] = [];

  add(text: string): string {
    this.#texts.push(text);
    return text;
  }

  /** What must not be said: all of it, or the part of a key that nobody could guess. */
  hide(secret: string): string {
    this.#secrets.push(secret.startsWith("qtr-") ? secret.slice(-30) : secret);
    return secret;
  }

  check(): void {
    const all = this.#texts.join("\n");
    assert.ok(this.#secrets.length > 0 && all.length > 0);
    for (const secret of this.#secrets) {
      const at = all.indexOf(secret);
      assert.equal(at, -1, `a secret is in: ${all.slice(Math.max(at - 200, 0), at)}`);
    }
  }
}

function run(said: Said, args: readonly string[], env: object = {}): Promise<void> {
  return new Promise((resolve) => {
    const options = { env: { ...BASE_ENVIRONMENT, ...env } };
    execFile(process.execPath, [COMMAND, ...args], options, (_, stdout, stderr) => {
      said.add(stdout + stderr);
      resolve();
    });
  });
}

// What the system shows of the process, and of all that belong to it, to everybody.
function titlesOf(pid: number): string {
  const threads = readdirSync(`/proc/${pid}/task`).map((id) => `/proc/${pid}/task/${id}`);
  return [`/proc/${pid}`, ...threads]
    .flatMap((dir) => ["cmdline", "comm"].map((file) => readFileSync(`${dir}/${file}`, "latin1")))
    .join("\n");
}

/** Asks in every way that is wrong, each with a key. */
async function askWrongly(t: TestContext, server: ServerProcess, said: Said, key: string) {
  const ask = async (path: string, init: RequestInit) => {
    const reply = await fetch(server.address + path, init);
    const { "x-request-id": _, ...headers } = Object.fromEntries(reply.headers);
    said.add(JSON.stringify(headers) + (await reply.text()));
  };
  const json = { "Content-Type": "application/json" };
  for (const version of ["v1", "v2"]) {
    for (const given of [`Bearer ${key}`, `bearer ${key}`, `Basic ${key}`, key, `Bearer ${key}x`]) {
      const headers = { ...json, Authorization: given };
      for (const [path, body] of [
        ["queues.list", "{"],
        ["queues.info", '{"queue_name":"none"}'],
        ["no.such", "{}"],
        ["queue.produce", "x"],
      ]) {
        await ask(`/${version}/${path}`, { method: "POST", headers, body: body! });
      }
      await ask(`/${version}/queues.list`, { headers });
      await ask(`/${version}/queues.list`, {
        method: "POST",
        headers: { Authorization: given, "Content-Type": "text/odd" },
        body: "{}",
      });
    }
  }
  for (const page of ["/docs", "/openapi.json", "/openapi-3.0.json", "/health", "/none"]) {
    await ask(page, { headers: { Authorization: `Bearer ${key}` } });
  }
  const connection = await RawConnection.open(server.port);
  t.after(() => connection.destroy());
  const odd = `POST /v2/queues.list HTTP/1.1\r\nAuthorization: Bearer ${key}\r\n\r\n`;
  const outcome = await connection.send(odd, { waitMs: 10_000 });
  if (outcome.kind === "reply") said.add(outcome.reply.body.toString());
}

for (const from of ["made", "variable", "file"] as const) {
  test(`nothing shows a first key: ${from}`, { skip: process.platform !== "linux" }, async (t) => {
    const dir = temporaryDirectory(t);
    const said = new Said();
    const given = said.hide(`qtr-test-${"S3cr3t".repeat(8)}`);
    const keyFile = join(dir, "key");
    writeFileSync(keyFile, given);
    const server = await ServerProcess.start({
      dataDir: join(dir, "data"),
      env: {
        QUERATOR_AUTH: "keys",
        QUERATOR_LOG_LEVEL: "debug",
        ...(from === "variable" && { QUERATOR_BOOTSTRAP_KEY: given }),
        ...(from === "file" && { QUERATOR_BOOTSTRAP_KEY_FILE: keyFile }),
      },
    });
    t.after(() => server.dispose());
    const made = from === "made" ? readFileSync(join(dir, "data", "admin-key"), "utf8") : given;
    const key = said.hide(made.trim());
    const isTaken = await fetch(`${server.address}/v2/queues.list`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
      body: "{}",
    });
    assert.equal(isTaken.status, 200);
    await askWrongly(t, server, said, key);
    // One that is not taken is somebody's all the same: perhaps that of another server.
    await askWrongly(t, server, said, said.hide(`qtr-test-${"0th3r".repeat(9)}`));
    said.add(titlesOf(server.pid));
    const env = { QUERATOR_BOOTSTRAP_KEY: key, QUERATOR_AUTH: "keys" };
    await run(said, ["doctor", "--data-dir", join(dir, "data")], env);
    await run(said, ["server", "--help"], env);
    await run(said, ["server", "--memory", "--address", "nowhere"], env);
    await run(said, ["server", "--memory", "--auth", "none"], env);
    await run(said, ["server", "--memory"], { ...env, QUERATOR_BOOTSTRAP_KEY: `${key}!` });
    await server.terminate();
    said.add(JSON.stringify(server.log) + server.errors.join("\n") + server.stderr);
    assert.ok(server.log.length > 2);
    said.check();
  });
}

test("no command shows a key that it was given, wherever it was given", async (t) => {
  const said = new Said();
  const server = await ServerProcess.start({ storage: "memory" });
  t.after(() => server.dispose());
  const key = said.hide(`qtr-test-${"S3cr3t".repeat(8)}`);
  const nowhere = ["--endpoint", "http://127.0.0.1:1"];
  const there = ["--endpoint", server.address];
  for (const args of [
    ["--key", key, "nosuch"],
    ["--key", key, "list", "too", "many"],
    ["--key", key, ...nowhere, "list"],
    ["--key", `${key}!`, ...nowhere, "list"],
    ["--key", key, ...there, "queues", "info", "none"],
    ["--kye", key, "list"],
    ["--key-file", key, ...nowhere, "list"],
    ["--header", key, ...nowhere, "list"],
    ["--header", `Authorization: Basic ${key}`, ...there, "list"],
    ["--endpoint", `http://u:${key}@127.0.0.1:1`, "list"],
    ["--endpoint", `${key}:x`, "list"],
    ["--output", key, "list"],
    [key],
    ["server", "--auth", key],
    ["server", "--memory", "--auth", "keys", "--bootstrap-key-file", key],
    ["server", "--memory", "--bootstrap-key", key],
    ["server", "--config", key],
    [...there, "key", "create", key],
    [...there, "key", "revoke", key, "--yes"],
    [...there, "binding", "create", key, key],
  ]) {
    await run(said, args);
  }
  await server.terminate();
  said.add(JSON.stringify(server.log) + server.stderr);
  said.check();
});

test("a server that ends by an error that nobody expected shows no key", async (t) => {
  const said = new Said();
  const key = said.hide(`qtr-test-${"S3cr3t".repeat(8)}`);
  const dir = temporaryDirectory(t);
  const fall = join(dir, "fall.mjs");
  const onUsr2 = 'process.on("SIGUSR2", () => { throw new Error("nobody expected this"); });';
  writeFileSync(
    fall,
    `import { isMainThread } from "node:worker_threads";if (isMainThread) ${onUsr2}`,
  );
  const server = await ServerProcess.start({
    storage: "memory",
    env: {
      QUERATOR_AUTH: "keys",
      QUERATOR_BOOTSTRAP_KEY: key,
      NODE_OPTIONS: `--import ${fall}`,
    },
  });
  t.after(() => server.dispose());
  await askWrongly(t, server, said, key);
  process.kill(server.pid, "SIGUSR2");
  const { code } = await server.exited;
  assert.notEqual(code, 0);
  assert.match(said.add(server.stderr), /nobody expected this/);
  said.add(JSON.stringify(server.log));
  said.check();
});

test("nothing shows the password of a database", async (t) => {
  const said = new Said();
  said.hide(PASSWORD);
  const path = join(temporaryDirectory(t), "postgres");
  for (const url of [
    `postgres://u:${PASSWORD}@127.0.0.1:1/db`,
    `postgres://u:${PASSWORD}#@127.0.0.1:1/db`,
    `mysql://u:${PASSWORD}@127.0.0.1:1/db`,
    `not a URL ${PASSWORD}`,
  ]) {
    writeFileSync(path, url);
    await run(said, ["server", "--address", "127.0.0.1:0"], { QUERATOR_POSTGRES_FILE: path });
    await run(said, ["doctor"], { QUERATOR_POSTGRES_FILE: path });
  }
  said.check();
});

// The commands on docs/SECURITY.md, as they stand there and in their order: nothing is changed but the port, and ids
// that the page cannot know. The configurations of proxies on it are run by test/proxies.test.ts.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { NO_OPENSSL } from "./support/certificates.ts";
import { BASE_ENVIRONMENT } from "./support/environment.ts";
import { temporaryDirectory } from "./support/server.ts";

const PAGE = readFileSync(new URL("../docs/SECURITY.md", import.meta.url), "utf8");
const COMMAND = fileURLToPath(new URL("../bin/querator.js", import.meta.url));
const DENIED = /\s+# access denied$/;

/** All commands of the page, each in one line. */
function commands(): string[] {
  const blocks = [...PAGE.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!);
  return blocks.flatMap((block) => block.replaceAll("\\\n", " ").trim().split("\n"));
}

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

interface Done {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A terminal: what is exported in it stays. */
class Terminal {
  readonly #cwd: string;
  readonly #env: Readonly<Record<string, string | undefined>>;
  #before = "";

  constructor(t: TestContext) {
    this.#cwd = temporaryDirectory(t);
    const bin = temporaryDirectory(t);
    const script = `#!/bin/sh\nexec "${process.execPath}" "${COMMAND}" "$@"\n`;
    writeFileSync(join(bin, "querator"), script, { mode: 0o755 });
    this.#env = { ...BASE_ENVIRONMENT, PATH: `${bin}${delimiter}${process.env.PATH}` };
  }

  async run(command: string): Promise<Done> {
    if (/^(export|umask) /.test(command)) this.#before += `${command}\n`;
    const options = { cwd: this.#cwd, env: this.#env };
    return new Promise((resolve) => {
      execFile("sh", ["-c", this.#before + command], options, (error, stdout, stderr) => {
        resolve({ code: Number(error?.code ?? 0), stdout, stderr });
      });
    });
  }

  /** Runs what does not end by itself, until the test does; resolves when it is ready. */
  async runServer(t: TestContext, command: string): Promise<void> {
    const options = { cwd: this.#cwd, env: this.#env };
    const child = spawn("sh", ["-c", `${this.#before}exec ${command}`], {
      ...options,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = once(child, "close");
    t.after(async () => {
      child.kill("SIGKILL");
      await ended;
    });
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.includes("querator is ready")) return;
    }
    assert.fail("the server has ended");
  }

  /** The id of what the page calls `<key of NAME>` or `<id of NAME>`. */
  async idOf(what: string, name: string): Promise<string> {
    const list = what === "key" ? `key list --user ${name}` : "user list";
    const { stdout, stderr } = await this.run(`querator ${list} -o ndjson`);
    const rows = stdout.trim().split("\n");
    const row = rows.findLast((each) => what === "key" || each.includes(`"username":"${name}"`));
    assert.ok(row, stderr);
    return JSON.parse(row).id;
  }
}

test("the guide from open to closed does what it says", { skip: NO_OPENSSL }, async (t) => {
  const terminal = new Terminal(t);
  const port = await freePort();
  const told = new Map<string, string>();
  let refused = 0;
  for (const given of commands()) {
    const isDenied = DENIED.test(given);
    let command = given.replace(DENIED, "").replaceAll(":2319", `:${port}`);
    for (const [written, what, name] of command.matchAll(/<(key|id) of ([\w-]+)>/g)) {
      command = command.replace(written, await terminal.idOf(what!, name!));
    }
    if (command.startsWith("querator server")) {
      await terminal.runServer(t, command);
      continue;
    }
    const { code, stdout, stderr } = await terminal.run(command);
    told.set(given, stdout);
    if (isDenied) {
      assert.notEqual(code, 0, given);
      assert.match(stderr, /access denied/, given);
      refused++;
    } else {
      assert.equal(code, 0, `${given}: ${stderr}`);
    }
  }
  assert.ok(refused >= 4);
  const saidBy = (part: string) => [...told].find(([given]) => given.includes(part))![1];
  assert.match(saidBy("curl"), /"status":401,"code":"unauthenticated"/);
  assert.match(saidBy("--key-file mailer.key lease mails"), /hello/);
  assert.match(saidBy("doctor"), /ok +auth: callers show a key/);
  assert.match(saidBy("doctor"), /ok +anonymous: who shows no key may do nothing/);
  assert.doesNotMatch(saidBy("doctor"), /warning/);
});

// The commands in the documents run as they stand there, against servers of the test's own.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { BASE_ENVIRONMENT } from "../support/environment.ts";
import { setup as setupServer, temporaryDirectory } from "../support/server.ts";
import { COMMAND, finish, type Result } from "./setup.ts";

/** The blocks of shell commands below a heading. */
function blocks(path: string, heading: string): string[] {
  const text = readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
  const section = text.split(/^#+ /m).find((each) => each.startsWith(`${heading}\n`));
  assert.ok(section, `${path} has no ${heading}`);
  return [...section.matchAll(/^```sh\n(.*?)^```/gms)].map(([, code]) => code!);
}

/** Runs commands in a directory of their own; a failure of any of them is one. */
function run(t: TestContext, script: string, endpoint: string): Promise<Result> {
  const querator = `querator() { '${process.execPath}' '${COMMAND}' "$@"; }`;
  const child = spawn("bash", ["--norc", "-c", `set -e -o pipefail\n${querator}\n${script}`], {
    cwd: temporaryDirectory(t),
    env: { ...BASE_ENVIRONMENT, QUERATOR_ENDPOINT: endpoint },
  });
  t.after(() => child.kill("SIGKILL"));
  return finish(child);
}

test("the tour of the README and that of CLI.md run", async (t) => {
  const other = await setupServer(t);
  // The tours import into a queue that is there.
  await other.createQueue("jobs");
  await other.createQueue("mails");
  for (const [path, heading] of [
    ["README.md", "On the command line"],
    ["docs/CLI.md", "The command line"],
  ] as const) {
    const [tour] = blocks(path, heading);
    const { server } = await setupServer(t);
    const script = tour!.replace("http://other:2319", other.server.address);
    const { code, stderr, stdout } = await run(t, script, server.address);
    assert.equal(code, 0, `${path}: ${stderr}`);
    assert.match(stdout, /^(QUEUE|PARTITION) +/);
    assert.match(stderr, /Successfully completed 1 item/);
  }
});

test("a queue is moved as CLI.md says", async (t) => {
  const [from, to] = [await setupServer(t), await setupServer(t)];
  await from.createQueue("jobs");
  await from.produce("jobs", "a", "b");
  const [moving] = blocks("docs/CLI.md", "Moving a queue to another server or storage");
  const script = moving!
    .replaceAll("http://old:2319", from.server.address)
    .replaceAll("http://new:2319", to.server.address);
  const { code, stderr } = await run(t, script, "http://127.0.0.1:1");
  assert.equal(code, 0, stderr);
  assert.equal((await to.list("jobs")).length, 2);
});

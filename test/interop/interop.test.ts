// The same scenario in several languages, with nothing but what each brings along, and with our client.
// A language that is not on the machine is skipped, and says so.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { LeaseLostError, QueueNotFoundError } from "@querator/client";
import { setup as setupClient } from "../client/setup.ts";
import { isThere } from "../support/commands.ts";
import { setup } from "../support/server.ts";

const PROGRAMS: readonly {
  readonly name: string;
  readonly command: string;
  readonly version: string;
  readonly args: readonly string[];
}[] = [
  { name: "curl", command: "sh", version: "command -v curl", args: ["scenario.sh"] },
  { name: "Python", command: "python3", version: "python3 --version", args: ["scenario.py"] },
  { name: "Go with Protobuf", command: "go", version: "go version", args: ["run", "scenario.go"] },
];

for (const { name, command, version, args } of PROGRAMS) {
  const skip = isThere(version) ? false : `${name} is not on this machine (${version})`;
  test(`create, produce, lease, complete, retry and errors with ${name}`, { skip }, async (t) => {
    const { server } = await setup(t);
    const cwd = fileURLToPath(new URL(".", import.meta.url));
    const env = { ...process.env, GO111MODULE: "off", GOFLAGS: "" };
    const { stdout } = await promisify(execFile)(command, [...args, server.address], { cwd, env });
    assert.equal(stdout, "ok\n");
  });
}

test("create, produce, lease, complete, retry and errors with the client", async (t) => {
  const { client } = await setupClient(t);
  await client.produce("jobs", { payload: new Uint8Array([0, 255]), kind: "a" });
  const [first] = await client.lease("jobs");
  assert.deepEqual([[...first!.payload], first!.kind, first!.attempts], [[0, 255], "a", 1]);
  await client.retry("jobs", first!);
  const [second] = await client.lease("jobs");
  assert.equal(second!.attempts, 2);
  await client.complete("jobs", second!);
  await assert.rejects(client.complete("jobs", second!), LeaseLostError);
  await assert.rejects(client.stats("nowhere"), QueueNotFoundError);
});

// Where a server listens, and what it says of that.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { type TestContext, test } from "node:test";
import { QueratorClient } from "@querator/client";
import { type RunningServer, startServer } from "../../src/server/server.ts";
import { SILENT } from "../support/server.ts";

const hasIpv6 = Object.values(networkInterfaces())
  .flat()
  .some((each) => each?.address === "::1");
const needsIpv6 = hasIpv6 ? {} : { skip: "needs ::1" };

interface Started {
  readonly server: RunningServer;
  /** What the log says of where it listens. */
  readonly listens: string;
}

async function start(t: TestContext, address: string, threads = 1): Promise<Started> {
  let listens = "";
  const info = (fields: { listens?: string }): void => {
    listens = fields.listens ?? listens;
  };
  const logger = { ...SILENT, info } as unknown as typeof SILENT;
  const server = await startServer({ address, memory: true, threads, auth: "none" }, { logger });
  t.after(() => server.stop());
  return { server, listens };
}

const health = async (url: string): Promise<number> => (await fetch(`${url}/health`)).status;

for (const threads of [1, 2]) {
  test(`localhost is both families, on ${threads} thread(s)`, needsIpv6, async (t) => {
    const { server, listens } = await start(t, "localhost:0", threads);
    const { port, address } = server;
    assert.equal(address, `http://localhost:${port}`);
    assert.equal(listens, `127.0.0.1:${port},[::1]:${port}`);
    // So often that every thread and each of its sockets is met.
    for (let i = 0; i < 40; i++) {
      assert.equal(await health(`http://127.0.0.1:${port}`), 200);
      assert.equal(await health(`http://[::1]:${port}`), 200);
    }
    await server.stop();
    for (const host of ["127.0.0.1", "[::1]"])
      await assert.rejects(health(`http://${host}:${port}`));
  });
}

test("a port that is taken on one family is refused, and named", needsIpv6, async (t) => {
  for (const [host, shown] of [
    ["::1", "\\[::1\\]"],
    ["127.0.0.1", "127\\.0\\.0\\.1"],
  ] as const) {
    const other = createServer().listen(0, host);
    await once(other, "listening");
    t.after(() => other.close());
    const { port } = other.address() as { port: number };
    const expected = new RegExp(
      `^Error: address ${shown}:${port} is in use; stop what listens there`,
    );
    await assert.rejects(start(t, `localhost:${port}`), expected);
    // Nothing is left of the attempt.
    const free = host === "::1" ? "127.0.0.1" : "[::1]";
    await assert.rejects(health(`http://${free}:${port}`));
  }
});

test("what is shown is a URL that works", async (t) => {
  const rows = [
    [":0", "localhost"],
    ["0.0.0.0:0", "127.0.0.1"],
    ["127.0.0.1:0", "127.0.0.1"],
    ...(hasIpv6 ? [["[::]:0", "[::1]"] as const, ["[::1]:0", "[::1]"] as const] : []),
  ] as const;
  for (const [address, shown] of rows) {
    const { server } = await start(t, address);
    assert.equal(server.address, `http://${shown}:${server.port}`);
    assert.equal(await health(server.address), 200, address);
  }
});

test("a client of localhost reaches a server that listens on one family only", async (t) => {
  const { server } = await start(t, "127.0.0.1:0");
  const client = new QueratorClient({ url: `http://localhost:${server.port}` });
  assert.equal((await client.health()).status, "pass");
  await client.close();
});

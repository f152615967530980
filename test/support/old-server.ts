// A server that knows /v1 only, as the first one did and others do: all else is 501. What it knows
// it passes on to a server under test.

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

/** Starts one before `address`; answers its own address. */
export async function startOldServer(t: TestContext, address: string): Promise<string> {
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await Array.fromAsync(request));
    let reply = { status: 501, text: '{"code":501,"message":"no such method"}' };
    if (request.url!.startsWith("/v1/")) {
      const inner = await fetch(`${address}${request.url}`, { method: "POST", body });
      reply = { status: inner.status, text: await inner.text() };
    }
    response.writeHead(reply.status, { "Content-Type": "application/json" }).end(reply.text);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

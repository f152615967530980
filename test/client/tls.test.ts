// The client over TLS: with an authority of one's own, and with one that nobody trusts.

import assert from "node:assert/strict";
import { execFile, execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { NetworkError, QueratorClient } from "@querator/client";
import { makeScratch } from "../support/scratch.ts";
import { setup } from "./setup.ts";

const skip = spawnSync("openssl", ["version"]).status === 0 ? false : "there is no openssl here";

/** A certificate for 127.0.0.1, and the authority that has signed it. */
function makeCertificate(): { readonly dir: string; read(name: string): Buffer } {
  const dir = makeScratch(tmpdir());
  const openssl = (...args: string[]): void =>
    void execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const days = ["-days", "2"];
  openssl(
    "req",
    "-x509",
    ...key,
    "-keyout",
    "ca.key",
    "-out",
    "ca.crt",
    "-subj",
    "/CN=ca",
    ...days,
  );
  openssl("req", ...key, "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=server");
  writeFileSync(join(dir, "ext"), "subjectAltName=IP:127.0.0.1");
  const authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
  const files = ["-in", "csr.pem", "-out", "cert.pem", "-extfile", "ext"];
  openssl("x509", "-req", ...files, ...authority, ...days);
  return { dir, read: (name) => readFileSync(join(dir, name)) };
}

async function secured(t: TestContext) {
  const { server } = await setup(t);
  const { dir, read } = makeCertificate();
  let connections = 0;
  const proxy = createServer({ key: read("key.pem"), cert: read("cert.pem") }, (from, response) => {
    const { method, url, headers } = from;
    const to = httpRequest(server.server.address + url!, { method: method!, headers });
    to.on("response", (answer) => {
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    from.pipe(to);
  });
  proxy.on("connection", () => {
    connections++;
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  const url = `https://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  return { url, ca: join(dir, "ca.crt"), connections: () => connections };
}

test("a program that is told of an authority works over TLS", { skip }, async (t) => {
  const { url, ca } = await secured(t);
  const program = `
    import { QueratorClient } from "@querator/client";
    await using client = new QueratorClient({ url: ${JSON.stringify(url)} });
    await client.produce("jobs", { payload: "secret" });
    await using worker = client.worker("jobs", ({ text }) => console.log(text));
    await worker.events.once("completed");
  `;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--input-type=module", "-e", program],
    {
      cwd: fileURLToPath(new URL("../..", import.meta.url)),
      env: { ...process.env, NODE_EXTRA_CA_CERTS: ca },
    },
  );
  assert.equal(stdout, "secret\n");
});

test("a certificate that nobody trusts is refused at once, and nothing is sent", {
  skip,
}, async (t) => {
  const { url, connections } = await secured(t);
  const options = { url, retry: { baseMs: 1, capMs: 1 } };
  for (const client of [new QueratorClient(options), new QueratorClient({ ...options, fetch })]) {
    const before = connections();
    await assert.rejects(client.produce("jobs", {}), (error) => {
      assert.ok(error instanceof NetworkError && !error.retryable && !error.uncertain);
      assert.match(error.message, /how to trust an authority of your own$/);
      return true;
    });
    assert.equal(connections() - before, 1);
  }
});

test("an https url of a server that speaks plain http is told apart, and nothing is sent", async (t) => {
  const { server } = await setup(t);
  const url = server.server.address.replace("http:", "https:");
  const options = { url, retry: { baseMs: 1, capMs: 1 } };
  for (const client of [new QueratorClient(options), new QueratorClient({ ...options, fetch })]) {
    await assert.rejects(client.produce("jobs", {}), (error) => {
      assert.ok(error instanceof NetworkError && !error.retryable && !error.uncertain);
      assert.match(error.message, /^Cannot reach https:\S+: no TLS is spoken there; use http:\S+$/);
      return true;
    });
  }
});

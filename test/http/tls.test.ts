// A server that speaks TLS: every kind of request, over real connections; its files replaced while it runs; and clients
// that say with a certificate who they are.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { QueratorClient } from "@querator/client";
import type { ServerOptions } from "../../src/config/config.ts";
import { SecureDoor } from "../../src/http/secure.ts";
import { type RunningServer, startServer } from "../../src/server/server.ts";
import { Authority, contents, NO_OPENSSL, type Pair } from "../support/certificates.ts";
import { ADMIN_KEY, SILENT } from "../support/server.ts";

const options = { skip: NO_OPENSSL };

interface Line {
  readonly level: string;
  readonly fields: Record<string, unknown>;
  readonly text: string;
}

interface Secured {
  readonly server: RunningServer;
  readonly authority: Authority;
  readonly pair: Pair;
  readonly lines: Line[];
}

async function secured(t: TestContext, given: ServerOptions = {}): Promise<Secured> {
  const authority = new Authority(t);
  const pair = authority.sign("server");
  const lines: Line[] = [];
  const at = (level: string) => (fields: unknown, text?: unknown) =>
    void lines.push({ level, fields: fields as Record<string, unknown>, text: String(text) });
  const logger = { debug() {}, info: at("info"), warn: at("warn"), error: at("error") };
  const server = await startServer(
    {
      address: "127.0.0.1:0",
      memory: true,
      tlsCert: pair.cert,
      tlsKey: pair.key,
      ...(given.tlsClientCa === "" ? { ...given, tlsClientCa: authority.ca } : given),
    },
    { logger: logger as unknown as typeof SILENT },
  );
  t.after(() => server.stop());
  return { server, authority, pair, lines };
}

async function open(t: TestContext, port: number, given: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({ port, host: "127.0.0.1", ...given });
  t.after(() => socket.destroy());
  await once(socket, "secureConnect");
  return socket;
}

async function ask(
  socket: TLSSocket,
  body = "{}",
  path = "/v2/queues.list",
  headers = "",
): Promise<string> {
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${headers}` +
      `Content-Length: ${body.length}\r\n\r\n${body}`,
  );
  const [data] = (await once(socket, "data")) as [Buffer];
  return data.toString();
}

// Sends a request on a connection that the server is to close; answers what came of it.
async function lost(socket: Socket): Promise<string> {
  let received = "";
  socket.on("error", () => undefined).on("data", (data) => (received += String(data)));
  socket.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await new Promise((resolve) => socket.once("close", resolve));
  return received;
}

const serial = (socket: TLSSocket): string => socket.getPeerCertificate().serialNumber;

for (const threads of [1, 2]) {
  test(`all that a client can do works over TLS, on ${threads} thread(s)`, options, async (t) => {
    const { server, authority } = await secured(t, { threads });
    assert.match(server.address, /^https:\/\/127\.0\.0\.1:\d+$/);
    const ca = readFileSync(authority.ca);
    // Clients of their own: so that each thread is met.
    for (let i = 0; i < 8; i++) {
      const client = new QueratorClient({ url: server.address, tls: { ca } });
      const name = `q${i}`;
      await client.queues.create({ queueName: name });
      const large = "x".repeat(1_000_000);
      await client.produce(name, [{ payload: "small" }, { payload: large }]);
      const items = await client.lease(name, { batchSize: 10 });
      assert.deepEqual(items.map(({ text }) => text).sort(), ["small", large]);
      await client.complete(
        name,
        items.map(({ leaseId }) => leaseId),
      );
      const waiting = client.lease(name);
      await client.produce(name, { payload: "later" });
      assert.equal((await waiting)[0]!.text, "later");
      await client.close();
    }
  });
}

test("what node:http has to read is read over TLS as well", options, async (t) => {
  const { server, authority } = await secured(t);
  const get = request(`${server.address}/openapi.json`, { ca: readFileSync(authority.ca) }).end();
  const [reply] = (await once(get, "response")) as [IncomingMessage];
  let text = "";
  for await (const part of reply) text += String(part);
  assert.equal(JSON.parse(text).openapi, "3.1.0");
  // Two requests at once make node:http of a connection on which plain ones came before.
  const socket = await open(t, server.port, { ca: readFileSync(authority.ca) });
  assert.match(await ask(socket), /^HTTP\/1\.1 200 /);
  const head = "POST /v2/queues.list HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
  socket.write(head + head);
  let both = "";
  while (both.split("HTTP/1.1 200").length < 3) both += String((await once(socket, "data"))[0]);
});

test("who speaks no TLS, an old one, or HTTP/2 alone is sent away", options, async (t) => {
  const { server, authority } = await secured(t, { tlsMinVersion: "1.3" });
  const ca = readFileSync(authority.ca);
  const plain = connectTcp(server.port, "127.0.0.1");
  assert.match(
    await lost(plain),
    /^HTTP\/1\.1 400 [\s\S]*\r\n\r\n\{.*TLS is spoken here; use https/,
  );
  const mistaken = new QueratorClient({ url: server.address.replace("https", "http") });
  t.after(() => mistaken.close());
  await assert.rejects(mistaken.queues.info("any"), {
    message: /TLS is spoken here; use https:\/\/ in place of http:\/\//,
    retryable: false,
    uncertain: false,
  });
  await assert.rejects(open(t, server.port, { ca, maxVersion: "TLSv1.2" }), /protocol version/);
  await assert.rejects(
    open(t, server.port, { ca, ALPNProtocols: ["h2"] }),
    /no application protocol/,
  );
  const both = await open(t, server.port, { ca, ALPNProtocols: ["h2", "http/1.1"] });
  assert.deepEqual([both.alpnProtocol, both.getProtocol()], ["http/1.1", "TLSv1.3"]);
});

for (const threads of [1, 2]) {
  test(
    `a new certificate is shown to new connections, and no other is closed, on ${threads} thread(s)`,
    options,
    async (t) => {
      const { server, authority, pair, lines } = await secured(t, { threads });
      const ca = readFileSync(authority.ca);
      const before = await Promise.all(
        Array.from({ length: 8 }, () => open(t, server.port, { ca })),
      );
      const next = authority.sign("next");
      copyFileSync(next.cert, pair.cert);
      copyFileSync(next.key, pair.key);
      await server.reload!();
      assert.equal(lines.at(-1)!.text, "the files of TLS were read anew");
      for (const socket of before) assert.match(await ask(socket), /^HTTP\/1\.1 200 /);
      for (let i = 0; i < 16; i++) {
        const after = await open(t, server.port, { ca });
        assert.notEqual(serial(after), serial(before[0]!));
        assert.match(await ask(after), /^HTTP\/1\.1 200 /);
      }
    },
  );
}

test(
  "files that cannot be used are told of, and the old certificate goes on",
  options,
  async (t) => {
    const { server, authority, pair, lines } = await secured(t);
    const ca = readFileSync(authority.ca);
    const first = serial(await open(t, server.port, { ca }));
    const good = contents(pair);
    const other = contents(authority.sign("other"));
    for (const [cert, key, reason] of [
      [other.cert, good.key, /^tls-key: '.*server\.key' is not the key of '.*server\.crt'$/],
      [
        Buffer.from("nothing"),
        good.key,
        /^tls-cert: '.*server\.crt' holds no certificate in PEM form$/,
      ],
      [good.cert, Buffer.from(""), /^tls-key: '.*server\.key' holds no key in PEM form/],
    ] as const) {
      writeFileSync(pair.cert, cert);
      writeFileSync(pair.key, key);
      await server.reload!();
      const { level, fields, text } = lines.at(-1)!;
      assert.deepEqual(
        [level, text],
        ["error", "the files of TLS cannot be used; what was read before goes on"],
      );
      assert.match(String(fields.reason), reason);
      assert.equal(serial(await open(t, server.port, { ca })), first);
    }
    writeFileSync(pair.cert, other.cert);
    writeFileSync(pair.key, other.key);
    await server.reload!();
    assert.notEqual(serial(await open(t, server.port, { ca })), first);
  },
);

test(
  "a start with files that cannot be used says in a line which one, and why",
  options,
  async (t) => {
    const authority = new Authority(t);
    const { cert, key } = authority.sign("server");
    const { key: otherKey } = authority.sign("other");
    const none = join(authority.dir, "none");
    for (const [given, text] of [
      [{ tlsCert: none, tlsKey: key }, /^tls-cert: cannot read the file: ENOENT.*none'$/],
      [{ tlsCert: cert, tlsKey: otherKey }, /^tls-key: '.*' is not the key of '.*'$/],
      [{ tlsCert: key, tlsKey: key }, /^tls-cert: '.*' holds no certificate in PEM form$/],
      [
        { tlsCert: cert, tlsKey: key, tlsClientCa: key },
        /^tls-client-ca: '.*' holds no certificates/,
      ],
      [{ tlsCert: cert }, /^tls-cert needs tls-key/],
      [{ tlsKey: key }, /^tls-key needs tls-cert/],
      [{ tlsClientCa: cert }, /^tls-client-ca is of no use without tls-cert and tls-key$/],
      [{ tlsCert: cert, tlsKey: key, tlsClientAuth: "optional" }, /^tls-client-auth is of no use/],
    ] as const) {
      const start = startServer(
        { address: "127.0.0.1:0", memory: true, ...given },
        { logger: SILENT },
      );
      await assert.rejects(start, (error: Error) => {
        assert.match(error.message, text);
        assert.ok(!error.message.includes("\n"));
        return true;
      });
    }
  },
);

// --- who shows a certificate ---

interface Closed extends Secured {
  readonly admin: QueratorClient;
  readonly tls: { readonly ca: Buffer; readonly cert: Buffer; readonly key: Buffer };
}

// A server with authentication on which `worker` is the external id of a user that may do everything with queues.
async function closed(t: TestContext, clientAuth: "required" | "optional"): Promise<Closed> {
  const given = {
    auth: "keys",
    bootstrapKey: ADMIN_KEY,
    tlsClientCa: "",
    tlsClientAuth: clientAuth,
  } as const;
  const all = await secured(t, given);
  const ca = readFileSync(all.authority.ca);
  const tls = { ca, ...contents(all.authority.sign("worker")) };
  const admin = new QueratorClient({ url: all.server.address, key: ADMIN_KEY, tls });
  t.after(() => admin.close());
  return { ...all, admin, tls };
}

const body = (reply: string): string => reply.slice(0, reply.indexOf("\r\n"));

async function makeUser(admin: QueratorClient, externalId: string): Promise<string> {
  const user = (await admin.call("v2/users.create", {
    username: `user-of-${externalId}-${Math.floor(performance.now() * 1_000)}`,
    external_id: externalId,
  })) as { id: string };
  await admin.call("v2/bindings.create", {
    user_id: user.id,
    role_name: "Admin",
    namespace: "_system",
  });
  return user.id;
}

for (const threads of [1, 2]) {
  test(
    `a key is shown over TLS, and what waits in its name ends with it, on ${threads} thread(s)`,
    options,
    async (t) => {
      const given = { auth: "keys", bootstrapKey: ADMIN_KEY, threads } as const;
      const { server, authority } = await secured(t, given);
      const ca = readFileSync(authority.ca);
      const admin = new QueratorClient({ url: server.address, key: ADMIN_KEY, tls: { ca } });
      t.after(() => admin.close());
      const user_id = await makeUser(admin, "worker");
      const { key, info } = (await admin.call("v2/keys.create", { user_id })) as {
        key: string;
        info: { id: string };
      };
      await admin.queues.create({ queueName: "jobs" });
      const asked = async (shown: string): Promise<string> => {
        const socket = await open(t, server.port, { ca });
        return body(await ask(socket, "{}", "/v2/queues.list", shown));
      };
      const shown = `Authorization: Bearer ${key}\r\n`;
      assert.match(await asked(""), / 401 /);
      assert.match(await asked(shown.replace(/.\r/, "~\r")), / 401 /);
      assert.match(await asked(shown), / 200 /);
      const lease = '{"queue_name":"jobs","request_timeout":"1m"}';
      const waiting: Promise<string>[] = [];
      for (let i = 0; i < 8; i++) {
        // Every other one is read by node:http.
        const more = i % 2 === 0 ? "" : "Connection: keep-alive, x\r\n";
        const socket = await open(t, server.port, { ca });
        waiting.push(ask(socket, lease, "/v2/queue.lease", shown + more));
      }
      const count = async (): Promise<number> => {
        const { logicalQueues } = await admin.stats("jobs");
        return logicalQueues.reduce((sum, { leaseWaiting }) => sum + leaseWaiting, 0);
      };
      let isAnswered = false;
      void Promise.race(waiting).then(() => {
        isAnswered = true;
      });
      while (!isAnswered && (await count()) < waiting.length)
        await new Promise((resolve) => setImmediate(resolve));
      await admin.call("v2/keys.revoke", { id: info.id });
      for (const reply of await Promise.all(waiting)) {
        assert.match(reply, /^HTTP\/1\.1 401 [\s\S]*\r\nConnection: close\r\n/i);
      }
      assert.match(await asked(shown), / 401 /);
      // What is produced now is not for who waited.
      await admin.produce("jobs", { payload: "x" });
      assert.equal((await admin.lease("jobs")).length, 1);
    },
  );
}

test(
  "who shows the certificate of a user may do what its roles allow, until the user is deleted",
  options,
  async (t) => {
    const { server, admin, tls } = await closed(t, "required");
    const socket = await open(t, server.port, tls);
    assert.match(await ask(socket), /^HTTP\/1\.1 401 /);
    const id = await makeUser(admin, "worker");
    assert.match(
      await ask(socket),
      /^HTTP\/1\.1 200 /,
      "also on a connection that was there before",
    );
    // What the user of a certificate changes, it changes as itself.
    const created = await ask(socket, '{"username":"made"}', "/v2/users.create");
    assert.match(created, /^HTTP\/1\.1 200 /);
    const [entry] = await Array.fromAsync(admin.audit.list({ userId: id }));
    assert.deepEqual([entry!.call, entry!.keyId], ["users.create", "certificate"]);
    assert.match(entry!.username, /worker/);
    await admin.queues.create({ queueName: "jobs" });
    const waiting = await open(t, server.port, tls);
    const lease = '{"queue_name":"jobs","batch_size":1,"request_timeout":"1m","client":"a"}';
    const answer = ask(waiting, lease, "/v2/queue.lease");
    const isWaiting = async (): Promise<boolean> => {
      return (await admin.stats("jobs")).logicalQueues.some((each) => each.leaseWaiting > 0);
    };
    let isAnswered = false;
    void answer.then(() => {
      isAnswered = true;
    });
    while (!isAnswered && !(await isWaiting()))
      await new Promise((resolve) => setImmediate(resolve));
    await admin.call("v2/users.delete", { id });
    assert.match(await answer, /^HTTP\/1\.1 401 /, "what waits ends with the user");
    assert.match(await ask(socket), /^HTTP\/1\.1 401 /);
  },
);

test(
  "a key counts before a certificate, and two users of one external id are nobody",
  options,
  async (t) => {
    const { server, admin, tls } = await closed(t, "required");
    await makeUser(admin, "worker");
    const wrong = new QueratorClient({
      url: server.address,
      tls,
      key: `qtr-live-${"b".repeat(43)}`,
    });
    await assert.rejects(wrong.call("v2/queues.list", {}), /api key does not exist/);
    await wrong.close();
    const socket = await open(t, server.port, tls);
    assert.match(await ask(socket), /^HTTP\/1\.1 200 /);
    await makeUser(admin, "worker");
    assert.match(await ask(socket), /^HTTP\/1\.1 401 /);
  },
);

test("a subject with several common names, or none, is nobody's", options, async (t) => {
  const { server, authority, admin, tls } = await closed(t, "required");
  await makeUser(admin, "worker");
  await makeUser(admin, "O=jobs");
  for (const [name, subject] of [
    ["two", "/CN=worker/CN=other"],
    ["none", "/O=jobs"],
    ["other", "/CN=Worker"],
  ] as const) {
    const socket = await open(t, server.port, {
      ...tls,
      ...contents(authority.sign(name, subject)),
    });
    assert.match(body(await ask(socket)), / 401 /, subject);
  }
});

test(
  "where certificates are required none but those of the authority are let in",
  options,
  async (t) => {
    const { server, tls } = await closed(t, "required");
    const stranger = contents(new Authority(t).sign("worker"));
    for (const given of [{ ca: tls.ca }, { ...tls, ...stranger }]) {
      for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
        const socket = connect({ port: server.port, host: "127.0.0.1", ...given, maxVersion });
        assert.equal(await lost(socket), "");
      }
    }
    const bare = new QueratorClient({ url: server.address, key: ADMIN_KEY, tls: { ca: tls.ca } });
    await assert.rejects(
      bare.queues.info("q"),
      /the server asks for a certificate of its clients; give one/,
    );
    await bare.close();
  },
);

test(
  "where certificates are optional a key is enough, but a wrong certificate is refused",
  options,
  async (t) => {
    const { server, admin, tls } = await closed(t, "optional");
    await makeUser(admin, "worker");
    const bare = new QueratorClient({ url: server.address, key: ADMIN_KEY, tls: { ca: tls.ca } });
    await bare.call("v2/queues.list", {});
    await bare.close();
    assert.match(await ask(await open(t, server.port, { ca: tls.ca })), /^HTTP\/1\.1 401 /);
    assert.match(await ask(await open(t, server.port, tls)), /^HTTP\/1\.1 200 /);
    const stranger = contents(new Authority(t).sign("worker"));
    const socket = connect({ port: server.port, host: "127.0.0.1", ...tls, ...stranger });
    assert.equal(await lost(socket), "");
  },
);

test("a session ends with the authority that its client was let in by", options, async (t) => {
  const { server, authority, admin, tls } = await closed(t, "required");
  await makeUser(admin, "worker");
  const first = connect({ port: server.port, host: "127.0.0.1", ...tls });
  t.after(() => first.destroy());
  const [session] = (await once(first, "session")) as [Buffer];
  assert.match(await ask(first), /^HTTP\/1\.1 200 /);
  const again = await open(t, server.port, { ...tls, session });
  assert.ok(again.isSessionReused());
  assert.match(await ask(again), /^HTTP\/1\.1 200 /, "whose certificate is known from the session");
  // The authority is another one from now on; that of the server is trusted as before.
  copyFileSync(new Authority(t).ca, authority.ca);
  await server.reload!();
  const late = connect({ port: server.port, host: "127.0.0.1", ...tls, session });
  assert.equal(await lost(late), "");
});

test("a page of the server itself is one that came over TLS", options, async (t) => {
  const { server, authority } = await secured(t);
  const socket = await open(t, server.port, { ca: readFileSync(authority.ca) });
  const from = async (origin: string): Promise<string> => {
    const head = `GET /health HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nOrigin: ${origin}\r\n\r\n`;
    socket.write(head);
    return body(String((await once(socket, "data"))[0]));
  };
  assert.match(await from(`https://127.0.0.1:${server.port}`), / 200 /);
  assert.match(await from(`http://127.0.0.1:${server.port}`), / 403 /);
});

test(
  "SIGHUP has the command read its files anew, and its other commands reach it",
  options,
  async (t) => {
    const authority = new Authority(t);
    const { cert, key } = authority.sign("server");
    const command = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));
    const files = ["--tls-cert", cert, "--tls-key", key, "--log-format", "json"];
    const child = spawn(process.execPath, [
      command,
      "server",
      "--memory",
      "--address",
      "127.0.0.1:0",
      ...files,
    ]);
    t.after(() => child.kill("SIGKILL"));
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const line = async (text: string): Promise<string> => {
      for (;;) {
        const { value, done } = await lines.next();
        if (done) throw new Error(`the server ended before it said: ${text}`);
        if (value.includes(text)) return value;
      }
    };
    const { address } = JSON.parse(await line("querator is ready")) as { address: string };
    const next = authority.sign("next");
    copyFileSync(next.cert, cert);
    copyFileSync(next.key, key);
    child.kill("SIGHUP");
    await line("the files of TLS were read anew");
    const list = ["list", "--endpoint", address, "--ca-file", authority.ca, "-o", "json"];
    const { stdout } = await promisify(execFile)(process.execPath, [command, ...list]);
    assert.equal((JSON.parse(stdout) as { count: number }).count, 0);
    child.kill("SIGTERM");
    await line("querator has stopped");
  },
);

test("a server stops although somebody has not shaken hands", options, async (t) => {
  const { server } = await secured(t);
  const silent = connectTcp(server.port, "127.0.0.1");
  t.after(() => silent.destroy());
  silent.on("error", () => undefined);
  await once(silent, "connect");
  const ended = once(silent.resume(), "close");
  await server.stop();
  await ended;
});

test("who does not shake hands is cut off", options, async (t) => {
  const { cert, key } = contents(new Authority(t).sign("server"));
  const rest = { minVersion: "1.2", clientCa: undefined, clientAuth: "required" } as const;
  const material = { ...rest, cert, key, ticketKeys: Buffer.alloc(48) };
  const door = new SecureDoor(material, () => assert.fail("taken in"), {
    log: SILENT,
    handshakeMs: 20,
  });
  const listener = createServer((socket) => door.accept(socket)).listen(0, "127.0.0.1");
  await once(listener, "listening");
  t.after(() => {
    door.destroy();
    listener.close();
  });
  const { port } = listener.address() as AddressInfo;
  // Nothing, and the beginning of a hello.
  for (const sent of [[], [22, 3, 1]]) {
    const socket = connectTcp(port, "127.0.0.1");
    t.after(() => socket.destroy());
    socket.write(Buffer.from(sent));
    await once(socket.resume(), "close", { signal: AbortSignal.timeout(10_000) });
  }
});

test("the log says why a certificate was not let in, and of many once", options, async (t) => {
  for (const clientAuth of ["required", "optional"] as const) {
    const { server, tls, lines } = await closed(t, clientAuth);
    const stranger = contents(new Authority(t).sign("worker"));
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      const given = { ...tls, ...stranger, maxVersion };
      assert.equal(await lost(connect({ port: server.port, host: "127.0.0.1", ...given })), "");
    }
    await server.stop(); // all that was refused has been told
    const told = lines.filter(({ text }) => text.startsWith("a client has shown a certificate"));
    assert.deepEqual(
      told.map(({ level, fields }) => [level, fields]),
      [["warn", { from: "127.0.0.1", reason: "UNABLE_TO_VERIFY_LEAF_SIGNATURE", certificates: 1 }]],
    );
  }
});

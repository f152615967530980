// The configurations in docs/PROXIES.md and docs/SECURITY.md, as they stand there: each is run on this machine with
// nothing but its ports, names and files changed, and a client works through it. Skipped where nginx or Caddy
// is not installed.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { get as getSecurely } from "node:https";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { QueratorClient } from "@querator/client";
import type { ServerOptions } from "../src/config/config.ts";
import { isThere } from "./support/commands.ts";
import { Relay } from "./support/relay.ts";
import {
  ADMIN_KEY,
  setup,
  setupClosed,
  type TestServer,
  temporaryDirectory,
} from "./support/server.ts";

const page = readFileSync(new URL("../docs/PROXIES.md", import.meta.url), "utf8");
const guide = readFileSync(new URL("../docs/SECURITY.md", import.meta.url), "utf8");

/** The blocks of one kind on a page, in order. */
function blocks(kind: "nginx" | "caddyfile", on = page): string[] {
  return [...on.matchAll(new RegExp(`\`\`\`${kind}\\n(.*?)\`\`\``, "gs"))].map(([, text]) => text!);
}

const [nginxNamed, nginxUnderPath, nginxPasswords] = blocks("nginx") as [string, string, string];
const [caddyNamed, caddyUnderPath, caddyPasswords] = blocks("caddyfile") as [
  string,
  string,
  string,
];
const [nginxSocket] = blocks("nginx", guide) as [string];
const [caddySocket] = blocks("caddyfile", guide) as [string];
const SOCKET = "/run/querator/querator.sock";

// Changes a text that must be there.
function change(text: string, from: string, to: string): string {
  assert.ok(text.includes(from), `${from} is not in the configuration`);
  return text.replaceAll(from, to);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

interface World {
  readonly server: TestServer;
  readonly relay: Relay;
  /** Where the proxy finds the server. */
  readonly upstream: string;
  /** Where the proxy is to listen. */
  readonly port: number;
  readonly dir: string;
}

async function prepare(t: TestContext): Promise<World> {
  // Known by its name as the page says.
  const known = { allowedHosts: ["queues.example.com"] } as ServerOptions;
  const server = await setup(t, { ...known });
  await server.createQueue("jobs");
  const relay = await Relay.start(Number(new URL(server.server.address).port));
  t.after(() => relay.close());
  const dir = temporaryDirectory(t);
  return { server, relay, upstream: `127.0.0.1:${relay.port}`, port: await freePort(), dir };
}

/** Runs a proxy until the test ends; resolves when it listens. */
async function run(t: TestContext, { port, dir }: Place, command: string, ...args: string[]) {
  const env = { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir };
  const child = spawn(command, args, { cwd: dir, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const ended = once(child, "close");
  let isRunning = true;
  ended.then(() => {
    isRunning = false;
  });
  t.after(async () => {
    child.kill("SIGTERM");
    await ended;
  });
  for (;;) {
    assert.ok(isRunning, `${command} ended: ${output}`);
    const socket = connect(port, "127.0.0.1");
    const isThereYet = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "close").then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (isThereYet) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Where a proxy runs and listens. */
type Place = Pick<World, "dir" | "port">;

async function runNginx(t: TestContext, world: Place, block: string): Promise<void> {
  const { dir } = world;
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${dir}/${name};`,
  );
  // Nobody waits here until nginx would have given up by itself.
  assert.match(block, /proxy_read_timeout 16m;/);
  // Who starts it as root has its workers run as nobody, who cannot read here.
  const user = process.getuid?.() === 0 ? "user root;" : "";
  const text = `${user} worker_processes 1; daemon off; pid ${dir}/pid; error_log stderr;
events {} http { access_log off; ${temporary.join(" ")}\n${block}\n}`;
  writeFileSync(join(dir, "nginx.conf"), text);
  await run(t, world, "nginx", "-p", dir, "-c", join(dir, "nginx.conf"), "-e", "stderr");
}

async function runCaddy(t: TestContext, world: Place, block: string): Promise<void> {
  const { dir } = world;
  const text = `{\n  admin off\n}\n${block}`;
  writeFileSync(join(dir, "Caddyfile"), text);
  await run(t, world, "caddy", "run", "--config", join(dir, "Caddyfile"), "--adapter", "caddyfile");
}

/** What everybody needs of a queue, through the proxy at `url`. */
async function workThrough({ server, relay }: World, url: string, headers = {}): Promise<void> {
  await using client = new QueratorClient({ url, headers });
  const waiting = async (): Promise<number> => (await server.stats("jobs")).lease_waiting ?? 0;
  const lease = (signal?: AbortSignal) =>
    client.call<{ items: { lease_id: string; utf8: string }[] }>(
      "queue.lease",
      { queue_name: "jobs", client: "c", batch_size: 1, request_timeout: "14m59s" },
      { timeout: "15m", ...(signal && { signal }) },
    );

  // Larger than what proxies take by themselves, and than what they hold in memory.
  const large = "x".repeat(4_000_000);
  await client.produce("jobs", { payload: large });
  const first = await lease();
  assert.equal(first.items[0]!.utf8, large);
  await client.items.import("jobs", [{ payload: "y".repeat(9_000_000) }]);
  await client.clear("jobs", { queue: true });
  await client.complete("jobs", [first.items[0]!.lease_id]);

  // A lease waits, and is answered at once when there is something.
  const pending = lease();
  await server.until(async () => (await waiting()) === 1);
  await client.produce("jobs", { payload: "late" });
  const { items } = await pending;
  await client.complete("jobs", [items[0]!.lease_id]);
  assert.equal((await client.stats("jobs")).total, 0);

  // A client that goes loses its place.
  const abort = new AbortController();
  const aborted = lease(abort.signal);
  await server.until(async () => (await waiting()) === 1);
  abort.abort();
  await assert.rejects(aborted);
  await server.until(async () => (await waiting()) === 0);

  // Connections to the server are kept.
  const before = relay.joined;
  for (let i = 0; i < 50; i++) await client.stats("jobs");
  assert.ok(relay.joined - before <= 2, `${relay.joined - before} connections for 50 calls`);
}

/** What the pages say of the address, and that it is right. */
async function checkPages(url: string, headers: Record<string, string> = {}): Promise<void> {
  const read = (path: string): Promise<string> => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const send = url.startsWith("https") ? getSecurely : get;
    send(`${url}${path}`, { headers }, (response) => {
      assert.equal(response.statusCode, 200);
      response
        .setEncoding("utf8")
        .toArray()
        .then((parts) => resolve(parts.join("")), reject);
    }).on("error", reject);
    return promise;
  };
  const name = headers.Host ?? new URL(url).host;
  const shown = new URL(url);
  assert.match(
    await read("/docs"),
    new RegExp(`<pre>curl ${shown.protocol}//${name}${shown.pathname.replace(/\/$/, "")}/v1/`),
  );
  const { servers } = JSON.parse(await read("/openapi.json"));
  assert.equal(new URL(servers[0].url, `${url}/openapi.json`).href, `${url}/`);
}

const noNginx = isThere("command -v nginx") ? false : "nginx is not installed";
const noCaddy = isThere("command -v caddy") ? false : "Caddy is not installed";
const noOpenssl = isThere("command -v openssl") ? false : "there is no openssl here";

/** A certificate in a directory, trusted until the test ends. */
function makeTrusted(t: TestContext, dir: string): { readonly pem: string; readonly key: string } {
  const files = { pem: join(dir, "cert.pem"), key: join(dir, "key.pem") };
  const names = "subjectAltName=DNS:queues.example.com,IP:127.0.0.1";
  const how = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"];
  const args = [...how, "-addext", names, "-keyout", files.key, "-out", files.pem];
  execFileSync("openssl", args, { stdio: "pipe" });
  const before = getCACertificates();
  setDefaultCACertificates([...before, readFileSync(files.pem, "utf8")]);
  t.after(() => setDefaultCACertificates(before));
  return files;
}

test("nginx, with a name of its own", { skip: noNginx || noOpenssl }, async (t) => {
  const world = await prepare(t);
  const { dir, port } = world;
  const files = makeTrusted(t, dir);
  let block = change(nginxNamed, "listen 443 ssl;", `listen 127.0.0.1:${port} ssl;`);
  block = change(block, "/etc/ssl/certs/queues.example.com.pem", files.pem);
  block = change(block, "/etc/ssl/private/queues.example.com.key", files.key);
  await runNginx(t, world, change(block, "127.0.0.1:2319", world.upstream));
  await workThrough(world, `https://127.0.0.1:${port}`);
  await checkPages(`https://127.0.0.1:${port}`, { Host: "queues.example.com" });
});

test("nginx, under a path, with and without passwords", { skip: noNginx }, async (t) => {
  for (const isOpen of [true, false]) {
    const world = await prepare(t);
    const { dir, port } = world;
    let block = change(nginxUnderPath, "listen 80;", `listen 127.0.0.1:${port};`);
    if (!isOpen) {
      writeFileSync(join(dir, "htpasswd"), "worker:{PLAIN}secret\n");
      const passwords = change(nginxPasswords, "/etc/nginx/queues.htpasswd", join(dir, "htpasswd"));
      block = change(block, "client_max_body_size 64m;", `client_max_body_size 64m;\n${passwords}`);
    }
    await runNginx(t, world, change(block, "127.0.0.1:2319", world.upstream));
    await workWithPasswords(world, `http://127.0.0.1:${port}/queues`, isOpen);
  }
});

/** The same, but for whoever has no password, if one is asked for. */
async function workWithPasswords(world: World, url: string, isOpen: boolean): Promise<void> {
  const password = `Basic ${Buffer.from("worker:secret").toString("base64")}`;
  const headers: Record<string, string> = isOpen ? {} : { Authorization: password };
  const { status } = await fetch(`${url}/health`);
  assert.equal(status, isOpen ? 200 : 401);
  await workThrough(world, url, headers);
  await checkPages(url, headers);
}

test("Caddy, with a name of its own", { skip: noCaddy }, async (t) => {
  const world = await prepare(t);
  // Over HTTP, for nobody gives certificates here.
  const block = change(caddyNamed, "queues.example.com {", `http://:${world.port} {`);
  await runCaddy(t, world, change(block, "127.0.0.1:2319", world.upstream));
  await workThrough(world, `http://127.0.0.1:${world.port}`);
  await checkPages(`http://127.0.0.1:${world.port}`, { Host: "queues.example.com" });
});

test("Caddy, under a path, with and without passwords", { skip: noCaddy }, async (t) => {
  for (const isOpen of [true, false]) {
    const world = await prepare(t);
    let block = change(caddyUnderPath, "\nexample.com {", `\nhttp://:${world.port} {`);
    if (!isOpen) {
      const hash = execFileSync("caddy", ["hash-password", "--plaintext", "secret"], {
        encoding: "utf8",
      }).trim();
      const passwords = caddyPasswords.replace(/worker \S+/, () => `worker ${hash}`);
      block = change(block, "handle_path", `${passwords}\n  handle_path`);
    }
    await runCaddy(t, world, change(block, "127.0.0.1:2319", world.upstream));
    await workWithPasswords(world, `http://127.0.0.1:${world.port}/queues`, isOpen);
  }
});

/** A server that asks for keys, with a tenant who has one for a namespace, and where a proxy is to be. */
async function prepareClosed(t: TestContext) {
  const dir = temporaryDirectory(t);
  const server = await setupClosed(t, { address: `unix:${join(dir, "socket")}` });
  const url = server.server.address;
  await using admin = new QueratorClient({ url, key: ADMIN_KEY });
  await admin.call("namespaces.create", { name: "acme" });
  const { id: user_id } = await admin.call<{ id: string }>("users.create", { username: "acme" });
  const binding = { namespace: "acme", role_name: "NamespaceOwner", user_id };
  await admin.call("bindings.create", binding);
  const made = { user_id, namespace: "acme" };
  const { key } = await admin.call<{ key: string }>("keys.create", made);
  await admin.call("queues.create", { queue_name: "of-system" });
  return { dir, port: await freePort(), socket: join(dir, "socket"), key };
}

/** Keys, namespaces, waiting leases and pages of other sites, through a proxy. */
async function workWithKeys(url: string, key: string): Promise<void> {
  const body = { queue_name: "jobs" };
  const ask = async (path: string, headers: Record<string, string>) => {
    const json = { "Content-Type": "application/json", ...headers };
    const init = { method: "POST", headers: json, body: JSON.stringify(body) };
    return (await fetch(`${url}/v2/${path}`, init)).status;
  };
  const shown = { Authorization: `Bearer ${key}` };
  assert.equal(await ask("queues.create", {}), 401);
  assert.equal(await ask("queues.create", shown), 200);
  const both = async (namespace: string) =>
    ask("queues.info", {
      Authorization: `Bearer ${ADMIN_KEY}`,
      "X-Querator-Namespace": namespace,
    });
  assert.deepEqual([await both("acme"), await both("_system")], [200, 404]);
  assert.equal(await ask("queues.info", { ...shown, Origin: url }), 200);
  assert.equal(await ask("queues.info", { ...shown, Origin: "https://other.example" }), 403);
  assert.equal(await ask("queues.info", { ...shown, "Sec-Fetch-Site": "cross-site" }), 403);
  const health = await fetch(`${url}/health`);
  assert.deepEqual(await health.json(), { status: "pass" });
  await using client = new QueratorClient({ url, key });
  const request = { ...body, request_timeout: "14m59s" };
  const options = { timeout: "15m" };
  const waiting = client.call<{ items: { utf8: string }[] }>("queue.lease", request, options);
  while ((await client.stats("jobs")).logicalQueues[0]!.leaseWaiting === 0);
  await client.produce("jobs", { payload: "late" });
  assert.equal((await waiting).items[0]!.utf8, "late");
}

test("nginx, before a Unix socket, with keys", { skip: noNginx || noOpenssl }, async (t) => {
  const place = await prepareClosed(t);
  const files = makeTrusted(t, place.dir);
  let block = change(nginxSocket, "listen 443 ssl;", `listen 127.0.0.1:${place.port} ssl;`);
  block = change(block, "/etc/ssl/certs/queues.example.com.pem", files.pem);
  block = change(block, "/etc/ssl/private/queues.example.com.key", files.key);
  // The page has it listen on 443, whose number no Host has.
  block = change(block, "proxy_set_header Host $host;", "proxy_set_header Host $http_host;");
  await runNginx(t, place, change(block, SOCKET, place.socket));
  await workWithKeys(`https://127.0.0.1:${place.port}`, place.key);
});

test("Caddy, before a Unix socket, with keys", { skip: noCaddy }, async (t) => {
  const place = await prepareClosed(t);
  const block = change(caddySocket, "queues.example.com {", `http://:${place.port} {`);
  await runCaddy(t, place, change(block, SOCKET, place.socket));
  await workWithKeys(`http://127.0.0.1:${place.port}`, place.key);
});

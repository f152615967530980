// What `doctor` says of data directories, beside a server that runs or without one.

import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Authority, NO_OPENSSL } from "../support/certificates.ts";
import { ADMIN_KEY, setup as setupServer, temporaryDirectory } from "../support/server.ts";
import { type Cli, setup } from "./setup.ts";

/** A directory that a server with two threads has used, and that lies still. */
async function used(t: TestContext): Promise<{ readonly cli: Cli; readonly dir: string }> {
  const dir = temporaryDirectory(t);
  const cli = await setup(t, { dataDir: dir, threads: 2 });
  await cli.server.createQueue("two", { requested_partitions: 2 });
  await cli.server.server.stop();
  return { cli, dir };
}

test("doctor looks at the files of all threads, as many as there were", async (t) => {
  const { cli, dir } = await used(t);
  const well = await cli.ok(["doctor", "--data-dir", dir]);
  assert.match(well, /^sqlite-0: .*\n {2}ok +file: whole/);
  assert.match(well, /^sqlite-1: .*\n {2}ok +file: whole/m);
  const file = join(dir, "querator-1.db");
  writeFileSync(file, "nothing that SQLite has written");
  const damaged = await cli.run(["doctor", "--data-dir", dir]);
  assert.equal(damaged.code, 1);
  assert.match(
    damaged.stdout,
    /^sqlite-1: .*\n {2}failed +file: cannot be read \(file is not a data/m,
  );
});

test("doctor tells that a file is gone in which queues have partitions", async (t) => {
  const { cli, dir } = await used(t);
  for (const name of ["querator-1.db", "querator-1.lock"]) rmSync(join(dir, name));
  const { code, stdout } = await cli.run(["doctor", "--data-dir", dir]);
  assert.equal(code, 1);
  assert.match(
    stdout,
    /\n {2}failed +file: '.*querator-1\.db' is not there, but queues have partitions in it: mount /,
  );
});

test("doctor tells a file that is gone from one that never was", async (t) => {
  const { cli, dir } = await used(t);
  rmSync(join(dir, "querator.db"));
  const { code, stdout } = await cli.run(["doctor", "--data-dir", dir]);
  assert.equal(code, 1);
  assert.match(
    stdout,
    /failed +file: '.*querator\.db' is not there, but there was data in it: rest/,
  );
  const never = await cli.run(["doctor", "--data-dir", join(dir, "never")]);
  assert.equal(never.code, 1);
  assert.match(never.stdout, /warning +file: '.*querator\.db' is not there: no server has used it/);
});

test("doctor names what is open", async (t) => {
  const dir = temporaryDirectory(t);
  const cli = await setup(t);
  const closed = await setupServer(t, { dataDir: dir, auth: "keys" });
  const key = readFileSync(join(dir, "admin-key"), "utf8").trim();
  const server = closed.as(key);
  const doctor = async (...options: string[]) => {
    const { code, stdout, stderr } = await cli.run(["doctor", "--data-dir", dir, ...options]);
    assert.ok(!(stdout + stderr).includes(key.slice(-20)));
    return { code, access: stdout.slice(stdout.indexOf("\naccess\n")) };
  };
  const started = ["--auth", "keys", "--address", ":2319"];
  const fresh = await doctor(...started);
  assert.equal(fresh.code, 1);
  assert.match(fresh.access, /ok +auth: callers show a key, on all interfaces, port 2319\n/);
  assert.match(fresh.access, /ok +anonymous: who shows no key may do nothing\n/);
  assert.match(fresh.access, /ok +keys: 1, of which 1 never end by themselves: 'first'/);
  assert.match(fresh.access, /warning +first key: '.*admin-key' still holds the first key/);
  rmSync(join(dir, "admin-key"));
  assert.equal((await doctor(...started)).code, 0);
  const binding = { namespace: "_system", role_name: "PublicViewer", user_id: "anonymous" };
  await server.ok("/v2/bindings.create", binding);
  const open = await doctor(...started);
  assert.equal(open.code, 1);
  assert.match(
    open.access,
    /warning +anonymous: who shows no key has the role PublicViewer in _system: delete/,
  );
  await server.ok("/v2/bindings.delete", binding);
  const unsaid = await doctor("--address", ":2319");
  assert.match(unsaid.access, /warning +auth: nobody is asked for a key on all interfaces, port/);
  const said = await doctor("--address", "0.0.0.0:1", "--auth", "none");
  assert.match(said.access, /warning +auth: everybody who reaches 0\.0\.0\.0, port 1 may do every/);
  assert.equal((await doctor()).code, 0);
});

test("doctor takes the options of a server with TLS, and looks at its files", {
  skip: NO_OPENSSL,
}, async (t) => {
  const cli = await setup(t);
  const dir = temporaryDirectory(t);
  const server = await setupServer(t, { dataDir: dir, auth: "keys", bootstrapKey: ADMIN_KEY });
  await server.server.stop();
  const authority = new Authority(t);
  const { cert, key } = authority.sign("server");
  const doctor = async (...options: string[]) => {
    const given = ["--data-dir", dir, "--auth", "keys", ...options];
    const { code, stdout } = await cli.run(["doctor", ...given]);
    return [code, /^ +(.*) tls: (.*)$/m.exec(stdout)?.slice(1, 3).join(" ")] as const;
  };
  const tls = ["--tls-cert", cert, "--tls-key", key];
  const [well, said] = await doctor("--address", ":2319", ...tls);
  assert.equal(well, 0);
  assert.match(said!, /^ok +the certificate ends at \d{4}-\d\d-\d\d$/);
  const [, mutual] = await doctor(...tls, "--tls-client-ca", authority.ca);
  assert.match(mutual!, /, and clients show one as well$/);
  // Whatever else the server was told of where it listens.
  const more = [
    "--tls-client-auth",
    "optional",
    "--tls-min-version",
    "1.3",
    "--admin-address",
    ":0",
  ];
  const all = [...tls, "--tls-client-ca", authority.ca, ...more];
  assert.equal(
    (await doctor("--address", "unix:/run/q.sock", "--socket-mode", "600", ...all))[0],
    0,
  );
  assert.match((await doctor("--address", ":2319"))[1]!, /none, so keys can be read on their way/);
  assert.match((await doctor())[1]!, /none, and keys do not leave this machine/);
  const old = authority.sign("old", "/CN=old", "5");
  const [ending, soon] = await doctor("--tls-cert", old.cert, "--tls-key", old.key);
  assert.equal(ending, 1);
  assert.match(soon!, /^warning +the certificate ends at .*: renew it$/);
  writeFileSync(cert, "no certificate");
  const [code, text] = await doctor(...tls);
  assert.equal(code, 1);
  assert.match(text!, /^failed +tls-cert: .* holds no certificate/);
});

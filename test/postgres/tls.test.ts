// Encrypted connections: every ssl-mode against a server with a certificate of an authority of its
// own, and against one without; client certificates.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chownSync, cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { loadConfig } from "../../src/config/config.ts";
import { openPostgresStorage } from "../../src/storage/postgres/postgres.ts";
import { targetOf } from "../../src/storage/postgres/target.ts";
import { type Postgres, queryOnce, startPostgres } from "../support/postgres.ts";
import { makeScratch } from "../support/scratch.ts";

const hasOpenssl = ((): boolean => {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

/** An authority, a server certificate for `localhost` alone, and a client certificate for `plain`. */
function makeCertificates(): string {
  const dir = makeScratch(tmpdir());
  const openssl = (...args: string[]): void =>
    void execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  for (const name of ["ca", "other-ca"]) {
    const files = ["-keyout", `${name}.key`, "-out", `${name}.crt`];
    openssl("req", "-x509", ...key, ...files, "-subj", `/CN=${name}`, "-days", "2");
  }
  for (const [name, subject, more] of [
    ["server", "localhost", "subjectAltName=DNS:localhost"],
    ["client", "plain", "extendedKeyUsage=clientAuth"],
  ] as const) {
    openssl(
      "req",
      ...key,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.csr`,
      "-subj",
      `/CN=${subject}`,
    );
    writeFileSync(join(dir, `${name}.ext`), more);
    const signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    const files = ["-in", `${name}.csr`, "-out", `${name}.crt`, "-extfile", `${name}.ext`];
    openssl("x509", "-req", ...files, ...signed);
  }
  return dir;
}

/** Copies what the server needs to where it can read it; answers its settings. */
function giveToServer(certificates: string, server: Postgres): void {
  const { uid, gid } = statSync(server.dataDirectory);
  const dir = join(server.dataDirectory, "tls");
  mkdirSync(dir, { mode: 0o700 });
  chownSync(dir, uid, gid);
  for (const name of ["server.crt", "server.key", "ca.crt"]) {
    const path = join(dir, name);
    cpSync(join(certificates, name), path);
    chownSync(path, uid, gid);
  }
}

const SKIP = hasOpenssl ? false : "there is no openssl here";

describe("TLS", { skip: SKIP }, async () => {
  if (!hasOpenssl) return;
  const certificates = makeCertificates();
  const server = await startPostgres();
  after(() => server.stop());
  giveToServer(certificates, server);
  for (const [name, value] of Object.entries({
    ssl: "on",
    ssl_cert_file: "tls/server.crt",
    ssl_key_file: "tls/server.key",
    ssl_ca_file: "tls/ca.crt",
  })) {
    await server.query(`ALTER SYSTEM SET ${name} = '${value}'`);
  }
  const hba = join(server.dataDirectory, "pg_hba.conf");
  writeFileSync(
    hba,
    `hostssl all plain all cert\n${readFileSync(hba, "utf8").replaceAll(/^host\s/gm, "host ")}`,
  );
  await server.query("CREATE ROLE plain LOGIN");
  await server.query("CREATE SCHEMA plain AUTHORIZATION plain");
  await server.restart();

  let schemas = 0;
  /** Opens and closes a storage; answers whether its connections were encrypted. */
  async function encrypts(
    params: Readonly<Record<string, string>>,
    { host = "127.0.0.1", user = "postgres", schema = `s${++schemas}` } = {},
  ): Promise<boolean> {
    const url = new URL(server.url);
    url.hostname = host;
    url.username = user;
    if (user !== "postgres") url.password = "";
    for (const [name, value] of Object.entries(params)) {
      url.searchParams.set(name, name === "sslmode" ? value : join(certificates, value));
    }
    const { postgres } = loadConfig({ postgres: url.href }, {}).queueStorage;
    const target = targetOf(postgres!);
    const storage = await openPostgresStorage({ name: "p", target, schema, connectionsMax: 2 });
    const rows = await queryOnce(
      server.url,
      `SELECT DISTINCT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
        WHERE a.application_name = 'querator'`,
    );
    await storage.close();
    assert.equal(rows.length, 1);
    return rows[0]!.ssl as boolean;
  }

  test("disable does not encrypt; prefer and require do, and check no certificate", async () => {
    assert.equal(await encrypts({ sslmode: "disable" }), false);
    assert.equal(await encrypts({}), true);
    assert.equal(await encrypts({ sslmode: "require" }), true);
  });

  test("verify-ca wants a known authority, and takes any host", async () => {
    assert.equal(await encrypts({ sslmode: "verify-ca", sslrootcert: "ca.crt" }), true);
    await assert.rejects(
      encrypts({ sslmode: "verify-ca", sslrootcert: "other-ca.crt" }),
      hintAt("ca"),
    );
    await assert.rejects(encrypts({ sslmode: "verify-ca" }), hintAt("ca"));
  });

  test("verify-full wants the host of the certificate too", async () => {
    const full = { sslmode: "verify-full", sslrootcert: "ca.crt" };
    assert.equal(await encrypts(full, { host: "localhost" }), true);
    await assert.rejects(encrypts(full), hintAt("host"));
    await assert.rejects(
      encrypts({ ...full, sslrootcert: "other-ca.crt" }, { host: "localhost" }),
      hintAt("ca"),
    );
  });

  test("a client certificate takes the place of a password", async () => {
    const mutual = { sslmode: "verify-full", sslrootcert: "ca.crt" };
    const own = { sslcert: "client.crt", sslkey: "client.key" };
    const as = { host: "localhost", user: "plain", schema: "plain" };
    assert.equal(await encrypts({ ...mutual, ...own }, as), true);
    await assert.rejects(encrypts(mutual, as), /requires a valid client certificate/);
  });

  test("a server without TLS: prefer goes on without, require does not", async () => {
    await server.query("ALTER SYSTEM SET ssl = 'off'");
    await server.restart();
    assert.equal(await encrypts({}), false);
    await assert.rejects(encrypts({ sslmode: "require" }), /does not support SSL.*ssl-mode/);
  });
});

// What a message says beside what is wrong.
function hintAt(what: "ca" | "host"): RegExp {
  return what === "ca" ? /certificate.*; give ssl-ca/ : /does not match.*; .*verify-ca/;
}

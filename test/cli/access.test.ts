// Who may do what, on the command line: namespaces, users, keys, roles and bindings.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Authority, NO_OPENSSL } from "../support/certificates.ts";
import {
  ADMIN_KEY,
  setupClosed,
  setup as setupServer,
  temporaryDirectory,
} from "../support/server.ts";
import { Cli, type Result } from "./setup.ts";

interface Closed {
  readonly cli: Cli;
  /** Runs a command with the first key; it must succeed. */
  readonly admin: (...args: string[]) => Promise<Result>;
}

async function open(t: TestContext): Promise<Closed> {
  const cli = new Cli(t, await setupClosed(t));
  const admin = async (...args: string[]): Promise<Result> => {
    const result = await cli.run(args, { env: { QUERATOR_KEY: ADMIN_KEY } });
    assert.equal(result.code, 0, `${args.join(" ")}: ${result.stderr}`);
    return result;
  };
  return { cli, admin };
}

test("a tenant is made with a few commands, and its key is shown once, alone", async (t) => {
  const { cli, admin } = await open(t);
  const env = { QUERATOR_KEY: ADMIN_KEY };
  await admin("namespace", "create", "acme", "--key-tag", "ac", "--quota", "queues=3");
  await admin("user", "create", "mailer");
  await admin("role", "create", "maker", "queue.create", "queue.produce", "--namespace", "acme");
  await admin("binding", "create", "maker", "mailer", "--namespace", "acme");
  const made = await admin("key", "create", "mailer", "--namespace", "acme", "--name", "first");
  assert.match(made.stdout, /^qtr-ac-[0-9A-Za-z]{43}\n$/);
  assert.match(
    made.stderr,
    /^Successfully made key \w{27} for namespace 'acme'; it is shown this once\n$/,
  );
  assert.ok(!made.stderr.includes(made.stdout.trim()));

  // From a file, as it was piped.
  const file = join(temporaryDirectory(t), "key");
  writeFileSync(file, made.stdout);
  await cli.ok(["create", "mails", "--key-file", file]);
  await cli.ok(["produce", "mails", "-p", "hello"], { env: { QUERATOR_KEY_FILE: file } });
  const shown = await admin("info", "mails", "--namespace", "acme", "-o", "json");
  assert.equal(JSON.parse(shown.stdout).queue_name, "mails");
  const elsewhere = await cli.run(["info", "mails"], {
    env: { ...env, QUERATOR_NAMESPACE: "_system" },
  });
  assert.equal(elsewhere.code, 3, elsewhere.stderr);
  const refused = await cli.run(["list", "--key-file", file]);
  assert.deepEqual(
    [refused.code, refused.stderr],
    [
      1,
      "Error: access denied; this needs queue.list\nWho asks has no role that allows this here; " +
        "who may give roles does so with 'querator binding create'\n",
    ],
  );
  // Users are the server's.
  const unknown = await cli.run(["key", "create", "mailer", "--key-file", file]);
  const hint = "the key may not list users, so name 'mailer' by its id";
  assert.deepEqual(
    [unknown.code, unknown.stderr],
    [1, `Error: access denied; this needs user.list\n${hint}\n`],
  );

  const keys = await admin("key", "list", "--namespace", "acme", "-o", "json");
  const { keys: listed, count } = JSON.parse(keys.stdout);
  assert.deepEqual([count, listed[0].name, listed[0].namespace], [1, "first", "acme"]);
  assert.match((await admin("key", "list")).stdout, /NAME +USER .*\n.*first +admin +all/);
  for (const [noun, pattern] of [
    ["namespace", /NAME +KEY TAG[\s\S]*\nacme +ac/],
    ["user", /ID +NAME[\s\S]*mailer/],
    ["role", /_system +Admin +yes/],
    ["binding", /_system +Admin +admin /],
  ] as const) {
    assert.match((await admin(noun, "list")).stdout, pattern);
  }
  assert.match((await admin("namespace", "info", "acme")).stdout, /queues +1 of 3\n/);
});

test("a tenant sees users by their ids, and is told of roles that are not its own", async (t) => {
  const { cli, admin } = await open(t);
  await admin("namespace", "create", "acme");
  const { id } = JSON.parse((await admin("user", "create", "acme", "-o", "json")).stdout);
  await admin("binding", "create", "NamespaceOwner", "acme", "--namespace", "acme");
  const key = (await admin("key", "create", "acme", "--namespace", "acme")).stdout.trim();
  const tenant = (...args: string[]) => cli.run(args, { env: { QUERATOR_KEY: key } });
  for (const noun of ["key", "binding"]) {
    const { code, stdout, stderr } = await tenant(noun, "list");
    assert.equal(code, 0, stderr);
    assert.ok(stdout.includes(id), stdout);
    assert.match((await admin(noun, "list", "--namespace", "acme")).stdout, / acme +/);
    const json = await admin(noun, "list", "--namespace", "acme", "-o", "json");
    assert.ok(json.stdout.includes(`"user_id": "${id}"`), json.stdout);
  }
  const roles = await tenant("role", "list");
  assert.match(roles.stderr, /^Found 0 roles of its own; the standard ones may be given as well/);
});

test("a key is rotated and revoked", async (t) => {
  const { cli, admin } = await open(t);
  await admin("user", "create", "ops");
  await admin("binding", "create", "Admin", "ops");
  const first = JSON.parse((await admin("key", "create", "ops", "-o", "json")).stdout);
  assert.deepEqual([typeof first.key, first.name], ["string", ""]);
  const next = await admin("key", "rotate", first.id, "--overlap", "0s");
  const isTaken = async (key: string): Promise<boolean> => {
    const { code, stderr } = await cli.run(["list"], { env: { QUERATOR_KEY: key } });
    if (code !== 0) assert.match(stderr, /^Error: api key (has expired|does not exist)\n/);
    return code === 0;
  };
  const second = next.stdout.trim();
  assert.deepEqual([await isTaken(first.key), await isTaken(second)], [false, true]);
  const asked = await cli.run(["key", "revoke", "--user", "ops"], {
    env: { QUERATOR_KEY: ADMIN_KEY },
  });
  assert.equal(asked.code, 2, asked.stderr);
  assert.equal(await isTaken(second), true);
  const revoked = await admin(
    "key",
    "revoke",
    "--user",
    "ops",
    "--before",
    "2100-01-01T00:00:00Z",
    "-y",
  );
  assert.equal(revoked.stderr, "Successfully took away 2 keys\n");
  assert.equal(await isTaken(second), false);
});

test("what is there no more, or twice, is said", async (t) => {
  const { cli, admin } = await open(t);
  const env = { QUERATOR_KEY: ADMIN_KEY };
  await admin("namespace", "create", "acme");
  const cases: [args: string[], code: number, text: RegExp][] = [
    [["namespace", "create", "acme"], 1, /namespace already exists; 'acme' already exists/],
    [
      ["namespace", "info", "other"],
      3,
      /namespace does not exist; 'other' was not found\n'querator namespace list' shows/,
    ],
    [["key", "create", "nobody"], 3, /no such user 'nobody'/],
    [
      ["key", "revoke", "abc", "-y"],
      3,
      /key does not exist; 'abc' was not found\n'querator key list' shows/,
    ],
    [
      ["binding", "create", "Boss", "anonymous"],
      3,
      /'_system:Boss' was not found\n'querator role list' shows/,
    ],
    [["key", "revoke", "abc", "--before", "2100-01-01T00:00:00Z"], 2, /give either the id/],
    [["role", "create", "r", "queue.all"], 1, /'queue.all' is not a recognized permission/],
    [["role", "delete", "Admin", "-y"], 1, /'Admin' is a standard role/],
    [["binding", "delete", "Viewer", "anonymous", "-y"], 3, /role binding does not exist/],
    [["namespace", "create", "x", "--quota", "size=3"], 2, /Use one of queues=n/],
    [["list", "--key", "a", "--key-file", "b"], 2, /give either --key or --key-file, not both/],
    [["list", "--key-file", "/none"], 2, /--key-file: cannot read the file/],
  ];
  for (const [args, code, text] of cases) {
    const result = await cli.run(args, { env });
    assert.equal(result.code, code, `${args.join(" ")}: ${result.stderr}`);
    assert.match(result.stderr, text);
  }
  await admin("namespace", "update", "acme", "--description", "x");
  await admin("role", "create", "r", "--namespace", "acme");
  await admin("role", "update", "r", "queue.lease", "--namespace", "acme");
  await admin("role", "delete", "r", "-y", "--namespace", "acme");
  await admin("user", "create", "jane");
  await admin("user", "delete", "jane", "-y");
  await admin("binding", "create", "Viewer", "anonymous");
  await cli.ok(["list"]);
  await admin("binding", "delete", "Viewer", "anonymous", "-y");
  assert.equal((await cli.run(["list"])).code, 1);
  await admin("namespace", "delete", "acme", "-y");
});

test("the audit shows who has changed what", async (t) => {
  const { cli, admin } = await open(t);
  await admin("create", "jobs", "--max-attempts", "3");
  await admin("update", "jobs", "--max-attempts", "5");
  await admin("namespace", "create", "acme");
  await admin("role", "create", "r", "queue.list", "--namespace", "acme");
  const shown = await admin("audit");
  assert.match(
    shown.stdout,
    /TIME +USER[\s\S]*admin +127\.0\.0\.1 +_system +queues\.update +jobs +done +max_attempts 3 -> 5\n/,
  );
  assert.match(shown.stderr, /^Found \d+ entries\n$/);
  const json = await admin("audit", "--user", "admin", "--call", "queues.create", "-o", "json");
  const { entries, count } = JSON.parse(json.stdout);
  assert.deepEqual([count, entries[0].target, entries[0].changes[0].to], [1, "jobs", "3"]);
  const inAcme = await admin("audit", "--namespace", "acme", "-o", "ndjson");
  assert.deepEqual(
    inAcme.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).call),
    ["roles.create"],
  );
  const all = await admin("audit", "--all-namespaces", "--limit", "2", "-o", "ndjson");
  assert.equal(all.stdout.trim().split("\n").length, 2);
  const refused = await cli.run(["audit"]);
  assert.equal(refused.code, 1, refused.stdout);
});

test("who does not come in by TLS is told what to give", { skip: NO_OPENSSL }, async (t) => {
  const authority = new Authority(t);
  const { cert, key } = authority.sign("server");
  const cli = new Cli(
    t,
    await setupServer(t, { tlsCert: cert, tlsKey: key, tlsClientCa: authority.ca }),
  );
  const said = async (...args: string[]) => (await cli.run(["list", ...args])).stderr;
  const untrusted = await said();
  assert.match(untrusted, /\nName the authority of its certificate with --ca-file or /);
  assert.doesNotMatch(untrusted, /Start a server/);
  const unknown = await said("--ca-file", authority.ca);
  assert.match(
    unknown,
    /asks for a certificate of its clients; .*--client-cert and --client-key\n$/,
  );
  const plain = await said("--endpoint", cli.endpoint.replace("https", "http"));
  assert.equal(plain, "Error: TLS is spoken here; use https:// in place of http://\n");
});

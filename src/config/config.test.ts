// Options in, Config or one line out.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../../test/support/server.ts";
import { DEFAULT_LIMITS } from "../limits.ts";
import { type Config, loadConfig, type ServerOptions } from "./config.ts";
import { ConfigError } from "./section.ts";

interface Given {
  readonly options?: ServerOptions;
  readonly env?: NodeJS.ProcessEnv;
  readonly yaml?: string;
}

function load(t: TestContext, given: Given): Config {
  if (given.yaml === undefined) return loadConfig(given.options ?? {}, given.env ?? {});
  const config = join(temporaryDirectory(t), "querator.yaml");
  writeFileSync(config, given.yaml);
  return loadConfig({ ...given.options, config }, given.env ?? {});
}

test("postgres is taken from a URL, the environment or the file, and a mistake shows no secret", (t) => {
  const from = (given: Parameters<typeof load>[1]) => load(t, given).queueStorage;
  const url = "postgres://u:p%40ss@db:6000/data?sslmode=require&schema=jobs";
  const { name, driver, postgres } = from({ options: { postgres: url } });
  assert.deepEqual([name, driver], ["postgres-0", "postgres"]);
  assert.equal(postgres!.password, "p@ss");
  assert.equal(postgres!.location, "postgres:db:6000/data/jobs");
  assert.equal(postgres!.sslMode, "require");
  assert.deepEqual([postgres!.connectMs, postgres!.statementMs], [5_000, 20_000]);
  const quick = from({
    options: { postgres: `${url}&connect-timeout=1s&statement-timeout=500ms` },
  });
  assert.deepEqual([quick.postgres!.connectMs, quick.postgres!.statementMs], [1_000, 500]);
  const pg = { PGHOST: "h", PGUSER: "u", PGDATABASE: "d" };
  const socket = from({ options: { postgres: "postgres:///d?host=/run/pg" } }).postgres!;
  assert.equal(socket.location, "postgres:/run/pg:5432/d/querator");
  assert.equal(socket.user, userInfo().username);
  const fromPg = from({ env: { ...pg, QUERATOR_POSTGRES: "env" } });
  assert.equal(fromPg.postgres!.location, "postgres:h:5432/d/querator");
  const certificate = join(temporaryDirectory(t), "ca.crt");
  writeFileSync(certificate, "PEM");
  const filledIn = from({
    options: { postgres: "postgres://u@/?sslmode=require" },
    env: {
      ...pg,
      PGPORT: "6001",
      PGPASSWORD: "s3cret",
      PGSSLMODE: "disable",
      PGSSLROOTCERT: certificate,
    },
  }).postgres!;
  assert.equal(filledIn.location, "postgres:h:6001/d/querator");
  const { user, password, sslMode, ca } = filledIn;
  assert.deepEqual([user, password, sslMode, ca], ["u", "s3cret", "require", "PEM"]);
  const yaml = "partition-storage: [{driver: Postgres, config: {schema: s, max-conns: 7}}]\n";
  const fromFile = from({ yaml, env: { DATABASE_URL: "postgresql://e/x" } });
  assert.equal(fromFile.postgres!.location, "postgres:e:5432/x/s");
  assert.equal(fromFile.postgres!.maxConns, 7);
  const mistakes: [Parameters<typeof load>[1], RegExp][] = [
    [{ options: { postgres: "mysql://u:s3cret@h/d" } }, /connection-string: has the wrong scheme/],
    [{ options: { postgres: "u:s3cret@h d" } }, /connection-string: (is not a URL|has the wrong)/],
    [{ options: { postgres: "postgres://u:s3cret@h/d?x=1" } }, /has the parameter "x"/],
    [{ options: { postgres: "postgres://u:12?s3cret@h/d" } }, /must be written %3F/],
    [{ options: { postgres: "postgres://u:12#s3cret@h/d" } }, /must be written %23/],
    [{ options: { postgres: "postgres://u:s3cret%@h/d" } }, /has a % that does not stand/],
    [{ options: { postgres: "postgres://u:s3cret@h/d?port=x" } }, /port: "x" is not a port/],
    [{ env: { QUERATOR_POSTGRES: "env", PGHOST: "h", PGPORT: "0" } }, /PGPORT: "0" is not a port/],
    [
      { options: { postgres: `${url}&statement-timeout=1ms` } },
      /statement-timeout: "1ms" is not allowed; use a time from 100ms to 10m/,
    ],
    [{ options: { postgres: "env" } }, /connection-string: is missing/],
    [{ yaml, env: {} }, /config\.connection-string: is missing/],
    [{ options: { postgres: url, threads: 2 } }, /threads: 2 is not allowed with postgres/],
    [{ options: { postgres: url, sync: "interval" } }, /sync: interval is not allowed/],
    [{ options: { postgres: url, memory: true } }, /either --memory or --postgres/],
    [{ yaml: yaml.replace("schema: s", "schema: 's;x'"), env: pg }, /"s;x" is not allowed/],
    [{ yaml: yaml.replace("schema: s", "scheme: s"), env: pg }, /scheme: is not a known key/],
  ];
  for (const [given, message] of mistakes) {
    assert.throws(
      () => load(t, given),
      (error) => {
        assert.match((error as Error).message, message);
        assert.doesNotMatch((error as Error).message, /s3cret|p@ss|p%40ss/);
        return true;
      },
    );
  }
});

test("records that are said to lie where partitions do lie there", (t) => {
  const env = { PGHOST: "h", PGDATABASE: "d" };
  const sqlite = "driver: sqlite, config: {storage-dir: /x}";
  for (const [records, partitions] of [
    ["driver: postgres", "name: a, affinity: 3, driver: postgres"],
    ["name: a, driver: postgres", "name: a, driver: postgres"],
    [sqlite, `name: a, ${sqlite}`],
  ] as const) {
    const yaml = `queue-storage: {${records}}\npartition-storage: [{${partitions}}]\n`;
    const { queueStorage, partitionStorage } = load(t, { yaml, env });
    assert.equal(queueStorage, partitionStorage[0]);
    assert.equal(queueStorage.name, "a");
  }
  for (const [records, message] of [
    ["driver: postgres, config: {max-conns: 9}", /queue-storage\.config: differs from that of "a"/],
    ["name: b, driver: postgres", /"b" and "a" have the same database and schema; each needs/],
  ] as const) {
    const yaml = `queue-storage: {${records}}\npartition-storage: [{name: a, driver: postgres}]\n`;
    assert.throws(() => load(t, { yaml, env }), message);
  }
});

test("without any option there are the defaults", (t) => {
  const config = load(t, {});
  const storage = {
    name: "sqlite-0",
    driver: "sqlite",
    dir: resolve("./querator-data"),
    file: "querator.db",
    affinity: 1,
    syncInterval: 0,
  };
  assert.deepEqual(config, {
    host: "localhost",
    port: 2319,
    socket: undefined,
    socketMode: 0o660,
    admin: undefined,
    tls: undefined,
    dev: false,
    threads: 1,
    logLevel: "info",
    logFormat: "color",
    slow: { request: 1_000_000, turn: 1_000_000, commit: 1_000_000 },
    queueStorage: storage,
    partitionStorage: [storage],
    isSpread: true,
    queues: [],
    limits: DEFAULT_LIMITS,
    keepAlive: 75_000_000,
    allowedOrigins: [],
    allowedHosts: [],
    metricsQueues: [],
    ui: "on",
    otlp: undefined,
    auth: { isOn: false, isSaid: false, bootstrapKey: undefined, bootstrapKeyFile: undefined },
  });
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.limits));
});

test("from when on something is slow is read from everywhere", (t) => {
  const read = (options: ServerOptions, env: NodeJS.ProcessEnv = {}, yaml = "") =>
    load(t, { options, env, ...(yaml === "" ? {} : { yaml }) }).slow;
  const env = { QUERATOR_SLOW_REQUEST: "2s", QUERATOR_SLOW_TURN: "0" };
  const yaml = "logging: {slow-request: 3s, slow-turn: 3s, slow-commit: 0}\n";
  const options = { slowRequest: "1ms" };
  assert.deepEqual(read(options, env, yaml), { request: 1_000, turn: 0, commit: 0 });
  assert.deepEqual(read({ slowCommit: "1h" }, env), {
    request: 2_000_000,
    turn: 0,
    commit: 3_600_000_000,
  });
  for (const slowTurn of ["999us", "1h1s", "5", "-1s", "fast"]) {
    assert.throws(
      () => read({ slowTurn }),
      /^ConfigError: options: slowTurn: ".*" is not allowed; use a time from 1ms to 1h, or 0$/,
    );
  }
  assert.throws(() => read({}, { QUERATOR_SLOW_COMMIT: "x" }), /environment: QUERATOR_SLOW_COMMIT/);
  assert.throws(() => read({}, {}, "logging: {slow-commit: 5}\n"), /logging.slow-commit/);
});

test("whether callers show keys is read from everywhere, also as the Go server has it", (t) => {
  const read = (options: ServerOptions, env: NodeJS.ProcessEnv = {}, yaml = "") => {
    const { isOn, isSaid } = load(t, { options, env, ...(yaml === "" ? {} : { yaml }) }).auth;
    return [isOn, isSaid];
  };
  const env = { QUERATOR_AUTH: "keys" };
  assert.deepEqual(read({}), [false, false]);
  assert.deepEqual(read({ auth: "keys" }), [true, true]);
  assert.deepEqual(read({ auth: "none" }, env), [false, true]);
  assert.deepEqual(read({}, env, "auth: none\n"), [true, true]);
  assert.deepEqual(read({}, {}, "auth: keys\nauth-backend: {driver: none}\n"), [true, true]);
  assert.deepEqual(read({}, {}, "auth-backend: {driver: internal}\n"), [true, true]);
  assert.deepEqual(read({}, {}, "auth-backend: {driver: none}\n"), [false, true]);
  assert.throws(
    () => read({}, { QUERATOR_AUTH: "on" }),
    /^ConfigError: environment: QUERATOR_AUTH: "on" is not allowed; use one of none, keys$/,
  );
});

test("a first key that is none, or of no use, is refused without being shown", (t) => {
  const key = `qtr-live-${"a".repeat(43)}`;
  const file = (env: NodeJS.ProcessEnv, options: ServerOptions = {}) =>
    load(t, { env, options }).auth;
  const { bootstrapKey } = file({ QUERATOR_AUTH: "keys", QUERATOR_BOOTSTRAP_KEY: key });
  assert.equal(bootstrapKey, key);
  const shown = (text: RegExp) => (error: Error) => {
    assert.match(error.message, text);
    assert.ok(!error.message.includes("aaaa"), error.message);
    return true;
  };
  const wrong = { QUERATOR_AUTH: "keys", QUERATOR_BOOTSTRAP_KEY: key.slice(0, -1) };
  assert.throws(() => file(wrong), shown(/^QUERATOR_BOOTSTRAP_KEY does not hold a key/));
  const { QUERATOR_AUTH: _, ...open } = { ...wrong, QUERATOR_BOOTSTRAP_KEY: key };
  assert.throws(() => file(open), shown(/^QUERATOR_BOOTSTRAP_KEY is of no use without/));
  const both = { ...open, QUERATOR_AUTH: "keys", QUERATOR_BOOTSTRAP_KEY_FILE: "/x" };
  assert.throws(
    () => file(both),
    shown(/^give either QUERATOR_BOOTSTRAP_KEY or QUERATOR_BOOTSTRAP/),
  );
});

test("a database is read from a file, so that nothing shows its password", (t) => {
  const path = join(temporaryDirectory(t), "postgres");
  writeFileSync(path, "postgres://u:secret@host/db\n");
  const env = { QUERATOR_POSTGRES_FILE: path };
  assert.equal(load(t, { env }).queueStorage.postgres?.password, "secret");
  assert.throws(
    () => load(t, { env: { ...env, QUERATOR_POSTGRES: "postgres://u:secret@host/db" } }),
    /^ConfigError: give either QUERATOR_POSTGRES or QUERATOR_POSTGRES_FILE, not both$/,
  );
  const yaml = (keys: string) => ({
    yaml: `partition-storage: [{driver: postgres, config: {${keys}}}]\n`,
  });
  const fromFile = load(t, yaml(`connection-string-file: ${path}`)).queueStorage.postgres;
  assert.equal(fromFile?.password, "secret");
  assert.throws(
    () => load(t, yaml(`connection-string-file: ${path}, connection-string: x`)),
    /connection-string-file: give either this or connection-string, not both$/,
  );
  assert.throws(
    () => load(t, yaml(`connection-string-file: ${path}-gone`)),
    /partition-storage\[0\]\.config\.connection-string-file: cannot read the file: ENOENT/,
  );
  assert.throws(
    () => load(t, { env: { QUERATOR_POSTGRES_FILE: `${path}-gone` } }),
    /^ConfigError: QUERATOR_POSTGRES_FILE: cannot read the file: ENOENT/,
  );
});

test("what is about HTTP is read from everywhere, and checked", (t) => {
  const read = (options: ServerOptions, env: NodeJS.ProcessEnv = {}, yaml = ""): unknown[] => {
    const { keepAlive, allowedOrigins, allowedHosts } = load(t, {
      options,
      env,
      ...(yaml === "" ? {} : { yaml }),
    });
    return [keepAlive, allowedOrigins, allowedHosts];
  };
  const yaml =
    "keep-alive-timeout: 2m\nallowed-origins: [https://a.example, 'HTTP://B.example:80/']\nallowed-hosts: a.example, C.example.\n";
  const fromFile = [
    120_000_000,
    ["https://a.example", "http://b.example"],
    ["a.example", "c.example"],
  ];
  assert.deepEqual(read({}, {}, yaml), fromFile);
  const env = {
    QUERATOR_KEEP_ALIVE_TIMEOUT: "1s",
    QUERATOR_ALLOWED_ORIGINS: "http://localhost:3000, chrome-extension://abcdef",
    QUERATOR_ALLOWED_HOSTS: "*",
  };
  const fromEnv = [1_000_000, ["http://localhost:3000", "chrome-extension://abcdef"], ["*"]];
  assert.deepEqual(read({}, env, yaml), fromEnv);
  const options = { keepAliveTimeout: "24h", allowedOrigins: ["*"], allowedHosts: "[::1]" };
  assert.throws(
    () => read(options, env, yaml),
    /^ConfigError: options: allowedHosts: "\[::1\]" is not allowed; use names such as/,
  );
  assert.deepEqual(read({ ...options, allowedHosts: "::1,x" }, env, yaml), [
    86_400_000_000,
    ["*"],
    ["::1", "x"],
  ]);

  const wrong: [ServerOptions, RegExp][] = [
    [
      { keepAliveTimeout: "999ms" },
      /keepAliveTimeout: "999ms" is not allowed; use a time from 1s to 24h/,
    ],
    [{ keepAliveTimeout: "25h" }, /keepAliveTimeout/],
    [{ keepAliveTimeout: "75" }, /keepAliveTimeout/],
    [{ keepAliveTimeout: "0" }, /keepAliveTimeout/],
    [
      { allowedOrigins: "localhost:3000" },
      /allowedOrigins: "localhost:3000" is not allowed; use origins such as/,
    ],
    [{ allowedOrigins: "a.example" }, /allowedOrigins/],
    [{ allowedOrigins: "https://a.example/path" }, /allowedOrigins/],
    [{ allowedOrigins: "https://*.a.example" }, /allowedOrigins/],
    [{ allowedOrigins: "null" }, /allowedOrigins/],
    [
      { allowedOrigins: [1] as unknown as string[] },
      /allowedOrigins: \[1\] is not allowed; use a list of texts/,
    ],
    [{ allowedHosts: "a.example:80" }, /allowedHosts/],
    [{ allowedHosts: "http://a.example" }, /allowedHosts/],
    [{ allowedHosts: "*.a.example" }, /allowedHosts/],
  ];
  for (const [given, message] of wrong) assert.throws(() => read(given), message);
  assert.throws(
    () => read({}, { QUERATOR_ALLOWED_ORIGINS: "x" }),
    /environment: QUERATOR_ALLOWED_ORIGINS: "x" is not allowed/,
  );
  assert.throws(
    () => read({}, {}, "allowed-hosts: {a: b}\n"),
    /allowed-hosts: .* use a list of texts/,
  );
});

test("options win over the environment, the environment over the file", (t) => {
  const yaml = "address: a:1\ndata-dir: /file\ndev: true\nlogging: {level: error, handler: json}\n";
  const env = {
    QUERATOR_ADDRESS: "b:2",
    QUERATOR_DATA_DIR: "/env",
    QUERATOR_DEV: "false",
    QUERATOR_LOG_LEVEL: "warn",
    QUERATOR_LOG_FORMAT: "text",
  };
  const options = {
    address: "c:3",
    dataDir: "/options",
    dev: true,
    logLevel: "debug",
    logFormat: "color",
  } as const;
  const summary = ({ host, port, queueStorage, dev, logLevel, logFormat }: Config): unknown[] => [
    host,
    port,
    queueStorage.dir,
    dev,
    logLevel,
    logFormat,
  ];
  assert.deepEqual(summary(load(t, { yaml })), ["a", 1, "/file", true, "error", "json"]);
  assert.deepEqual(summary(load(t, { yaml, env })), ["b", 2, "/env", false, "warn", "text"]);
  assert.deepEqual(summary(load(t, { yaml, env, options })), [
    "c",
    3,
    "/options",
    true,
    "debug",
    "color",
  ]);
});

test("a choice of storage replaces the one below it as a whole", (t) => {
  const yaml = "partition-storage: [{name: p, driver: sqlite, config: {storage-dir: /p}}]\n";
  const drivers = (config: Config): string[] =>
    [config.queueStorage, ...config.partitionStorage].map((each) => each.dir ?? each.driver);
  assert.deepEqual(drivers(load(t, { yaml })), ["/p", "/p"]);
  assert.deepEqual(drivers(load(t, { yaml, env: { QUERATOR_MEMORY: "1" } })), ["memory", "memory"]);
  assert.deepEqual(drivers(load(t, { yaml, options: { dataDir: "/o" } })), ["/o", "/o"]);
  const off = { env: { QUERATOR_MEMORY: "true" }, options: { memory: false } };
  assert.equal(load(t, off).queueStorage.driver, "sqlite");
  const back = { env: { QUERATOR_MEMORY: "false" }, yaml: "memory: true\n" };
  assert.equal(load(t, back).queueStorage.driver, "sqlite");
  const env = { QUERATOR_DATA_DIR: "/env" };
  assert.deepEqual(drivers(load(t, { env, options: { memory: true } })), ["memory", "memory"]);
});

test("every thread has a storage of its own, unless storages are named", (t) => {
  const names = (config: Config): string[] =>
    config.partitionStorage.map(({ name, file }) => `${name} ${file}`);
  const two = ["sqlite-0 querator.db", "sqlite-1 querator-1.db"];
  assert.deepEqual(names(load(t, { yaml: "threads: 2\n" })), two);
  assert.deepEqual(names(load(t, { env: { QUERATOR_THREADS: "2" }, yaml: "threads: 3\n" })), two);
  const yaml = "partition-storage: [{name: p, driver: sqlite, config: {storage-dir: /p}}]\n";
  assert.deepEqual(names(load(t, { options: { threads: 2 }, yaml })), ["p querator.db"]);
  for (const threads of ["0", "65", "x"]) {
    const wrong = /QUERATOR_THREADS: .* is not allowed; use a whole number from 1 to 64/;
    assert.throws(() => load(t, { env: { QUERATOR_THREADS: threads } }), wrong);
  }
});

test("syncing is full, or has an interval, and is refused where it would do nothing", (t) => {
  const interval = (config: Config): number => config.queueStorage.syncInterval;
  assert.equal(interval(load(t, { options: { sync: "interval" } })), 1_000_000);
  assert.equal(interval(load(t, { yaml: "sync: interval\nsync-interval: 50ms\n" })), 50_000);
  const env = { QUERATOR_SYNC: "interval", QUERATOR_SYNC_INTERVAL: "1m" };
  assert.equal(interval(load(t, { env })), 60_000_000);
  assert.equal(interval(load(t, { env, options: { sync: "full" } })), 0);
  const storage = "{driver: sqlite, config: {storage-dir: /p, sync: interval, sync-interval: 2s}}";
  const yaml = `partition-storage: [${storage}]\n`;
  assert.equal(interval(load(t, { yaml })), 2_000_000);
  const rows: [Given, RegExp][] = [
    [{ options: { syncInterval: "1s" } }, /options: syncInterval: "1s" needs sync to be interval/],
    [{ yaml: "sync: sometimes\n" }, /sync: "sometimes" is not allowed; use one of full, interval/],
    [
      { yaml: "sync: interval\nsync-interval: 2m\n" },
      /sync-interval: "2m" is not allowed; use a time from 1ms to 1m/,
    ],
    [{ options: { memory: true, sync: "interval" } }, /sync is not allowed with memory/],
    [{ yaml: `sync: full\n${yaml}` }, /give sync with each storage that has a name/],
    [
      { yaml: "partition-storage: [{driver: memory, config: {sync: full}}]\n" },
      /config\.sync: is not allowed; memory keeps nothing on disk/,
    ],
  ];
  for (const [given, message] of rows) assert.throws(() => load(t, given), message);
});

test("empty environment variables count as not set", (t) => {
  assert.equal(load(t, { env: { QUERATOR_ADDRESS: "", QUERATOR_DEV: "" } }).port, 2319);
});

test("addresses may have any host, or none", (t) => {
  for (const [address, host, port] of [
    ["[::1]:80", "::1", 80],
    [":0", "", 0],
    ["0.0.0.0:65535", "0.0.0.0", 65_535],
  ] as const) {
    const config = load(t, { options: { address } });
    assert.deepEqual([config.host, config.port], [host, port]);
  }
});

test("an address may be a Unix socket, by its whole path", (t) => {
  for (const address of ["unix:/run/q.sock", "unix:///run/q.sock"]) {
    const { host, port, socket, socketMode } = load(t, { options: { address, socketMode: "600" } });
    assert.deepEqual([host, port, socket, socketMode], ["localhost", 0, "/run/q.sock", 0o600]);
  }
  for (const [options, text] of [
    [
      { address: "unix:run/q.sock" },
      /^address: "unix:run\/q.sock" is not allowed; use a whole path/,
    ],
    [{ adminAddress: "unix:/run/" }, /^admin-address: "unix:\/run\/" is not allowed/],
    [{ address: `unix:/${"x".repeat(103)}` }, /has 103 bytes at most/],
    [{ address: "unix:/q", socketMode: "0999" }, /^socket-mode: "0999" is not allowed/],
    [{ socketMode: "0600" }, /^socket-mode is of no use without a Unix socket/],
  ] as const) {
    assert.throws(
      () => load(t, { options }),
      (error: Error) => text.test(error.message),
    );
  }
});

test("what is about TLS is read from everywhere", (t) => {
  const env = { QUERATOR_TLS_CERT: "/e.crt", QUERATOR_TLS_KEY: "/e.key" };
  const yaml = 'tls-cert: /f.crt\ntls-key: /f.key\ntls-min-version: "1.3"\ntls-client-ca: /f.ca\n';
  const options = { tlsKey: "/o.key", tlsClientAuth: "optional" } as const;
  assert.deepEqual(load(t, { options, env, yaml }).tls, {
    cert: "/e.crt",
    key: "/o.key",
    minVersion: "1.3",
    clientCa: "/f.ca",
    clientAuth: "optional",
  });
});

test("the file holds storages, queues and limits", (t) => {
  const config = load(t, {
    yaml: `
queue-storage: {name: meta, driver: SQLite, config: {storage-dir: /meta}}
partition-storage:
  - {name: fast, driver: memory, affinity: 2}
  - {name: safe, driver: sqlite, affinity: 0.5, config: {storage-dir: /safe}}
queues:
  - name: q
    dead-queue: d
    lease-timeout: 5m
    expire-timeout: 2h
    max-attempts: 3
    reference: ref
    retry-delay: 5s
    retry-factor: 1.5
    on-lease-end: reject
    keep-completed: 24h
    keep-payload: true
    partitions: [{partition: 0, storage-name: safe}, {storage-name: fast}]
  - name: r
    requested-partitions: 7
limits: {queued-requests: 5, lease-reply-bytes: 1000}
`,
    options: { limits: { queuedRequests: 6 } },
  });
  assert.deepEqual(
    config.partitionStorage.map(({ name, driver, dir, affinity }) => [name, driver, dir, affinity]),
    [
      ["fast", "memory", undefined, 2],
      ["safe", "sqlite", "/safe", 0.5],
    ],
  );
  assert.equal(config.queueStorage.dir, "/meta");
  assert.deepEqual(config.queues, [
    {
      place: "querator.yaml: queues[0]",
      name: "q",
      deadQueue: "d",
      leaseTimeout: "5m",
      expireTimeout: "2h",
      maxAttempts: 3,
      reference: "ref",
      requestedPartitions: 1,
      retryDelay: "5s",
      retryFactor: 1.5,
      retryMaxDelay: "1h",
      retryJitter: 0.2,
      onLeaseEnd: "reject",
      keepCompleted: "24h",
      keepMax: 10_000,
      keepPayload: true,
      partitions: [
        { partition: 0, storageName: "safe" },
        { partition: 1, storageName: "fast" },
      ],
    },
    {
      place: "querator.yaml: queues[1]",
      name: "r",
      deadQueue: "",
      leaseTimeout: "1m",
      expireTimeout: "876000h0m0s",
      maxAttempts: 0,
      reference: "",
      requestedPartitions: 7,
      retryDelay: "0s",
      retryFactor: 2,
      retryMaxDelay: "1h",
      retryJitter: 0.2,
      onLeaseEnd: "retry_now",
      keepCompleted: "0s",
      keepMax: 10_000,
      keepPayload: false,
      partitions: [],
    },
  ]);
  assert.deepEqual([config.limits.queuedRequests, config.limits.leaseReplyBytes], [6, 1_000]);
});

// --- mistakes: what is given, and the one line that answers it ---

const MISTAKES: readonly [Parameters<typeof load>[1], string | RegExp][] = [
  [
    { options: { address: "localhost" } },
    'address: "localhost" is not allowed; use HOST:PORT, such as localhost:2319 or [::1]:0, or unix:/PATH',
  ],
  [{ env: { QUERATOR_ADDRESS: "x:70000" } }, /^address: "x:70000" is not allowed/],
  [{ options: { memory: true, dataDir: "/x" } }, "give either --memory or --data-dir, not both"],
  [
    { env: { QUERATOR_MEMORY: "true", QUERATOR_DATA_DIR: "/x" } },
    "give either QUERATOR_MEMORY or QUERATOR_DATA_DIR, not both",
  ],
  [
    { env: { QUERATOR_MEMORY: "yes" } },
    'environment: QUERATOR_MEMORY: "yes" is not allowed; use true or false',
  ],
  [
    { env: { QUERATOR_LOG_LEVEL: "loud" } },
    'environment: QUERATOR_LOG_LEVEL: "loud" is not allowed; use one of debug, info, warn, error',
  ],
  [
    { options: { logLevel: "loud" as never } },
    'options: logLevel: "loud" is not allowed; use one of debug, info, warn, error',
  ],
  [{ options: { config: "/no/such.yaml" } }, /^cannot read the configuration file '\/no\/such/],
  [{ yaml: "a: [1\n" }, /^querator\.yaml:2: /],
  [{ yaml: "- a\n" }, "querator.yaml: must be a mapping of keys to values"],
  [{ yaml: "adress: a:1\n" }, /^querator\.yaml: adress: is not a known key; known are address, /],
  [{ yaml: "logging: {leve: info}\n" }, /^querator\.yaml: logging\.leve: is not a known key/],
  [{ yaml: "logging: info\n" }, 'querator.yaml: logging: "info" is not allowed; use a mapping'],
  [{ yaml: "address: 5\n" }, "querator.yaml: address: 5 is not allowed; use a text"],
  [
    { yaml: "logging: {handler: xml}\n" },
    'querator.yaml: logging.handler: "xml" is not allowed; use one of text, json, color',
  ],
  [
    { yaml: "memory: true\ndata-dir: x\n" },
    "querator.yaml: memory: give either memory or data-dir, not both",
  ],
  [
    { yaml: "data-dir: x\npartition-storage: [{name: a, driver: memory}]\n" },
    "querator.yaml: partition-storage: give either this or memory, data-dir or postgres, not both",
  ],
  [
    { yaml: "partition-storage: []\n" },
    "querator.yaml: partition-storage: [] is not allowed; name at least one storage",
  ],
  [
    { yaml: "queue-storage: {driver: badger}\n" },
    /^querator\.yaml: queue-storage\.driver: .*sqlite/,
  ],
  [{ yaml: "partition-storage: {}\n" }, /^querator\.yaml: partition-storage: .*use a list$/],
  [
    { yaml: "partition-storage: [5]\n" },
    /^querator\.yaml: partition-storage\[0\]: .*use a mapping$/,
  ],
  [
    { yaml: "partition-storage: [{name: a, driver: sqlite}]\n" },
    /^querator\.yaml: partition-storage\[0\]\.config\.storage-dir: /,
  ],
  [
    { yaml: "partition-storage: [{name: a, driver: memory, affinity: 0}]\n" },
    /^querator\.yaml: partition-storage\[0\]\.affinity: 0 is not allowed/,
  ],
  [
    {
      yaml: "partition-storage: [{name: a, driver: memory}, {name: a, driver: sqlite, config: {storage-dir: /x}}]\n",
    },
    'querator.yaml: partition-storage: two storages have the name "a"',
  ],
  [
    {
      yaml: "partition-storage: [{name: a, driver: sqlite, config: {storage-dir: /x}}, {name: b, driver: sqlite, config: {storage-dir: /x}}]\n",
    },
    /^querator\.yaml: partition-storage: "a" and "b" have the same storage-dir/,
  ],
  [
    { yaml: "auth-backend: {driver: ldap}\n" },
    /invalid auth-backend driver; 'ldap' is not one of \(none, internal\)$/,
  ],
  [{ yaml: "queues: [{dead-queue: d}]\n" }, /^querator\.yaml: queues\[0\]\.name: is missing/],
  [
    { yaml: "queues: [{name: a}, {name: q~1}]\n" },
    "querator.yaml: queues[1].name: queue name is invalid; 'q~1' cannot contain '~' character",
  ],
  [
    { yaml: "queues: [{name: q, dead-queue: a b}]\n" },
    "querator.yaml: queues[0].dead-queue: dead queue is invalid; 'a b' cannot contain whitespace",
  ],
  [
    { yaml: "queues: [{name: q, lease-timeout: 5}]\n" },
    /^querator\.yaml: queues\[0\]\.lease-timeout: /,
  ],
  [
    { yaml: "queues: [{name: q, expire-timeout: always}]\n" },
    /^querator\.yaml: queues\[0\]\.expire-timeout: .* invalid duration "always"/,
  ],
  [
    { yaml: "queues: [{name: q, expire-timeout: 5y}]\n" },
    /^querator\.yaml: queues\[0\]\.expire-timeout: .* unknown unit "y" in duration "5y"/,
  ],
  [
    { yaml: "queues: [{name: q, partitions: [{storage-name: nope}]}]\n" },
    /invalid partition storage; queue 'q' references 'nope' which is undefined$/,
  ],
  [
    { yaml: "queues: [{name: q, partitions: [{read-only: true}]}]\n" },
    /^querator\.yaml: queues\[0\]\.partitions\[0\]\.read-only: true is not allowed/,
  ],
  [
    { yaml: "queues: [{name: q, partitions: [{partition: 1}]}]\n" },
    /^querator\.yaml: queues\[0\]\.partitions\[0\]\.partition: 1 is not allowed/,
  ],
  [
    { yaml: "queues: [{name: q, max-attempts: -1}]\n" },
    "querator.yaml: queues[0].max-attempts: -1 is not allowed; use a whole number from 0 to 65536",
  ],
  [
    { yaml: "limits: {connections: 0}\n" },
    /^querator\.yaml: limits\.connections: 0 is not allowed; use a whole number from 1 to /,
  ],
  [
    { yaml: "limits: {conections: 1}\n" },
    /^querator\.yaml: limits\.conections: is not a known key/,
  ],
  [
    { options: { limits: { connections: 1.5 } } },
    /^options: limits\.connections: 1\.5 is not allowed; use a whole number/,
  ],
];

for (const [given, message] of MISTAKES) {
  test(`a mistake is one line: ${message}`, (t) => {
    assert.throws(
      () => load(t, given),
      (error) => {
        assert.ok(error instanceof ConfigError);
        if (typeof message === "string") assert.equal(error.message, message);
        else assert.match(error.message, message);
        assert.ok(!error.message.includes("\n"));
        return true;
      },
    );
  });
}

test("where spans go is read from everywhere, last from what OpenTelemetry has its own variables for", (t) => {
  const read = (options: ServerOptions, env: NodeJS.ProcessEnv = {}, yaml = "") =>
    load(t, { options, env, ...(yaml === "" ? {} : { yaml }) }).otlp;
  const theirs = {
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:1/",
    OTEL_EXPORTER_OTLP_HEADERS: "a=1, b=x%20y",
    OTEL_SERVICE_NAME: "jobs",
  };
  const env = { ...theirs, QUERATOR_OTLP_ENDPOINT: "http://b:1/in", QUERATOR_OTLP_SLOW: "2s" };
  const yaml = "otlp-endpoint: http://y:1\notlp-slow: 3s\n";
  assert.equal(read({}), undefined);
  const headers = { a: "1", b: "x y" };
  assert.deepEqual(read({}, theirs), {
    url: "http://c:1/v1/traces",
    headers,
    slow: 500_000,
    serviceName: "jobs",
  });
  assert.deepEqual(
    [
      read({ otlpEndpoint: "https://a/v1/traces", otlpSlow: "0s" }, env, yaml),
      read({}, env, yaml),
    ].map((otlp) => [otlp?.url, otlp?.slow]),
    [
      ["https://a/v1/traces", 0],
      ["http://b:1/in/v1/traces", 2_000_000],
    ],
  );
  assert.deepEqual(read({}, {}, yaml)?.url, "http://y:1/v1/traces");
  const own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
  assert.equal(read({}, { ...theirs, [own]: "http://t:1/as-it-is" })?.url, "http://t:1/as-it-is");
  for (const off of [
    { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
    { OTEL_SDK_DISABLED: "true" },
    { OTEL_TRACES_EXPORTER: "none" },
  ]) {
    assert.equal(read({}, { ...theirs, ...off }), undefined);
  }
  const file = join(temporaryDirectory(t), "headers");
  writeFileSync(file, "api-key=secret\nother=1\n");
  const said = { otlpEndpoint: "http://a:1" };
  const ofFile = { "api-key": "secret", other: "1" };
  assert.deepEqual(read({ ...said, otlpHeadersFile: file }, theirs)?.headers, ofFile);
  assert.deepEqual(read(said, { QUERATOR_OTLP_HEADERS_FILE: file })?.headers, ofFile);
  assert.deepEqual(read(said, {}, `otlp-headers-file: ${file}`)?.headers, ofFile);
  const wrong: [ServerOptions, NodeJS.ProcessEnv, RegExp][] = [
    [{ otlpEndpoint: "collector:4317" }, {}, /otlpEndpoint: "collector:4317" is not allowed/],
    [{ ...said, otlpSlow: "2h" }, {}, /otlpSlow: "2h" is not allowed; use a time from 0s to 1h/],
    [{ ...said, otlpSlow: "x" }, {}, /otlpSlow/],
    [{ ...said, otlpHeaders: "secret" }, {}, /^ConfigError: otlpHeaders does not hold headers/],
    [{ ...said, otlpHeaders: "a=b", otlpHeadersFile: file }, {}, /give either otlpHeaders or/],
    [said, { OTEL_EXPORTER_OTLP_HEADERS: "%%" }, /OTEL_EXPORTER_OTLP_HEADERS does not hold/],
  ];
  for (const [options, variables, message] of wrong) {
    assert.throws(() => read(options, variables), message);
  }
});

// What the architecture rests on, as far as a program can see it.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { FAULTS } from "../scripts/faults.ts";
import { LIBRARIES } from "../src/ui/code.ts";

const src = fileURLToPath(new URL("../src", import.meta.url));
const clientSrc = fileURLToPath(new URL("../client/src", import.meta.url));
const files = filesOf(src);
const clientFiles = filesOf(clientSrc);

function filesOf(dir: string): { readonly file: string; readonly text: string }[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts") && !file.includes("/gen/"))
    .map((file) => ({ file, text: readFileSync(`${dir}/${file}`, "utf8") }));
}

// What everybody may use, and which imports nothing of ours but the rest of it.
const EVERYBODY = [
  "clock.ts",
  "descriptors.ts",
  "duration.ts",
  "errors.ts",
  "limits.ts",
  "log.ts",
  "octaves.ts",
  "printable.ts",
  "quotas.ts",
  "slow.ts",
  "timers.ts",
  "trace-context.ts",
  "version.ts",
];

// A file belongs to the layer that its path begins with; it may import from that layer, from those named
// here, and what everybody may use.
const LAYERS: readonly [prefix: string, mayImport: readonly string[]][] = [
  ...EVERYBODY.map((file): [string, string[]] => [file, []]),
  ["storage/", []],
  ["queue/", ["storage/storage.ts"]],
  ["codec/", []],
  ["auth/", ["storage/storage.ts"]],
  ["http/", ["codec/", "auth/"]],
  ["registry/", ["auth/", "queue/queue.ts", "storage/storage.ts", "storage/away.ts"]],
  [
    "observe/",
    [
      "codec/timestamp.ts",
      "http/meters.ts",
      "http/slow-requests.ts",
      "queue/queue.ts",
      "registry/figures.ts",
      "registry/homes.ts",
      "registry/names.ts",
      "registry/queue-table.ts",
      "storage/storage.ts",
    ],
  ],
  ["ui/", []],
  ["config/", ["auth/secrets.ts", "registry/names.ts", "registry/settings.ts"]],
  [
    "api/",
    ["auth/", "codec/", "http/", "observe/", "queue/queue.ts", "registry/", "storage/storage.ts"],
  ],
  [
    "server/",
    [
      "api/",
      "auth/",
      "config/",
      "http/",
      "observe/",
      "queue/queue.ts",
      "registry/",
      "storage/",
      "ui/assets.ts",
    ],
  ],
  ["supported.ts", []],
  ["index.ts", ["supported.ts", "server/server.ts", "config/"]],
  ["testing.ts", ["index.ts"]],
  [
    "cli/",
    [
      "server/server.ts",
      "auth/",
      "config/",
      "http/access.ts",
      "registry/",
      "storage/postgres/",
      "storage/sqlite/file.ts",
      "storage/doctor.ts",
      "storage/storage.ts",
    ],
  ],
  ["main.ts", ["cli/"]],
];

test("imports go one way", () => {
  for (const { file, text } of files) {
    const layer = LAYERS.find(([prefix]) => file.startsWith(prefix));
    assert.ok(layer, `${file} belongs to no layer; add it to LAYERS`);
    const allowed = [layer[0], ...layer[1], ...EVERYBODY];
    for (const [, specifier] of text.matchAll(/(?:from|import) "(\.[^"]+)"/g)) {
      const target = relative(src, resolve(src, dirname(file), specifier!));
      const fine = allowed.some((prefix) => target.startsWith(prefix));
      assert.ok(fine, `${file} must not import ${target}`);
    }
  }
});

// The client is a package of its own, without dependencies; the server is none of its business.
test("the client imports nothing but itself, and of Node only types", () => {
  for (const { file, text } of clientFiles) {
    for (const [statement, specifier] of text.matchAll(
      /^(?:import|export) [^;]*?from "([^"]+)"/gms,
    )) {
      const isOwn = specifier!.startsWith("./");
      const isType = specifier!.startsWith("node:") && statement.startsWith("import type");
      assert.ok(isOwn || isType, `client/src/${file} must not import ${specifier}`);
    }
  }
});

// It has no types of Node, and what it imports is sent to a browser.
test("the dashboard's app imports nothing but itself and its libraries", () => {
  for (const { file, text } of files) {
    if (!file.startsWith("ui/app/")) continue;
    for (const [, specifier] of text.matchAll(/(?:from|import) ?\(?"([^"\s,]+)"/g)) {
      const isOwn = resolve(src, dirname(file), specifier!).startsWith(`${src}/ui/app/`);
      const isFine = specifier!.startsWith(".") ? isOwn : specifier! in LIBRARIES;
      assert.ok(isFine, `${file} must not import ${specifier}`);
    }
  }
});

// Only what talks to a server from outside is built on the client.
test("in the server's sources only the command line and the test helper import the client", () => {
  for (const { file, text } of files) {
    if (file.startsWith("cli/") || file === "testing.ts") continue;
    assert.doesNotMatch(text, /from "@querator\/client"/, file);
  }
});

const BANS: readonly [pattern: RegExp, instead: string, where: readonly string[]][] = [
  [
    /\bDate\.now\b|\bperformance\.now\b/,
    "ask the clock that you were given",
    ["clock.ts", "ui/app/time.ts"],
  ],
  [
    /(?<!\.)\bsetTimeout\b|\bsetInterval\b/,
    "use clock.wakeAfter",
    [
      "clock.ts",
      "descriptors.ts",
      "http/listen.ts",
      "server/patience.ts",
      "storage/sqlite/locks.ts",
      "storage/sqlite/log.ts",
      "storage/postgres/connection.ts",
      "storage/postgres/owner.ts",
      "storage/postgres/pooling.ts",
      "cli/server.ts",
      "cli/starter.ts",
      "ui/app/time.ts",
    ],
  ],
  [
    /\bclock\.now\(\) [+-]|\.wakeAt\(/,
    "the wall clock may be set meanwhile: use clock.steady or clock.wakeAfter",
    // When a key ends is a wall time that people have chosen.
    ["clock.ts", "queue/loop-timers.ts", "auth/state.ts"],
  ],
  [
    /\bsetImmediate\b/,
    "wake the loop, or use Turns",
    [
      "clock.ts",
      "http/listen.ts", // between taking connections in and closing the sockets that do
      "http/pipeline.ts",
      "http/share.ts",
      "queue/turns.ts",
      "server/link.ts",
      "timers.ts",
    ],
  ],
  [/\bMath\.random\b/, "use node:crypto", []],
  [/\bconsole\./, "use the logger", []],
  [/\benum \w+ \{/, "use a union of string literals", []],
  [/\bas any\b|: any\b/, "use unknown and narrow it", []],
  [/\bFIXME\b|\bTODO\b/, "do it, or write an issue", []],
];

test("what is banned is used only where it belongs", () => {
  for (const { file, text } of files) {
    const code = text.replace(/^\s*(\/\/|\*|\/\*\*).*$/gm, "");
    for (const [pattern, instead, where] of BANS) {
      if (where.includes(file)) continue;
      assert.doesNotMatch(code, pattern, `${file}: ${instead}`);
    }
  }
});

test("every file says what it owns", () => {
  for (const { file, text } of [...files, ...clientFiles]) {
    assert.match(text, /^(#!.*\n)?\/\/ \S/, `${file} has no header comment`);
  }
});

test("no file names a package registry", () => {
  const lock = readFileSync(`${src}/../package-lock.json`, "utf8");
  assert.doesNotMatch(lock, /"resolved": "https?:/);
});

// Packing the client changes its package.json for a moment, and changes it back.
test("in a clone the client is its sources", () => {
  const manifest = readFileSync(`${clientSrc}/../package.json`, "utf8");
  assert.match(manifest, /"\.\/src\/index\.ts"/, "run node scripts/client-manifest.ts sources");
});

test("every fault that can be planted has its place in the code", () => {
  for (const { name, file, from } of FAULTS) {
    const text = readFileSync(`${src}/../${file}`, "utf8");
    assert.equal(text.split(from).length, 2, `"${name}" is not in ${file}, or is there twice`);
  }
});

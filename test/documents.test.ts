// What the documents say is true: every option, endpoint and error is in them, as the code has it,
// and the tour of the README answers what it says.

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { withReference } from "../scripts/cli-reference.ts";
import { withErrors, withFields, withPermissions } from "../scripts/protocol-fields.ts";
import { makeEndpoints } from "../src/api/routes.ts";
import type { Service } from "../src/api/service.ts";
import { EXIT } from "../src/cli/failure.ts";
import { makeProgram } from "../src/cli/program.ts";
import { ENVIRONMENT, FILE_KEYS, loadConfig } from "../src/config/config.ts";
import { ERROR_KINDS, ERRORS, MESSAGES } from "../src/errors.ts";
import { formatSize } from "../src/http/body.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import { setup } from "./support/server.ts";

const root = new URL("../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");

test("PROTOCOL.md lists every endpoint with its limit, and no other", () => {
  const service = { limits: DEFAULT_LIMITS } as Service;
  const expected = [...makeEndpoints(service)].map(
    ([path, { bodyBytesMax }]) => `${path} ${formatSize(bodyBytesMax)}`,
  );
  const listed = [...read("docs/PROTOCOL.md").matchAll(/^\| `(\/v\d\/[^`]+)` \| (\S+) \|/gm)];
  assert.deepEqual(listed.map(([, path, size]) => `${path} ${size}`).sort(), expected.sort());
});

test("PROTOCOL.md lists every error as the code has it, and no other", () => {
  const expected = Object.entries(ERROR_KINDS).map(
    ([kind, { status, text, retryable }]) =>
      `| ${status} | ${text} | ${kind} | ${retryable ? "yes" : "no"} |`,
  );
  const listed = read("docs/PROTOCOL.md").match(/^\| \d{3} \|.*$/gm);
  assert.deepEqual(listed, expected);
  const messages = [...read("docs/PROTOCOL.md").matchAll(/^- `(.*)`$/gm)].map((match) => match[1]);
  assert.deepEqual(messages.sort(), Object.values(MESSAGES).sort());
});

test("PROTOCOL.md has every code of an error as the catalogue has it", () => {
  const text = read("docs/PROTOCOL.md");
  assert.equal(text, withErrors(text), "run node scripts/protocol-fields.ts");
  for (const code of Object.keys(ERRORS)) assert.ok(text.includes(`\n| \`${code}\` | `), code);
});

test("PROTOCOL.md has the fields of every request and reply as the code has them", () => {
  const text = read("docs/PROTOCOL.md");
  assert.equal(text, withFields(text), "run node scripts/protocol-fields.ts");
  for (const path of makeEndpoints({ limits: DEFAULT_LIMITS } as Service).keys()) {
    assert.match(text, new RegExp(`^### .*\`${path}\``, "m"));
  }
});

test("PROTOCOL.md says what every call needs, and what the standard roles allow", () => {
  const text = read("docs/PROTOCOL.md");
  assert.equal(text, withPermissions(text), "run node scripts/protocol-fields.ts");
  for (const path of makeEndpoints({ limits: DEFAULT_LIMITS } as Service).keys()) {
    assert.match(text, new RegExp(`^\\| \`[a-z]+\\.[a-z]+\`.* \\| \`${path}\` \\| `, "m"));
  }
});

test("CONFIGURATION.md has every option, variable, key and limit", () => {
  const text = read("docs/CONFIGURATION.md");
  for (const variable of Object.values(ENVIRONMENT)) assert.ok(text.includes(`\`${variable}\``));
  for (const key of Object.values(FILE_KEYS).flat()) {
    assert.match(text, new RegExp(`[\`.]${key}[\`.]`), key);
  }
  const limits = [...text.matchAll(/^\| `([a-z-]+)` \| (\d+) \|/gm)].map((m) => [m[1], m[2]]);
  const expected = Object.entries(DEFAULT_LIMITS).map(([name, value]) => [
    name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    String(value),
  ]);
  assert.deepEqual(limits, expected);
});

test("CLI.md has every command and option as the program has it", () => {
  const text = read("docs/CLI.md");
  assert.equal(text, withReference(text), "run node scripts/cli-reference.ts");
});

test("every command shows examples in its help", () => {
  const all = makeProgram().commands.flatMap((command) => [command, ...command.commands]);
  for (const command of all.filter((each) => each.commands.length === 0)) {
    if (command.name().startsWith("__")) continue;
    let help = "";
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    const name = `${command.parent!.name()} ${command.name()}`;
    assert.match(help, /^Examples?:\n {2}.*querator /m, name);
  }
});

test("CLI.md tells every exit code", () => {
  const text = read("docs/CLI.md");
  const told = [...text.matchAll(/^\| (\d+) \| /gm)].map(([, code]) => Number(code));
  assert.deepEqual(told, [0, ...Object.values(EXIT)]);
});

test("the example file holds the defaults", () => {
  const config = fileURLToPath(new URL("querator.example.yaml", root));
  // All but this: who names storages says where they are.
  const isSpread = true;
  assert.deepEqual({ ...loadConfig({ config }, {}), isSpread }, loadConfig({}, {}));
});

test("every decision is in the list of decisions", () => {
  const files = readdirSync(new URL("docs/decisions/", root)).filter((name) => /^\d/.test(name));
  const list = read("docs/decisions/README.md");
  const listed = [...list.matchAll(/^- \[\d{4}\]\((.*?)\)/gm)].map(([, file]) => file);
  assert.deepEqual(listed, files.toSorted());
});

test("the README's tour answers what it says", async (t) => {
  const server = await setup(t);
  const readme = read("README.md");
  const tour = /<!-- tour -->\n```sh\n(.*?)```/s.exec(readme)![1]!;
  const expected = /```json\n(.*?)```/s.exec(readme)![1]!.trim().split("\n");
  const commands = tour.trim().split("\n");
  const alias = /^alias api='(.*)'$/.exec(commands[0]!)![1]!;
  let lease = "";
  for (const [i, command] of commands.slice(1).entries()) {
    const script = command
      .replace(/^api /, `${alias} `)
      .replace("localhost:2319", server.server.address)
      .replace("<lease_id>", lease);
    const { stdout: answer } = await promisify(execFile)("sh", ["-c", script]);
    lease = /"lease_id":"(\w{27})"/.exec(answer)?.[1] ?? lease;
    const shown = answer
      .replace(/"(id|lease_id)":"\w{27}"/g, '"$1":"<$1>"')
      .replace(/"(\w+_at|lease_deadline)":"[^"]+"/g, '"$1":"<time>"');
    assert.equal(shown, expected[i]);
  }
});

test("proto/ and the code generated from it agree", () => {
  const generated = (): string =>
    ["v1", "v2"]
      .map((version) => `src/codec/gen/querator/${version}/`)
      .flatMap((dir) => readdirSync(new URL(dir, root)).map((name) => dir + name))
      .sort()
      .map(read)
      .join("");
  const before = generated();
  execFileSync("npx", ["buf", "generate"], { cwd: fileURLToPath(root), stdio: "pipe" });
  assert.equal(generated(), before);
});

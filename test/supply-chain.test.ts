// What the packages are made of: every production dependency is locked to its bytes, under a licence that may be
// passed on, and runs nothing when it is installed. `npm audit --omit=dev` needs the network, and is run before
// a release (SECURITY.md).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { judgeAudit } from "../scripts/audit.ts";
import { makeSbom, partsOfServer } from "../scripts/sbom.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = <T>(file: string): T => JSON.parse(readFileSync(`${root}${file}`, "utf8")) as T;
const parts = partsOfServer();

// Those that ask for no more than their text to be passed on.
const ALLOWED = ["MIT", "ISC", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "0BSD"];

test("the parts of the server are its dependencies, and what npm installs of them without development", () => {
  const { dependencies } = read<{ dependencies: object }>("package.json");
  const names = parts.map(({ name }) => name);
  for (const name of Object.keys(dependencies)) assert.ok(names.includes(name), name);
  type Lock = {
    packages: Record<string, { dev?: boolean; devOptional?: boolean; link?: boolean }>;
  };
  const { packages } = read<Lock>("package-lock.json");
  const installed = Object.entries(packages).filter(
    ([path, { dev, devOptional, link }]) =>
      path.startsWith("node_modules/") && !dev && !devOptional && !link,
  );
  assert.deepEqual(
    parts.map(({ path }) => path),
    installed.map(([path]) => path).sort(),
  );
});

test("production dependencies have licences under which they may be passed on", () => {
  for (const { path, license = "none" } of parts) {
    const names = license.replace(/[()]/g, "").split(/ (?:AND|OR) /);
    assert.ok(
      names.every((name) => ALLOWED.includes(name)),
      `${path}: ${license}`,
    );
  }
});

test("production dependencies are locked to their bytes, and run nothing when they are installed", () => {
  for (const { path, integrity = "", hasInstallScript = false } of parts) {
    assert.match(integrity, /^sha512-/, path);
    assert.equal(hasInstallScript, false, path);
  }
});

test("the list of parts that a build adds names all of them, and is the same each time", () => {
  const text = makeSbom();
  assert.equal(text, makeSbom());
  const sbom = JSON.parse(text) as {
    bomFormat: string;
    metadata: { component: { purl: string } };
    components: { purl: string; hashes: { content: string }[] }[];
  };
  assert.equal(sbom.bomFormat, "CycloneDX");
  assert.match(sbom.metadata.component.purl, /^pkg:npm\/querator@/);
  assert.equal(sbom.components.length, parts.length);
  for (const { purl, hashes } of sbom.components) {
    assert.match(purl, /^pkg:npm\/[\w%./-]+@\d/);
    assert.match(hashes[0]!.content, /^[0-9a-f]{128}$/, purl);
  }
});

test("an audit fails for what is known, and not for a registry that cannot be asked", () => {
  const answer = (total: number, vulnerabilities: object) =>
    JSON.stringify({ vulnerabilities, metadata: { vulnerabilities: { total } } });
  assert.equal(judgeAudit(answer(0, {})).isOk, true);
  assert.deepEqual(judgeAudit(answer(1, { pg: { severity: "high" } })), {
    text: "pg, high",
    isOk: false,
  });
  for (const refused of ["", "no JSON", '{"message":"405 Method Not Allowed"}']) {
    const { text, isOk } = judgeAudit(refused);
    assert.match(text, /was not asked/);
    assert.ok(isOk);
  }
});

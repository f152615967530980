// `npm run build`: compiles the sources to dist/, which is what a published package runs. The client is
// built first, to client/dist. A copy of it goes to dist/client, and what imports `@querator/client` imports
// that: so the package of the server installs by itself, and its command line is always of one version. The app of the
// dashboard goes to dist/ui without its types. What the package is made of, by version and checksum, goes to
// dist/sbom.cdx.json.

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { toScript } from "../src/ui/code.ts";
import { buildClient, clientBuilt, compile } from "./build-client.ts";
import { makeSbom } from "./sbom.ts";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));

buildClient();
rmSync(dist, { recursive: true, force: true });
compile("tsconfig.build.json");

const IMPORT = /((?:\bfrom|\bimport) ?\(?)"@querator\/client"/g;
for (const file of readdirSync(dist, { recursive: true, encoding: "utf8" })) {
  const isCode = file.endsWith(".js");
  if (!isCode && !file.endsWith(".d.ts")) continue;
  const text = readFileSync(`${dist}${file}`, "utf8");
  const up = "../".repeat(file.split("/").length - 1) || "./";
  // Types are those of the project's own client, if it has one: see `imports` in package.json.
  const copy = isCode ? `${up}client/index.js` : "#client";
  const changed = text.replace(IMPORT, `$1"${copy}"`);
  if (changed !== text) writeFileSync(`${dist}${file}`, changed);
}
buildUi();
cpSync(clientBuilt, `${dist}client`, {
  recursive: true,
  filter: (path) => !/\/(package\.json|README\.md|LICENSE)$/.test(path),
});
writeFileSync(`${dist}sbom.cdx.json`, makeSbom());

/** The app of the dashboard as browsers load it, and the files that are served as they are. */
function buildUi(): void {
  const source = fileURLToPath(new URL("../src/ui/", import.meta.url));
  for (const file of readdirSync(`${source}app`, { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".ts")) continue;
    const path = `app/${file.slice(0, -3)}.js`;
    mkdirSync(dirname(`${dist}ui/${path}`), { recursive: true });
    writeFileSync(
      `${dist}ui/${path}`,
      toScript(readFileSync(`${source}app/${file}`, "utf8"), path),
    );
  }
  cpSync(`${source}static`, `${dist}ui/static`, { recursive: true });
}

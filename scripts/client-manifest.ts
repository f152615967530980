// `npm pack -w client` runs this before and after. In a clone the package.json of the client names its
// sources, so that everything runs without a build; npm packs it as it lies there, so for that moment it
// names what was built. Either step can be repeated, and mends what a pack that was cut off has left.

import { readFileSync, writeFileSync } from "node:fs";
import { buildClient, CLIENT_EXPORTS } from "./build-client.ts";

const file = new URL("../client/package.json", import.meta.url);
const [state] = process.argv.slice(2);

function name(exports: object): void {
  const manifest = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, `${JSON.stringify({ ...manifest, exports }, null, 2)}\n`);
}

if (state === "packed") {
  buildClient();
  name(CLIENT_EXPORTS.built("./dist/"));
} else if (state === "sources") {
  name(CLIENT_EXPORTS.sources);
} else {
  process.stderr.write("Usage: node scripts/client-manifest.ts packed|sources\n");
  process.exitCode = 2;
}

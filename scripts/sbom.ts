// The list of parts of the package, in the form of CycloneDX: every production dependency with its version, licence and
// checksum, from the lock file. `npm sbom` makes such a list too, but leaves out what development tools also
// ask for (`pg`, with npm 11.19); and it is another one each time.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const CLIENT = "node_modules/@querator/client";

interface Locked {
  readonly version: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** A production dependency, as the lock file has it. */
export interface Part extends Locked {
  readonly name: string;
  /** Where it is installed. */
  readonly path: string;
}

/** All that is installed with the server: what it depends on, what that depends on, and so on. */
export function partsOfServer(): readonly Part[] {
  const { packages } = JSON.parse(readFileSync(`${root}package-lock.json`, "utf8")) as {
    packages: Readonly<Record<string, Locked>>;
  };
  const found = new Map<string, Part>();
  const open = [""];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const { dependencies, optionalDependencies } = packages[path]!;
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const place = placeOf(name, path, packages);
      if (place === undefined || place === CLIENT || found.has(place)) continue;
      found.set(place, { ...packages[place]!, name, path: place });
      open.push(place);
    }
  }
  return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

// As node looks for it: beside what asks for it, or above.
function placeOf(
  name: string,
  from: string,
  packages: Readonly<Record<string, Locked>>,
): string | undefined {
  for (
    let at = from;
    at !== "";
    at = at.slice(0, Math.max(0, at.lastIndexOf("node_modules/") - 1))
  ) {
    if (`${at}/node_modules/${name}` in packages) return `${at}/node_modules/${name}`;
  }
  return `node_modules/${name}` in packages ? `node_modules/${name}` : undefined;
}

/** The list, as a text. */
export function makeSbom(): string {
  const own = JSON.parse(readFileSync(`${root}package.json`, "utf8")) as {
    readonly name: string;
    readonly version: string;
    readonly license: string;
  };
  const parts = partsOfServer();
  const sbom = {
    $schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: { component: componentOf({ ...own, path: "" }) },
    components: parts.map(componentOf),
  };
  return `${JSON.stringify(sbom, undefined, 2)}\n`;
}

function componentOf({ name, version, license = "", integrity }: Part) {
  const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
  const isOne = /^[\w.-]+$/.test(license);
  return {
    "bom-ref": `${name}@${version}`,
    type: "library",
    name,
    version,
    purl,
    licenses: [isOne ? { license: { id: license } } : { expression: license }],
    ...(integrity === undefined ? {} : { hashes: hashesOf(integrity) }),
  };
}

function hashesOf(integrity: string): readonly { alg: string; content: string }[] {
  const [, text = ""] = /^sha512-(\S+)/.exec(integrity) ?? [];
  return [{ alg: "SHA-512", content: Buffer.from(text, "base64").toString("hex") }];
}

// The files of the dashboard as they are sent: the app's scripts, the libraries that they import, the style
// sheet, the page. From sources the types are stripped when a file is asked for; a package holds them
// stripped. Everything is made once, and nothing is read that is not in the table.

import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { importsOf, LIBRARIES, toLibrary, toScript, toStyle } from "./code.ts";

/** A file as it is sent. */
export interface Asset {
  readonly bytes: Uint8Array;
  /** The Content-Type, with its charset. */
  readonly type: string;
  /** Strong, and quoted. */
  readonly etag: string;
  /** Left out where they would not be smaller. */
  readonly brotli: Uint8Array | undefined;
  readonly gzip: Uint8Array | undefined;
}

/** The files of the dashboard, by their paths below /ui/. */
export interface Assets {
  /** The file of this path, or undefined if there is none; "" is the page. Any text may be asked for. */
  find(path: string): Promise<Asset | undefined>;
  /** Every path, in order. */
  readonly paths: readonly string[];
}

const PAGE = "index.html";
const MAIN = "app/main.js";
const PRELOADS = "<!-- preloads -->";

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

const compressBrotli = promisify(brotliCompress);
const compressGzip = promisify(gzip);
const require = createRequire(import.meta.url);

/** Which files there are. They are read and compressed at the first request for each. */
export function loadAssets(): Assets {
  const sources = new Map<string, () => Promise<string>>();
  const made = new Map<string, Promise<Asset>>();
  const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";

  const app = fileURLToPath(new URL("./app/", import.meta.url));
  for (const file of readdirSync(app, { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(extension) || file.endsWith(".d.ts")) continue;
    const path = `app/${file.replaceAll("\\", "/").slice(0, -3)}.js`;
    sources.set(path, async () => {
      const text = await readFile(`${app}${file}`, "utf8");
      return extension === ".ts" ? toScript(text, path) : text;
    });
  }
  for (const [name, path] of Object.entries(LIBRARIES)) {
    sources.set(path, async () => toLibrary(await readFile(libraryFile(name), "utf8"), path));
  }
  const fixed = fileURLToPath(new URL("./static/", import.meta.url));
  for (const file of readdirSync(fixed)) {
    const isStyle = file.endsWith(".css");
    sources.set(file, async () => {
      const text = await readFile(`${fixed}${file}`, "utf8");
      return isStyle ? toStyle(text) : text;
    });
  }
  const page = sources.get(PAGE)!;
  sources.set(PAGE, async () => (await page()).replace(PRELOADS, await preloads(sources)));

  return {
    paths: [...sources.keys()].sort(),
    async find(asked) {
      const path = asked === "" ? PAGE : asked;
      const source = sources.get(path);
      if (source === undefined) return undefined;
      let asset = made.get(path);
      if (asset === undefined) {
        asset = source().then((text) => makeAsset(path, text));
        made.set(path, asset);
        asset.catch(() => made.delete(path));
      }
      return asset;
    },
  };
}

/** Names in the page all that its script comes to import, so that a browser asks for it at once. */
async function preloads(sources: ReadonlyMap<string, () => Promise<string>>): Promise<string> {
  const seen = new Set([MAIN]);
  for (const path of seen) {
    for (const next of importsOf(await sources.get(path)!(), path)) seen.add(next);
  }
  return [...seen].map((path) => `<link rel="modulepreload" href="${path}">`).join("\n");
}

/** The file of a library: its ES module, as small as it is published. */
function libraryFile(name: string): string {
  if (name === "uplot") return require.resolve("uplot/dist/uPlot.iife.min.js");
  if (name === "htm") return fileURLToPath(import.meta.resolve("htm"));
  // Its build for browsers is minified as the others are.
  return fileURLToPath(import.meta.resolve(name)).replace(
    /(signals(-core)?)\.mjs$/,
    "$1.module.js",
  );
}

async function makeAsset(path: string, text: string): Promise<Asset> {
  const bytes = Buffer.from(text);
  const [brotli, gzipped] = await Promise.all([
    compressBrotli(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }),
    compressGzip(bytes, { level: 9 }),
  ]);
  const hash = createHash("sha256").update(bytes).digest("base64url").slice(0, 22);
  return {
    bytes,
    type: TYPES[path.split(".").at(-1)!] ?? "application/octet-stream",
    etag: `"${hash}"`,
    brotli: brotli.length < bytes.length ? brotli : undefined,
    gzip: gzipped.length < bytes.length ? gzipped : undefined,
  };
}

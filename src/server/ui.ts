// The dashboard as it is served: what a browser may do with it, and for how long it may keep what. Its files are those of
// ui/assets.ts. All links in it are relative, so it works under whatever path a proxy serves it. The page refers to its
// files by a path that changes with them, and below which they never do.

import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Page, PageReply } from "../http/edge.ts";
import { SYSTEM_NAMESPACE } from "../registry/names.ts";
import type { Asset, Assets } from "../ui/assets.ts";
import { VERSION } from "../version.ts";

// Nothing but what this server has, and in no frame. What scripts and styles do is said by files, never inline.
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const HEADERS: Readonly<Record<string, string>> = {
  "Content-Security-Policy": POLICY,
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
  "Referrer-Policy": "no-referrer",
  "X-Frame-Options": "DENY",
};

const TEXT = "text/plain; charset=utf-8";
const FOR_EVER = "public, max-age=31536000, immutable";

// A file of the page, relative to it.
const LINK = /(\b(?:src|href)=")(?:\.\/)?(?![/~#.]|\w+:)/g;

/** What the dashboard has to know of its server before anybody has signed in. */
export interface UiFacts {
  readonly isReadOnly: boolean;
  /** Whether callers show keys. */
  readonly hasKeys: boolean;
}

/** The pages below /ui. */
export class UiPages {
  readonly #facts: UiFacts;
  // Loaded and read when somebody comes, for most servers are never looked at.
  #assets: Promise<Assets> | undefined;
  #mark: Promise<string> | undefined;

  constructor(facts: UiFacts) {
    this.#facts = facts;
  }

  /** The page of a path; undefined of one that is not below /ui. */
  get(path: string): Page | undefined {
    if (path === "/ui") return { handle: () => moved("ui/") };
    if (!path.startsWith("/ui/")) return undefined;
    return { handle: (request) => this.#reply(path.slice("/ui/".length), request) };
  }

  async #reply(path: string, request: IncomingMessage): Promise<PageReply> {
    if (path === "config.json") return this.#config();
    const assets = await this.#load();
    const [, mark, rest] = /^~([\w-]+)\/(.+)$/.exec(path) ?? [];
    const asset = await assets.find(rest ?? path);
    if (asset === undefined) {
      return { status: 404, type: TEXT, body: "There is no such file.\n", headers: HEADERS };
    }
    if (asset.type.startsWith("text/html")) return this.#page(asset, assets);
    const isKept = mark !== undefined && mark === (await this.#markOf(assets));
    return send(asset, request, isKept ? FOR_EVER : "no-cache");
  }

  #load(): Promise<Assets> {
    this.#assets ??= import("../ui/assets.ts").then(({ loadAssets }) => loadAssets());
    return this.#assets;
  }

  // Asked for anew each time; it is small.
  async #page({ bytes, type }: Asset, assets: Assets): Promise<PageReply> {
    const mark = await this.#markOf(assets);
    const body = Buffer.from(bytes).toString().replace(LINK, `$1~${mark}/`);
    return { status: 200, type, body, headers: { ...HEADERS, "Cache-Control": "no-cache" } };
  }

  // Another one whenever any of the files is another.
  #markOf(assets: Assets): Promise<string> {
    this.#mark ??= (async () => {
      const found = await Promise.all(assets.paths.map((path) => assets.find(path)));
      const tags = found.map((asset) => asset?.etag ?? "").join();
      return createHash("sha256").update(tags).digest("base64url").slice(0, 12);
    })();
    return this.#mark;
  }

  #config(): PageReply {
    const { isReadOnly, hasKeys } = this.#facts;
    const body = JSON.stringify({
      version: VERSION,
      readOnly: isReadOnly,
      auth: hasKeys,
      namespaceDefault: SYSTEM_NAMESPACE,
    });
    const headers = { ...HEADERS, "Cache-Control": "no-store" };
    return { status: 200, type: "application/json", body, headers };
  }
}

function send(asset: Asset, request: IncomingMessage, caching: string): PageReply {
  const { type, bytes, etag, brotli, gzip } = asset;
  const headers = { ...HEADERS, "Cache-Control": caching, Vary: "Accept-Encoding" };
  const codings = acceptedCodings(request);
  const [coding, body] =
    brotli !== undefined && codings.has("br")
      ? (["br", brotli] as const)
      : gzip !== undefined && codings.has("gzip")
        ? (["gzip", gzip] as const)
        : (["", bytes] as const);
  // What is compressed otherwise is another form of it, and so has another tag.
  const tag = coding === "" ? etag : etag.replace(/"$/, `-${coding}"`);
  const tagged = { ...headers, ETag: tag };
  if (isKnown(request, tag)) return { status: 304, type, body: "", headers: tagged };
  const coded = coding === "" ? tagged : { ...tagged, "Content-Encoding": coding };
  return { status: 200, type, body, headers: coded };
}

function acceptedCodings({ headers }: IncomingMessage): ReadonlySet<string> {
  const given = String(headers["accept-encoding"] ?? "").toLowerCase();
  const wanted = given.split(",").filter((each) => !/;\s*q=0(\.0*)?\s*$/.test(each));
  return new Set(wanted.map((each) => each.split(";")[0]!.trim()));
}

// A proxy may have made a weak tag of it.
function isKnown({ headers }: IncomingMessage, etag: string): boolean {
  const known = String(headers["if-none-match"] ?? "").split(",");
  return known.some((each) => each.trim().replace(/^W\//, "") === etag);
}

function moved(location: string): PageReply {
  const headers = { ...HEADERS, Location: location };
  return { status: 302, type: TEXT, body: `See ${location} for the dashboard.\n`, headers };
}

// Where the server is, and what is sent with every request: what a client is told of it is checked when it is made.

import type { ClientOptions } from "./client-options.ts";
import { InvalidRequestError } from "./errors.ts";
import { isUnix } from "./transport.ts";

/** The addresses of the server; throws an InvalidRequestError if there is none, or one that is none. */
export function urlsOf({ url, urls }: ClientOptions): readonly URL[] {
  if (urls === undefined) return [parseUrl(url, "url")];
  if (url !== undefined) throw new InvalidRequestError("invalid", "give either url or urls");
  if (!Array.isArray(urls) || urls.length === 0) {
    throw new InvalidRequestError("invalid", "urls is invalid; it must be a list of one or more");
  }
  return urls.map((each: string | URL, i) => parseUrl(each, `urls[${i}]`));
}

function parseUrl(url: string | URL | undefined, what: string): URL {
  const parsed = url !== undefined && URL.canParse(url) ? new URL(url) : undefined;
  if (parsed !== undefined && isServer(parsed)) return parsed;
  const text = `${what} is invalid; got '${url}', use a form such as 'http://localhost:2319'`;
  throw new InvalidRequestError("invalid", text);
}

function isServer(url: URL): boolean {
  if (isUnix(url)) return url.host === "" && url.pathname.startsWith("/");
  return /^https?:$/.test(url.protocol);
}

// They would say where a request ends, or what becomes of its connection.
const OF_A_CONNECTION =
  /^(connection|content-length|expect|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade)$/i;

/** Throws an InvalidRequestError if some header cannot be sent. Found out now, and not with every call. */
export function checkHeaders(headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) {
      const text = `headers is invalid; '${name}' cannot be the name of a header`;
      throw new InvalidRequestError("invalid", text);
    }
    if (OF_A_CONNECTION.test(name)) {
      const text = `headers is invalid; '${name}' is about the connection, which is the client's own`;
      throw new InvalidRequestError("invalid", text);
    }
    if (/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) continue;
    const what = name === "key" ? "key" : `headers['${name}']`;
    const text = `${what} is invalid; it holds characters that a header cannot carry`;
    throw new InvalidRequestError("invalid", text);
  }
}

// What is read with GET beside the API: the OpenAPI document, and the same as a page, to which the root
// leads. Both are made when first asked for, and kept: they depend on nothing but the endpoints. Only the
// commands on the page have the address that its reader came by, which is checked before it is shown
// (address.ts).

import type { ServerResponse } from "node:http";
import { addressOf } from "../http/address.ts";
import type { SendPage } from "../http/server.ts";
import { ADDRESS_MARK, DOCS_POLICY, makeDocsPage } from "./docs/page.ts";
import { asOpenApi30, makeOpenApi, type OpenApiSource } from "./openapi/document.ts";

/** The pages of a server. */
export function makePages(source: OpenApiSource): SendPage {
  const makers: Readonly<Record<string, () => string>> = {
    "/openapi.json": () => JSON.stringify(makeOpenApi(source), undefined, 2),
    "/openapi-3.0.json": () => JSON.stringify(asOpenApi30(makeOpenApi(source)), undefined, 2),
    "/docs": () => makeDocsPage(makeOpenApi(source)),
  };
  const made = new Map<string, string>();
  return (path, response) => {
    if (Object.hasOwn(MOVED, path)) {
      sendTo(MOVED[path]!, response);
      return true;
    }
    if (!Object.hasOwn(makers, path)) return false;
    const text = made.get(path) ?? makers[path]!();
    made.set(path, text);
    const isPage = path === "/docs";
    const address = isPage ? addressOf(response.req) : "";
    const body = Buffer.from(isPage ? text.replaceAll(ADDRESS_MARK, address) : text);
    response.writeHead(200, {
      "Content-Type": isPage ? "text/html; charset=utf-8" : CONTENT_TYPE_JSON,
      "Content-Length": body.length,
      "X-Content-Type-Options": "nosniff",
      // What the page shows is for the one who asked; nobody else is to be given it.
      ...(isPage && { "Content-Security-Policy": DOCS_POLICY, "Cache-Control": "no-store" }),
    });
    response.end(body);
    return true;
  };
}

// Relative, for a proxy may serve all of this under a path of its own.
const MOVED: Readonly<Record<string, string>> = { "/": "docs", "/docs/": "../docs" };

function sendTo(location: string, response: ServerResponse): void {
  const body = `See ${location} for what this server can do.\n`;
  response.writeHead(302, {
    Location: location,
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": body.length,
    "X-Content-Type-Options": "nosniff",
  });
  response.end(body);
}

const CONTENT_TYPE_JSON = "application/json";

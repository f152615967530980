// What is read with GET beside the API: the OpenAPI document, and the same as a page. Both are made
// when first asked for, and kept: they depend on nothing but the endpoints.

import type { ServerResponse } from "node:http";
import { DOCS_POLICY, makeDocsPage } from "./docs-page.ts";
import { makeOpenApi, type OpenApiSource } from "./openapi.ts";

/** Sends the page of a path; false if there is none. */
export type SendPage = (path: string, response: ServerResponse) => boolean;

/** The pages of a server. */
export function makePages(source: OpenApiSource): SendPage {
  const makers: Readonly<Record<string, () => string>> = {
    "/openapi.json": () => JSON.stringify(makeOpenApi(source), undefined, 2),
    "/docs": () => makeDocsPage(makeOpenApi(source)),
  };
  const made = new Map<string, Buffer>();
  return (path, response) => {
    if (!Object.hasOwn(makers, path)) return false;
    const body = made.get(path) ?? Buffer.from(makers[path]!());
    made.set(path, body);
    const isPage = path === "/docs";
    response.writeHead(200, {
      "Content-Type": isPage ? "text/html; charset=utf-8" : CONTENT_TYPE_JSON,
      "Content-Length": body.length,
      "X-Content-Type-Options": "nosniff",
      ...(isPage && { "Content-Security-Policy": DOCS_POLICY }),
    });
    response.end(body);
    return true;
  };
}

const CONTENT_TYPE_JSON = "application/json";

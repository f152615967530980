// What is read with GET beside the API: a row for each page, the state of the server, the OpenAPI document,
// and the same as a page, to which the root leads. The documents are made when first asked for, and kept:
// they depend on nothing but the endpoints. Only the commands on the page have the address that its reader
// came by, which is checked before it is shown (address.ts).

import { type Permission, SYSTEM_NAMESPACE } from "../auth/permissions.ts";
import { addressOf } from "../http/address.ts";
import type { Page, PageReply } from "../http/edge.ts";
import { ADDRESS_MARK, DOCS_POLICY, makeDocsPage } from "./docs/page.ts";
import { type MetricsSource, metricsPages } from "./metrics.ts";
import { asOpenApi30, makeOpenApi, type OpenApiSource } from "./openapi/document.ts";

/** Whether storage answers, and whether the server still takes work. */
export interface Health {
  readonly pass: boolean;
  /** All that is told to who may not know more. */
  readonly status: "pass" | "warn" | "fail";
  readonly body: string;
}

/** A page as it is served. */
export interface PageRow extends Page {
  readonly path: string;
  /** What its reader must be allowed to do; `none` of what tells nothing of queues. */
  readonly permission: Permission | "none";
  /** Whether it is also for those who run the server, at an address of their own. */
  readonly isOfAdmin?: true;
}

export interface PagesSource extends OpenApiSource {
  readonly metrics: MetricsSource;
  readonly health: () => Promise<Health>;
}

/** The pages of a server, by path. */
export function makePages(source: PagesSource): ReadonlyMap<string, PageRow> {
  const documents = new Documents(source);
  const rows: readonly PageRow[] = [
    {
      path: "/health",
      permission: "none",
      isOfAdmin: true,
      async handle(_, reader) {
        const { pass, status, body } = await source.health();
        // What works and what does not is nobody's business who may not know of it.
        const mayRead = reader?.may("system.health", SYSTEM_NAMESPACE) === true;
        const told = mayRead ? body : JSON.stringify({ status });
        return { status: pass ? 200 : 503, type: "application/health+json", body: told };
      },
    },
    ...metricsPages(source.metrics),
    {
      path: "/openapi.json",
      permission: "none",
      handle: () => documents.read("3.1"),
    },
    {
      path: "/openapi-3.0.json",
      permission: "none",
      handle: () => documents.read("3.0"),
    },
    {
      path: "/docs",
      permission: "none",
      handle: (request) => documents.show(addressOf(request)),
    },
    // Relative, for a proxy may serve all of this under a path of its own.
    moved("/", "docs"),
    moved("/docs/", "../docs"),
  ];
  return new Map(rows.map((row) => [row.path, row]));
}

class Documents {
  readonly #makers: Readonly<Record<"3.1" | "3.0" | "page", () => string>>;
  readonly #made = new Map<string, string>();

  constructor(source: OpenApiSource) {
    this.#makers = {
      "3.1": () => JSON.stringify(makeOpenApi(source), undefined, 2),
      "3.0": () => JSON.stringify(asOpenApi30(makeOpenApi(source)), undefined, 2),
      page: () => makeDocsPage(makeOpenApi(source)),
    };
  }

  #text(which: "3.1" | "3.0" | "page"): string {
    const text = this.#made.get(which) ?? this.#makers[which]();
    this.#made.set(which, text);
    return text;
  }

  read(version: "3.1" | "3.0"): PageReply {
    return { status: 200, type: "application/json", body: Buffer.from(this.#text(version)) };
  }

  show(address: string): PageReply {
    return {
      status: 200,
      type: "text/html; charset=utf-8",
      body: Buffer.from(this.#text("page").replaceAll(ADDRESS_MARK, address)),
      // What the page shows is for the one who asked; nobody else is to be given it.
      headers: { "Content-Security-Policy": DOCS_POLICY, "Cache-Control": "no-store" },
    };
  }
}

function moved(path: string, location: string): PageRow {
  const reply: PageReply = {
    status: 302,
    type: "text/plain; charset=utf-8",
    body: `See ${location} for what this server can do.\n`,
    headers: { Location: location },
  };
  return { path, permission: "none", handle: () => reply };
}

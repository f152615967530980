// The pages that Prometheus reads: who may read which of them, and what is asked for. What they say is made by
// whoever has the numbers (server/metrics.ts).

import type { IncomingMessage } from "node:http";
import { SYSTEM_NAMESPACE } from "../auth/permissions.ts";
import { ANYONE, denied, type Principal } from "../auth/principal.ts";
import { ANONYMOUS, refused } from "../auth/state.ts";
import { invalidField } from "../errors.ts";
import type { PageReply } from "../http/edge.ts";
import { CONTENT_TYPES, type Form } from "../observe/exposition.ts";
import { checkNamespace } from "../registry/names.ts";
import type { PageRow } from "./pages.ts";

/** How many queues are told by themselves, if it is not said; and how many may be asked for. */
export const TOP_DEFAULT = 100;
export const TOP_MAX = 1_000;

/** What is asked for, in plain data. */
export interface MetricsRequest {
  readonly of: "server" | "queues";
  readonly form: Form;
  /** At most so many queues. */
  readonly top: number;
  /** Of these namespaces; undefined of all. */
  readonly namespaces: readonly string[] | undefined;
}

/** Answers the exposition. */
export type MetricsSource = (request: MetricsRequest) => Promise<string>;

/** The pages. */
export function metricsPages(metrics: MetricsSource): readonly PageRow[] {
  return [
    {
      path: "/metrics",
      permission: "system.metrics",
      isOfAdmin: true,
      async handle(request, reader) {
        checkReader(reader, ({ scope }) => {
          const isWhole = scope === "" || scope === SYSTEM_NAMESPACE;
          const may = (name: "system.metrics" | "metrics.read"): boolean =>
            reader!.may(name, SYSTEM_NAMESPACE);
          return isWhole && (may("system.metrics") || may("metrics.read"));
        });
        queryOf(request, []);
        const form = formOf(request);
        const namespaces = namespacesOf(reader!);
        return reply(form, await metrics({ of: "server", form, top: 0, namespaces }));
      },
    },
    {
      path: "/metrics/queues",
      permission: "metrics.read",
      isOfAdmin: true,
      async handle(request, reader) {
        checkReader(reader, () => true);
        const query = queryOf(request, ["namespace", "top"]);
        const namespace = query.get("namespace");
        if (namespace !== null) checkNamespace(namespace);
        checkReader(reader, (known) => {
          if (namespace !== null) return mayRead(known, namespace);
          return namespacesOf(known)?.length !== 0;
        });
        const form = formOf(request);
        const namespaces = namespace === null ? namespacesOf(reader!) : [namespace];
        const top = topOf(query.get("top"));
        return reply(form, await metrics({ of: "queues", form, top, namespaces }));
      },
    },
  ];
}

function reply(form: Form, body: string): PageReply {
  return { status: 200, type: CONTENT_TYPES[form], body: Buffer.from(body) };
}

// Who has shown no key, or a wrong one, is asked for one.
function checkReader(reader: Principal | undefined, may: (reader: Principal) => boolean): void {
  if (reader === undefined) throw refused("api key does not exist");
  if (may(reader)) return;
  if (reader.userId === ANONYMOUS) {
    throw refused("authentication required; send Authorization: Bearer KEY");
  }
  throw denied();
}

// A key of one namespace is for that one and for nothing else, as under /v2.
function mayRead(reader: Principal, namespace: string): boolean {
  const { scope } = reader;
  return (scope === "" || scope === namespace) && reader.may("metrics.read", namespace);
}

// Of which namespaces queues may be told; undefined of all.
function namespacesOf(reader: Principal): readonly string[] | undefined {
  if (reader === ANYONE) return undefined;
  const { scope, grants } = reader;
  if (scope === "" && reader.may("metrics.read", SYSTEM_NAMESPACE)) return undefined;
  const known = scope === "" ? [...grants.keys()] : [scope];
  return known.filter((namespace) => mayRead(reader, namespace));
}

function queryOf({ url = "" }: IncomingMessage, allowed: readonly string[]): URLSearchParams {
  const start = url.indexOf("?");
  const query = new URLSearchParams(start === -1 ? "" : url.slice(start));
  for (const name of query.keys()) {
    if (!allowed.includes(name) || query.getAll(name).length > 1) {
      const those = allowed.length === 0 ? "none is" : `${allowed.join(" and ")}, once each, are`;
      throw invalidField("query", `query parameters are invalid; ${those} allowed`);
    }
  }
  return query;
}

function topOf(text: string | null): number {
  if (text === null) return TOP_DEFAULT;
  const top = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (top >= 1 && top <= TOP_MAX) return top;
  throw invalidField("top", `top is invalid; must be a number from 1 to ${TOP_MAX}`);
}

function formOf({ headers }: IncomingMessage): Form {
  return headers.accept?.includes("application/openmetrics-text") === true ? "openmetrics" : "text";
}

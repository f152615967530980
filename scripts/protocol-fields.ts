// The fields of every request and reply in docs/PROTOCOL.md, made from the OpenAPI document that a
// server with the usual limits serves, its table of errors, made from their catalogue, and those of permissions,
// made from the rows of the endpoints:
// `node scripts/protocol-fields.ts` writes them anew. Everything around them is written by hand.

import { readFileSync, writeFileSync } from "node:fs";
import type { DescMessage } from "@bufbuild/protobuf";
import { bounds, resolve, type Schema } from "../src/api/docs/fields.ts";
import type { Row } from "../src/api/endpoint.ts";
import { makeOpenApi } from "../src/api/openapi/document.ts";
import { makeEndpoints } from "../src/api/routes.ts";
import type { Service } from "../src/api/service.ts";
import { PERMISSIONS, STANDARD_ROLES } from "../src/auth/permissions.ts";
import { detailNames, ERROR_KINDS, ERRORS } from "../src/errors.ts";
import { formatSize } from "../src/http/body.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";

const FILE = new URL("../docs/PROTOCOL.md", import.meta.url);
const ERROR_BLOCK = /(<!-- errors -->\n).*(<!-- end of the errors -->)/s;
const PERMISSION_BLOCK = /(<!-- permissions -->\n).*(<!-- end of the permissions -->)/s;
const BLOCK = /(<!-- fields -->\n).*(<!-- end of the fields -->)/s;

interface Body {
  readonly content: { readonly "application/json": { readonly schema: Schema } };
}

interface Document {
  readonly paths: Readonly<
    Record<
      string,
      {
        readonly post?: {
          readonly requestBody: Body;
          readonly responses: { readonly 200: Body };
        };
      }
    >
  >;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

/** The document as it should be. */
export function withFields(document: string): string {
  return document.replace(BLOCK, (_, start: string, end: string) =>
    [start, ...sections().map((section) => `\n${section}`), `\n${end}`].join(""),
  );
}

/** The same of errors. */
export function withErrors(document: string): string {
  const rows = Object.entries(ERRORS).map(([code, { kind, status, retryable, text }]) => {
    const details = detailNames(text).map((name) => `\`${name}\``);
    const shown = text === "{detail}" ? "" : `\`${text}\``;
    return `| \`${code}\` | ${ERROR_KINDS[kind].status} | ${status} | ${retryable ? "yes" : "no"} | ${details.join(", ")} | ${shown} |`;
  });
  const head =
    "| code | `/v1` | `/v2` | retry as it is under `/v2` | details | text |\n|---|---|---|---|---|---|";
  return document.replace(ERROR_BLOCK, (_, start: string, end: string) =>
    [start, head, ...rows.map((row) => `\n${row}`), `\n${end}`].join(""),
  );
}

/** The same of permissions: what each call needs, and which of the standard roles allow it. */
export function withPermissions(document: string): string {
  const calls = [...makeEndpoints({ limits: DEFAULT_LIMITS } as Service).values()].map(
    ({ row }) => {
      const own = "request" in row ? (row as Row<DescMessage>) : undefined;
      const also = own?.alsoNeeds === undefined ? "" : ` and \`${own.alsoNeeds}\``;
      return `| \`${row.permission}\`${also} | \`${row.path}\` | ${placeOf(own)} |`;
    },
  );
  const names = Object.keys(STANDARD_ROLES);
  const roles = PERMISSIONS.map((permission) => {
    const marks = names.map((name) => (STANDARD_ROLES[name]!.includes(permission) ? "x" : ""));
    return `| \`${permission}\` | ${marks.join(" | ")} |`;
  });
  const lines = [
    "| permission | needed by | in |",
    "|---|---|---|",
    ...calls,
    "",
    `| permission | ${names.join(" | ")} |`,
    `|---|${names.map(() => "---").join("|")}|`,
    ...roles,
  ];
  return document.replace(PERMISSION_BLOCK, (_, start: string, end: string) =>
    [start, lines.join("\n"), `\n${end}`].join(""),
  );
}

function placeOf(row: Row<DescMessage> | undefined): string {
  if (row?.isOfServer === true) return "`_system`";
  if (row?.namespaceOf !== undefined) return "the namespace that it names";
  if (row?.isOfItem === true) return "the namespace of the item";
  return "the namespace of the queue";
}

function sections(): string[] {
  const endpoints = makeEndpoints({ limits: DEFAULT_LIMITS } as Service);
  const { paths, components } = makeOpenApi({ endpoints, formatSize }) as object as Document;
  // Calls that take and answer the same are told of once.
  const groups = new Map<string, { paths: string[]; request: Schema; reply: Schema }>();
  for (const [path, { post }] of Object.entries(paths)) {
    if (post === undefined) continue;
    const request = post.requestBody.content["application/json"].schema;
    const reply = post.responses[200].content["application/json"].schema;
    const key = `${request.$ref} ${reply.$ref}`;
    const group = groups.get(key) ?? { paths: [], request, reply };
    groups.set(key, group);
    group.paths.push(path);
  }
  return [...groups.values()].map(({ paths, request, reply }) => {
    const answer = reply.$ref?.endsWith("/Reply")
      ? 'Answers `{"code": 200}`.\n'
      : table("reply", reply, components.schemas);
    const title = paths.map((path) => `\`${path}\``).join(", ");
    return `### ${title}\n\n${table("request", request, components.schemas)}\n${answer}`;
  });
}

function table(
  what: "request" | "reply",
  schema: Schema,
  schemas: Document["components"]["schemas"],
) {
  const mark = what === "request" ? "required" : "always";
  const rows = [...rowsOf(schema, schemas, mark)];
  return `| ${what} | type | meaning |\n|---|---|---|\n${rows.join("\n")}\n`;
}

// The fields of what a list holds come behind it.
function* rowsOf(
  schema: Schema,
  schemas: Document["components"]["schemas"],
  mark: string,
  before = "",
): Iterable<string> {
  const { properties = {}, required = [] } = resolve(schema, schemas);
  for (const [name, field] of Object.entries(properties)) {
    const path = `${before}${name}${field.items === undefined ? "" : "[]"}`;
    const notes = [typeOf(field), bounds(field), required.includes(name) ? `**${mark}**` : ""];
    const text = (field.description ?? "").replaceAll("|", "\\|");
    yield `| \`${path}\` | ${notes.filter((note) => note !== "").join(", ")} | ${text} |`;
    const inner = field.items ?? field;
    if (inner.$ref !== undefined) yield* rowsOf(inner, schemas, mark, `${path}.`);
  }
}

function typeOf({ $ref, type, format, items }: Schema): string {
  if (items !== undefined) return items.$ref === undefined ? `list of ${typeOf(items)}` : "list";
  if ($ref !== undefined) return "object";
  if (format === "date-time") return "time";
  if (format === "byte") return "base64";
  return type === "string" ? "text" : (type ?? "anything");
}

if (import.meta.main)
  writeFileSync(FILE, withPermissions(withErrors(withFields(readFileSync(FILE, "utf8")))));

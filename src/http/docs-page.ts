// The OpenAPI document as one HTML page: no scripts, nothing from elsewhere, one style sheet whose
// hash the policy names. Every text is escaped; nothing of a request is ever shown.

import { createHash } from "node:crypto";

interface Media {
  readonly schema?: unknown;
  readonly example?: unknown;
}

interface Response {
  readonly $ref?: string;
  readonly description?: string;
  readonly content?: Readonly<Record<string, Media>>;
}

interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description?: string;
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<Record<string, Response>>;
}

interface Document {
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, unknown>>;
    readonly responses: Readonly<Record<string, Response>>;
  };
}

const STYLE = `:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:0 auto;padding:1rem}
pre{overflow-x:auto;padding:.7rem;border:1px solid #8886;border-radius:4px}
h3{margin-top:2.5rem;border-top:1px solid #8886;padding-top:1rem}
td,th{text-align:left;vertical-align:top;padding:.1rem 1rem .1rem 0}`;

/** What the page may load and run: its style sheet, and nothing else. */
export const DOCS_POLICY = `default-src 'none'; style-src 'sha256-${createHash("sha256")
  .update(STYLE)
  .digest("base64")}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

/** The page. */
export function makeDocsPage(openApi: object): string {
  const document = openApi as Document;
  const { info, tags, paths, components } = document;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const groups = tags.map(({ name }) => ({
    name,
    members: operations.filter(({ operation }) => operation.tags.includes(name)),
  }));
  const contents = groups
    .map(({ name, members }) => `<li>${escapeHtml(name)}: ${members.map(link).join(", ")}</li>`)
    .join("\n");
  const sections = groups
    .map(({ name, members }) => `<h2>${escapeHtml(name)}</h2>\n${members.map(section).join("\n")}`)
    .join("\n");
  const schemas = Object.entries(components.schemas)
    .map(
      ([name, schema]) =>
        `<h3 id="schema-${escapeHtml(name)}">${escapeHtml(name)}</h3>${code(schema)}`,
    )
    .join("\n");
  const errors = Object.entries(components.responses)
    .map(
      ([name, error]) =>
        `<h3 id="error-${escapeHtml(name)}">${escapeHtml(name)}</h3>${code(error)}`,
    )
    .join("\n");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(info.title)} API</title>
<meta name="viewport" content="width=device-width"><style>${STYLE}</style></head><body>
<h1>${escapeHtml(info.title)} ${escapeHtml(info.version)}</h1>
<p>${escapeHtml(info.description)} For programs: <a href="/openapi.json">openapi.json</a>.</p>
<ul>
${contents}
<li><a href="#errors">errors</a>, <a href="#messages">messages</a></li>
</ul>
${sections}
<h2 id="errors">errors</h2>
${errors}
<h2 id="messages">messages</h2>
${schemas}
</body></html>
`;
}

interface Entry {
  readonly path: string;
  readonly method: string;
  readonly operation: Operation;
}

function link({ operation: { operationId: id } }: Entry): string {
  return `<a href="#${escapeHtml(id)}">${escapeHtml(id)}</a>`;
}

function section({ path, method, operation }: Entry): string {
  const { operationId: id, summary, description = "", requestBody, responses } = operation;
  const media = requestBody?.content["application/json"];
  const command =
    media === undefined
      ? `curl localhost:2319${path}`
      : `curl localhost:2319${path} -d '${JSON.stringify(media.example)}'`;
  const request = media === undefined ? "" : `<p>Request:</p>${code(media.schema)}`;
  const rows = Object.entries(responses).map(([status, { $ref, description, content }]) => {
    const name = $ref?.split("/").at(-1);
    const text =
      name === undefined
        ? `${escapeHtml(description ?? "")} ${links(content?.["application/json"]?.schema)}`
        : `<a href="#error-${escapeHtml(name)}">${escapeHtml(name)}</a>`;
    return `<tr><td>${escapeHtml(status)}</td><td>${text}</td></tr>`;
  });
  return `<h3 id="${escapeHtml(id)}">${method.toUpperCase()} ${escapeHtml(path)}</h3>
<p>${escapeHtml(summary)} ${escapeHtml(description)}</p>
<pre>${escapeHtml(command)}</pre>
${request}
<table><tr><th>Status</th><th>Answer</th></tr>${rows.join("")}</table>`;
}

function code(value: unknown): string {
  return `<pre>${links(value)}</pre>`;
}

// A value as JSON in which the names of messages are links.
function links(value: unknown): string {
  if (value === undefined) return "";
  return escapeHtml(JSON.stringify(value, undefined, 1)).replace(
    /#\/components\/schemas\/(\w+)/g,
    '<a href="#schema-$1">$1</a>',
  );
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]!);
}

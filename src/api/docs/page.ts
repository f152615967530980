// The OpenAPI document as one HTML page: no scripts, nothing from elsewhere, one style sheet whose
// hash the policy names. Every text is escaped; nothing of a request is ever shown. How schemas are
// shown is in fields.ts.

import { createHash } from "node:crypto";
import { ERRORS, type ErrorRow } from "../../errors.ts";
import { namesOf } from "../openapi/document.ts";
import { code, escapeHtml, fieldTable, resolve, SCROLL, type Schema, typeOf } from "./fields.ts";

interface Media {
  readonly schema: Schema;
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, unknown>>;
}

interface Response {
  readonly description: string;
  readonly content?: Readonly<Record<string, Media>>;
}

interface Operation {
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description?: string;
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<Record<string, Response>>;
}

interface Document {
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly examples: Readonly<Record<string, { readonly summary: string }>>;
    readonly securitySchemes: { readonly bearer: { readonly description: string } };
  };
}

const STYLE = `:root{color-scheme:light dark;--line:#8884;--soft:#8881;--dim:#667;--link:#0b5cad;
--ok:#1a7f37;--bad:#b3261e;font:16px/1.55 system-ui,sans-serif;scroll-padding-top:1rem}
@media(prefers-color-scheme:dark){:root{--dim:#a3a3b0;--link:#7db7ff;--ok:#56d06f;--bad:#ff8a80}}
body{margin:0;overflow-wrap:break-word}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
nav{padding:1rem 1.25rem;border-bottom:1px solid var(--line)}
nav p{font-size:.8rem;margin:1rem 0 .2rem;color:var(--dim);font-weight:600;padding:0;border:0}
nav ul{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:.1rem .9rem}
main{padding:1rem 1.25rem 4rem;max-width:56rem}
h1{margin:.5rem 0;line-height:1.2}h1 small{color:var(--dim);font-weight:400;font-size:1rem}
h2{margin:3rem 0 .5rem}
section{border-top:1px solid var(--line);margin-top:2rem;padding-top:1rem}
section h3{margin:0;font:600 1.1rem/1.4 ui-monospace,monospace}
section h3 a{color:inherit}section h3 b{color:var(--ok);margin-right:.4rem}
h4{margin:1.2rem 0 .3rem;font-size:.95rem}
h4 span,.dim{color:var(--dim);font-weight:400}
pre{white-space:pre-wrap;overflow-wrap:anywhere}code,pre{font:.875em/1.5 ui-monospace,monospace}code{background:var(--soft);border-radius:3px;
padding:.1em .25em}pre{overflow-x:auto;padding:.7rem .9rem;background:var(--soft);
border:1px solid var(--line);border-radius:6px;margin:.6rem 0}
.scroll{overflow-x:auto}.skip{position:absolute;left:-999rem}.skip:focus{left:1rem;top:1rem}table{border-collapse:collapse;width:100%;font-size:.92rem}
th{font-weight:600;color:var(--dim);font-size:.8rem}
td,th{text-align:left;vertical-align:top;padding:.35rem .9rem .35rem 0;
border-bottom:1px solid var(--line)}td:first-child{white-space:nowrap}
td ul{margin:.2rem 0 0;padding-left:1.1rem}em{font-style:normal;color:var(--bad);font-size:.8em}
em.always{color:var(--dim)}.answers td:first-child{width:3rem}
@media(min-width:64rem){body{display:grid;grid-template-columns:17rem 1fr}
nav{position:sticky;top:0;height:100vh;box-sizing:border-box;overflow-y:auto;border-bottom:0;
border-right:1px solid var(--line)}nav ul{display:block}main{padding:1rem 3rem 4rem}}
@media(max-width:40rem){.fields thead{position:absolute;left:-999rem}.fields tr{display:block;
border-bottom:1px solid var(--line);padding:.4rem 0}.fields td{border:0;padding:0 .6rem 0 0;
display:inline}.fields td:last-child{display:block}}`;

/** What the page may load and run: its style sheet, and nothing else. */
export const DOCS_POLICY = `default-src 'none'; style-src 'sha256-${createHash("sha256")
  .update(STYLE)
  .digest("base64")}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

/** Stands on the page where the address of the server is to be shown; no text has such a sign. */
export const ADDRESS_MARK = "\u0001";

/** The page. */
export function makeDocsPage(openApi: object): string {
  const document = openApi as Document;
  const { info, tags, paths, components } = document;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const groups = tags.map((tag) => ({
    ...tag,
    members: operations.filter(({ operation }) => operation.tags.includes(tag.name)),
  }));
  const contents = groups.map(
    ({ name, members }) => `<p>${escapeHtml(name)}</p><ul>${members.map(link).join("")}</ul>`,
  );
  const sections = groups.map(
    ({ name, description, members }) =>
      `<h2 id="tag-${escapeHtml(name)}">${escapeHtml(name)}</h2>
${markdown(description)}
${members.map((entry) => section(entry, document)).join("\n")}`,
  );
  const messages = Object.entries(components.schemas).map(
    ([name, schema]) => `<section id="schema-${escapeHtml(name)}">
<h3><a href="#schema-${escapeHtml(name)}">${escapeHtml(name)}</a></h3>
${fieldTable(schema, components.schemas, isRequest(name) ? "required" : "always")}</section>`,
  );
  const title = `${escapeHtml(info.title)} API`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title}</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><style>${STYLE}</style></head>
<body><a class="skip" href="#top">To the text</a><nav aria-label="Contents"><a href="#top"><strong>${title}</strong></a>
${contents.join("\n")}
<p>more</p><ul><li><a href="#authorization">authorization</a></li>
<li><a href="#errors">errors</a></li>
<li><a href="#messages">messages</a></li>
<li><a href="openapi.json">openapi.json</a></li></ul></nav>
<main id="top" tabindex="-1"><h1>${title} <small>${escapeHtml(info.version)}</small></h1>
${markdown(info.description)}
<h2 id="authorization">authorization</h2>
${markdown(components.securitySchemes.bearer.description)}
${sections.join("\n")}
<h2 id="errors">errors</h2>
<p>The codes of errors under <code>/v2</code>, with what they say where that is always the same.</p>
${SCROLL}<table><thead><tr><th scope="col">Code</th><th scope="col">Status</th><th scope="col">The same may be sent again</th><th scope="col">Text</th></tr></thead><tbody>
${Object.entries(ERRORS).map(errorRow).join("\n")}</tbody></table></div>
<h2 id="messages">messages</h2>
<p>What is called <code>Input</code> is the same message in requests.</p>
${messages.join("\n")}
</main></body></html>
`;
}

interface Entry {
  readonly path: string;
  readonly method: string;
  readonly operation: Operation;
}

// Where the type of a problem leads.
function errorRow([code, { status, retryable, text }]: [string, ErrorRow]): string {
  const shown = text === "{detail}" ? "" : escapeHtml(text);
  return `<tr id="${code}"><td><code>${code}</code></td><td>${status}</td><td>${retryable ? "yes" : "no"}</td><td>${shown}</td></tr>`;
}

function link({ path }: Entry): string {
  const id = escapeHtml(namesOf(path).anchor);
  return `<li><a href="#${id}">${id}</a></li>`;
}

function section({ path, method, operation }: Entry, { components }: Document): string {
  const { summary, description = "", requestBody, responses } = operation;
  const id = escapeHtml(namesOf(path).anchor);
  const { schemas } = components;
  const request = requestBody?.content["application/json"];
  const reply = Object.values(responses[200]?.content ?? {})[0];
  const rows = Object.entries(responses).map(([status, response]) => {
    const media = Object.values(response.content ?? {})[0];
    const texts = Object.keys(media?.examples ?? {}).map(
      (name) => `<li>${escapeHtml(components.examples[name]!.summary)}</li>`,
    );
    const list = texts.length === 0 ? "" : `<ul class="dim">${texts.join("")}</ul>`;
    return `<tr><td><code>${escapeHtml(status)}</code></td><td>${escapeHtml(response.description)} ${media?.schema.$ref === undefined ? "" : typeOf(media.schema)}${list}</td></tr>`;
  });
  return `<section id="${id}">
<h3><a href="#${id}"><b>${method.toUpperCase()}</b>${escapeHtml(path)}</a></h3>
<p>${escapeHtml(summary)} <span class="dim">${escapeHtml(description)}</span></p>
<pre>${escapeHtml(curl(path, request?.example))}</pre>
${request === undefined ? "" : `<h4>Request</h4>${fieldTable(request.schema, schemas, "required")}`}
${reply === undefined ? "" : replyTable(reply.schema, schemas)}
<h4>Answers</h4>${SCROLL}<table class="answers"><thead><tr><th scope="col">Status</th><th scope="col">When</th></tr></thead><tbody>${rows.join("")}</tbody></table></div>
</section>`;
}

function replyTable(schema: Schema, schemas: Document["components"]["schemas"]): string {
  // Of the one that only says that all is well, a sample says more.
  if (schema.$ref?.endsWith("/Reply")) return `<h4>Reply</h4><pre>{"code":200}</pre>`;
  const { properties } = resolve(schema, schemas);
  return properties === undefined ? "" : `<h4>Reply</h4>${fieldTable(schema, schemas, "always")}`;
}

function isRequest(name: string): boolean {
  return name.endsWith("Request") || name.endsWith("Input");
}

function curl(path: string, example: unknown): string {
  const url = `curl ${ADDRESS_MARK}${path}`;
  if (example === undefined) return url;
  return `${url} -H Content-Type:application/json -d '${JSON.stringify(example)}'`;
}

// As much of Markdown as descriptions use: paragraphs, lists, and code.
function markdown(text: string): string {
  const blocks = text.split("\n\n").map((block) => {
    if (!block.startsWith("- ")) return `<p>${code(block)}</p>`;
    const entries = block.split("\n").map((line) => `<li>${code(line.slice(2))}</li>`);
    return `<ul>${entries.join("")}</ul>`;
  });
  return blocks.join("\n");
}

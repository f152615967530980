// How the documentation page shows a schema: a table of fields, with what each may hold in words.
// Knows of JSON Schema what the OpenAPI document uses. Answers HTML in which all texts are escaped.

/** A schema of the document. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly format?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
}

type Schemas = Readonly<Record<string, Schema>>;

/** What a schema comes to, with references followed. */
export function resolve(schema: Schema, schemas: Schemas): Schema {
  return schema.$ref === undefined ? schema : resolve(schemas[nameOf(schema.$ref)]!, schemas);
}

/** Opens a part that may be wider than the page, so that keys can move it as well. */
export const SCROLL = '<div class="scroll" role="region" aria-label="Table" tabindex="0">';

const TITLES = ["Field", "Type", "Bounds", "What it is"]
  .map((title) => `<th scope="col">${title}</th>`)
  .join("");

/** The fields of a message, and a mark at those that are always there. */
export function fieldTable(schema: Schema, schemas: Schemas, mark: "required" | "always"): string {
  const { properties, required = [] } = resolve(schema, schemas);
  if (properties === undefined) return `<p>${typeOf(schema)}</p>`;
  const rows = Object.entries(properties).map(([name, field]) => {
    const marked = required.includes(name) ? ` <em class="${mark}">${mark}</em>` : "";
    return `<tr><td><code>${escapeHtml(name)}</code>${marked}</td><td>${typeOf(field)}</td><td class="dim">${escapeHtml(bounds(field))}</td><td>${code(field.description ?? "")}</td></tr>`;
  });
  return `${SCROLL}<table class="fields"><thead><tr>${TITLES}</tr></thead><tbody>${rows.join("")}</tbody></table></div>`;
}

/** The type of a value in a few words; a message is a link. */
export function typeOf(schema: Schema): string {
  const { $ref, items, format, enum: values, properties } = schema;
  if ($ref !== undefined) {
    const name = escapeHtml(nameOf($ref));
    return `<a href="#schema-${name}">${name}</a>`;
  }
  if (items !== undefined) return `list of ${typeOf(items)}`;
  if (values !== undefined) {
    return escapeHtml(values.map((value) => JSON.stringify(value)).join(" or "));
  }
  if (properties !== undefined) {
    const members = Object.entries(properties).map(
      ([name, member]) => `${escapeHtml(JSON.stringify(name))}: ${typeOf(member)}`,
    );
    return `{${members.join(", ")}}`;
  }
  if (format === "date-time") return "time";
  if (format === "byte") return "base64";
  return escapeHtml(schema.type ?? "anything");
}

/** What a field may hold, as far as its type does not say it. */
export function bounds({
  minimum,
  maximum,
  maxLength,
  minItems,
  maxItems,
  pattern,
  ...rest
}: Schema): string {
  const notes: string[] = [];
  const low = minimum ?? minItems;
  const high = maximum ?? maxItems;
  if (low !== undefined && high !== undefined) notes.push(`${low} to ${high}`);
  else if (low !== undefined) notes.push(`at least ${low}`);
  else if (high !== undefined) notes.push(`at most ${high}`);
  if (maxLength !== undefined) notes.push(`up to ${maxLength} bytes`);
  if (pattern?.includes("ms|s|m|h")) notes.push("duration");
  if (pattern?.includes("{27}") || rest.items?.pattern?.includes("{27}")) notes.push("id");
  return notes.join(", ");
}

function nameOf(reference: string): string {
  return reference.split("/").at(-1)!;
}

/** A text in which what stands between backquotes is code. */
export function code(text: string): string {
  return escapeHtml(text).replace(/`([^`]+)`/g, "<code>$1</code>");
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]!);
}

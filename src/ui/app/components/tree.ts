// JSON as a tree whose branches open and close. Long lists are shown in part: a payload may be large.

import type { VNode } from "preact";
import { count } from "../format.ts";
import { html } from "../html.ts";
import { text } from "../text.ts";

const SHOWN_MAX = 200;
const OPEN_DEPTH = 3;

/** Any value that JSON can hold. */
export function Tree({
  value,
  name,
  depth = 0,
}: {
  readonly value: unknown;
  readonly name?: string;
  readonly depth?: number;
}): VNode {
  const label = name === undefined ? null : html`<span class="tree-name">${name}: </span>`;
  const raw = rawOf(value);
  if (typeof value !== "object" || value === null || raw !== undefined) {
    return html`<div class="tree">${label}<span class=${`tree-${value === null ? "null" : raw ? "number" : typeof value}`}>${raw ?? JSON.stringify(value)}</span></div>`;
  }
  const entries = Object.entries(value);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (entries.length === 0) return html`<div class="tree">${label}${open}${close}</div>`;
  const rest = entries.length - SHOWN_MAX;
  return html`<details class="tree" open=${depth < OPEN_DEPTH}><summary>${label}${open}<span class="dim"> ${count(entries.length)} </span>${close}</summary>
    ${entries.slice(0, SHOWN_MAX).map(([key, each]) => html`<${Tree} key=${key} name=${key} value=${each} depth=${depth + 1} />`)}
    ${rest > 0 ? html`<div class="dim">${text.table.more(rest)}</div>` : null}</details>`;
}

// A number of more digits than the browser counts with is kept as it is written.
function rawOf(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== null)
    return undefined;
  return (value as { rawJSON?: string }).rawJSON;
}

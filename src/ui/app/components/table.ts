// A table: sorted where its rows come from, walked with the arrows or j and k, opened with Enter, chosen with x.

import type { VNode } from "preact";
import { useRef } from "preact/hooks";
import { type Children, html } from "../html.ts";
import { text } from "../text.ts";

export interface Column<T> {
  readonly key: string;
  readonly title: string;
  readonly cell: (row: T) => Children;
  /** Numbers stand at the end. */
  readonly number?: boolean;
  /** Whether one may sort by it: `onSort` is told its key. */
  readonly sorts?: boolean;
  /** Left out where the screen is narrow. */
  readonly wide?: boolean;
}

export interface Selection {
  readonly has: (key: string) => boolean;
  readonly toggle: (key: string) => void;
  readonly all: boolean;
  readonly toggleAll: () => void;
}

export function Table<T>(props: {
  /** What it shows, for who cannot see it. */
  readonly label: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  readonly rowKey: (row: T) => string;
  /** Where Enter leads, and a click that hits nothing else. */
  readonly href?: (row: T) => string;
  readonly sort?: { readonly by: string; readonly descending: boolean };
  readonly onSort?: (by: string, descending: boolean) => void;
  readonly selection?: Selection;
  /** What stands below, if there are no rows. */
  readonly empty?: Children;
}): VNode {
  const { columns, rows, rowKey, href, sort, selection } = props;
  const body = useRef<HTMLTableSectionElement>(null);
  const move = (from: Element, by: number): void => {
    const all = [...(body.current?.children ?? [])] as HTMLElement[];
    all[Math.min(Math.max(all.indexOf(from as HTMLElement) + by, 0), all.length - 1)]?.focus();
  };
  const onKey = (event: KeyboardEvent, row: T): void => {
    const tr = event.currentTarget as HTMLElement;
    if (event.target !== tr || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowDown" || event.key === "j") move(tr, 1);
    else if (event.key === "ArrowUp" || event.key === "k") move(tr, -1);
    else if (event.key === "Home") move(tr, -rows.length);
    else if (event.key === "End") move(tr, rows.length);
    else if (event.key === "Enter" && href !== undefined) location.hash = href(row);
    else if (event.key === "x" && selection !== undefined) selection.toggle(rowKey(row));
    else return;
    event.preventDefault();
  };
  const onClick = (event: MouseEvent, row: T): void => {
    const target = event.target as Element;
    if (href === undefined || target.closest("a,button,input,label") !== null) return;
    if (String(getSelection()) === "") location.hash = href(row);
  };

  const heading = (column: Column<T>): VNode => {
    const classes = `${column.number ? "number" : ""} ${column.wide ? "wide" : ""}`;
    if (!column.sorts) return html`<th scope="col" class=${classes}>${column.title}</th>`;
    const on = sort?.by === column.key;
    const next = on ? !sort.descending : column.number === true;
    return html`<th scope="col" class=${classes} aria-sort=${on ? (sort.descending ? "descending" : "ascending") : "none"}>
      <button type="button" onClick=${() => props.onSort?.(column.key, next)}>${column.title}<span
        class="arrow" aria-hidden="true">${on ? (sort.descending ? "↓" : "↑") : ""}</span></button></th>`;
  };

  return html`<div class="scroll" role="region" aria-label=${props.label} tabindex="0"><table>
    <thead><tr>
      ${
        selection &&
        html`<th scope="col" class="tick"><input type="checkbox" aria-label=${text.table.all}
        checked=${selection.all} onChange=${selection.toggleAll} /></th>`
      }
      ${columns.map(heading)}
    </tr></thead>
    <tbody ref=${body}>${rows.map((row, i) => {
      const key = rowKey(row);
      return html`<tr key=${key} data-key=${key} tabindex=${i === 0 ? 0 : -1} class=${href ? "opens" : ""}
        aria-selected=${selection?.has(key)} onKeyDown=${(event: KeyboardEvent) => onKey(event, row)}
        onClick=${(event: MouseEvent) => onClick(event, row)}>
        ${
          selection &&
          html`<td class="tick"><input type="checkbox" aria-label=${text.table.choose(key)}
          checked=${selection.has(key)} onChange=${() => selection.toggle(key)} /></td>`
        }
        ${columns.map((column) => html`<td class=${`${column.number ? "number" : ""} ${column.wide ? "wide" : ""}`}>${column.cell(row)}</td>`)}
      </tr>`;
    })}</tbody></table>${rows.length === 0 ? props.empty : null}</div>`;
}

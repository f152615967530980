// The items of a queue: of a state, narrowed by filters, with columns that whoever looks has chosen. All of that
// stands in the address. What is done is done to those that are ticked, or to all that the filters find.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { Button, Chip, Empty, Field, Time, Trouble } from "../components/controls.ts";
import { type Column, Table } from "../components/table.ts";
import { useNudge } from "../events.ts";
import { count } from "../format.ts";
import { html } from "../html.ts";
import { ACTIONS, type Action, fits, mayChange } from "../item-actions.ts";
import {
  FILTERS,
  filterOf,
  type Item,
  isOfPayload,
  listItems,
  NO_FILTER,
  STATES,
  valueAt,
} from "../items.ts";
import { useKeys } from "../keys.ts";
import { useLive } from "../live.ts";
import type { PageProps } from "../page.ts";
import { href, NAMESPACE, setQuery } from "../router.ts";
import { text } from "../text.ts";
import { ActionDialog, type Target } from "./item-actions-dialog.ts";
import { stateCell } from "./item-state.ts";
import { PayloadDialog } from "./payload.ts";

const LIMIT = 50;
const POLL_MS = 5_000;
const COLUMNS_MAX = 10;
/** A value is shown in part: a cell is no place for a document. */
const CELL_MAX = 120;

export function View({ params, query }: PageProps): VNode {
  const queue = params.queue!;
  const filter = filterOf(query);
  const paths = pathsOf(query.columns);
  const cursor = query.cursor ?? "";
  const payload = paths.some(isOfPayload);
  const [chosen, setChosen] = useState<ReadonlyMap<string, Item>>(new Map());
  const [doing, setDoing] = useState<{ action: Action; target: Target }>();
  const [peek, setPeek] = useState<string>();
  const { data, error, refresh } = useLive(
    (signal) => listItems(queue, filter, { limit: LIMIT, cursor, payload, signal }),
    [queue, JSON.stringify(filter), cursor, payload],
    cursor === "" ? POLL_MS : 0,
  );
  // With payloads a list may be large: then it is asked for less often.
  useNudge({ queue }, () => {
    if (cursor === "" && !payload) refresh();
  });
  const rows = data?.items ?? [];
  const next = data?.next;
  const begin = (action: Action): void => {
    if (chosen.size > 0) setDoing({ action, target: { items: [...chosen.values()] } });
  };
  const onward = (): void => {
    if (next !== undefined) setQuery({ cursor: next });
  };
  useKeys([
    { keys: "n", text: text.table.next, run: onward },
    { keys: "a", text: text.items.chooseAll, run: () => setChosen(toggleAll(chosen, rows)) },
    ...(mayChange() ? ACTIONS : []).map((action) => ({
      keys: text.items.actions[action].key,
      text: text.items.actions[action].ofChosen,
      run: () => begin(action),
    })),
  ]);
  const selection = {
    has: (id: string) => chosen.has(id),
    toggle: (id: string) => setChosen(toggle(chosen, rows, id)),
    all: rows.length > 0 && rows.every(({ id }) => chosen.has(id)),
    toggleAll: () => setChosen(toggleAll(chosen, rows)),
  };
  const changeFilter = (changes: Record<string, string>): void => {
    setChosen(new Map());
    setQuery({ ...changes, cursor: "" });
  };

  return html`<div class="head"><h1>${text.items.of(queue)}</h1>
      <a href=${href(["queues", queue])}>${text.items.toQueue}</a>
      <a href=${href(["queues", queue, "dead"])}>${text.dead.title}</a>
      <a href=${href(["try"], { queue, [NAMESPACE]: query[NAMESPACE] })}>${text.tryIt.send}</a></div>
    <${Filters} query=${query} onChange=${changeFilter} />
    <${Columns} paths=${paths} />
    <${Trouble} error=${error} needs="item.read" />
    <${Bulk} chosen=${chosen} state=${query.state ?? ""} onBegin=${begin} onClear=${() => setChosen(new Map())}
      onAll=${(action: Action) => setDoing({ action, target: { filter } })} />
    ${
      data &&
      html`<${Table} label=${text.items.of(queue)} columns=${columnsOf(queue, paths, setPeek)} rows=${rows}
        rowKey=${(item: Item) => item.id} href=${(item: Item) => href(["queues", queue, "items", item.id])}
        selection=${selection} empty=${html`<${Nothing} more=${next !== undefined} filtered=${Object.keys(filter).length > 0} />`} />
      <div class="toolbar">
        ${cursor === "" ? null : html`<${Button} onClick=${() => setQuery({ cursor: "" })}>${text.table.first}</${Button}>`}
        ${next === undefined ? null : html`<${Button} onClick=${onward}>${text.table.next}</${Button}>`}
        <span class="dim">${text.items.shown(rows.length)}</span></div>`
    }
    ${
      doing === undefined
        ? null
        : html`<${ActionDialog} queue=${queue} ...${doing} onClose=${(changed: boolean) => {
            setDoing(undefined);
            if (!changed) return;
            setChosen(new Map());
            refresh();
          }} />`
    }
    ${peek === undefined ? null : html`<${PayloadDialog} queue=${queue} id=${peek} onClose=${() => setPeek(undefined)} />`}`;
}

function toggle(
  chosen: ReadonlyMap<string, Item>,
  rows: readonly Item[],
  id: string,
): ReadonlyMap<string, Item> {
  const after = new Map(chosen);
  const item = rows.find((each) => each.id === id);
  if (!after.delete(id) && item !== undefined) after.set(id, item);
  return after;
}

function toggleAll(
  chosen: ReadonlyMap<string, Item>,
  rows: readonly Item[],
): ReadonlyMap<string, Item> {
  const after = new Map(chosen);
  const all = rows.every(({ id }) => chosen.has(id));
  for (const item of rows) {
    if (all) after.delete(item.id);
    else after.set(item.id, item);
  }
  return after;
}

function pathsOf(columns = ""): readonly string[] {
  return columns.split(",").filter(Boolean).slice(0, COLUMNS_MAX);
}

function columnsOf(
  queue: string,
  paths: readonly string[],
  onPeek: (id: string) => void,
): readonly Column<Item>[] {
  return [
    {
      key: "id",
      title: text.items.id,
      cell: ({ id }) =>
        html`<a class="mono nowrap" href=${href(["queues", queue, "items", id])}>${id}</a>`,
    },
    { key: "state", title: text.items.state, cell: (item) => stateCell(item) },
    {
      key: "created",
      title: text.items.created,
      cell: ({ created_at }) => html`<${Time} at=${created_at} relative />`,
    },
    {
      key: "attempts",
      title: text.items.attempts,
      number: true,
      cell: ({ attempts }) => count(attempts ?? 0),
    },
    { key: "kind", title: text.items.kind, wide: true, cell: ({ kind }) => kind ?? "" },
    {
      key: "when",
      title: text.items.when,
      wide: true,
      cell: (item) => whenCell(item),
    },
    ...paths.map((path) => ({
      key: `path ${path}`,
      title: path,
      cell: (item: Item) => {
        const value = valueAt(item, path);
        if (value === undefined) return html`<span class="dim">–</span>`;
        return html`<span title=${value.length > CELL_MAX ? value.slice(0, 2_000) : undefined}>${value.slice(0, CELL_MAX)}${value.length > CELL_MAX ? "…" : ""}</span>`;
      },
    })),
    {
      key: "error",
      title: text.items.lastError,
      wide: true,
      cell: ({ last_error }) => last_error?.type || last_error?.message?.slice(0, CELL_MAX) || "",
    },
    {
      key: "payload",
      title: text.items.payload,
      cell: ({ id }) =>
        html`<${Button} kind="quiet" onClick=${() => onPeek(id)}>${text.items.show}<span class="unseen"> ${text.items.payloadOf(id)}</span></${Button}>`,
    },
  ];
}

// The time that matters of an item in its state.
function whenCell({ state, enqueue_at, lease_deadline, ended_at, source }: Item): VNode | string {
  const [at, word] =
    state === "leased"
      ? [lease_deadline, text.items.leaseEnds]
      : state === "scheduled"
        ? [enqueue_at, text.items.due]
        : state === "dead"
          ? [source?.died_at, text.items.died]
          : [ended_at, text.items.ended];
  return at === undefined
    ? ""
    : html`<span class="nowrap">${word} <${Time} at=${at} relative /></span>`;
}

function Nothing({
  more,
  filtered,
}: {
  readonly more: boolean;
  readonly filtered: boolean;
}): VNode {
  if (more)
    return html`<${Empty} title=${text.items.noneYet}><p>${text.items.noneYetWhy}</p></${Empty}>`;
  return html`<${Empty} title=${filtered ? text.items.noneFound : text.items.none} />`;
}

/** What is looked for: the states are chips, and so is every filter that is on. */
function Filters(props: {
  readonly query: PageProps["query"];
  readonly onChange: (changes: Record<string, string>) => void;
}): VNode {
  const { query, onChange } = props;
  const [name, setName] = useState<string>(FILTERS[0]);
  const [value, setValue] = useState("");
  const names = [...FILTERS, "partition"] as const;
  const on = names.filter((each) => query[each]);
  const add = (event: Event): void => {
    event.preventDefault();
    if (value.trim() === "") return;
    onChange({ [name]: value.trim() });
    setValue("");
  };
  const newest = query.order === "newest";
  return html`<div class="chips" role="group" aria-label=${text.items.states}>
      <${Chip} on=${!query.state} onClick=${() => onChange({ state: "" })}>${text.items.active}</${Chip}>
      ${STATES.map(
        (state) =>
          html`<${Chip} key=${state} on=${query.state === state} onClick=${() => onChange({ state })}>${state}</${Chip}>`,
      )}</div>
    <form class="toolbar" onSubmit=${add}>
      <${Field} label=${text.items.filter} value=${name} onInput=${setName}
        choices=${names.map((each) => [each, text.items.filters[each]] as const)} />
      <${Field} label=${text.items.filterValue} kind="search" value=${value} onInput=${setValue}
        placeholder=${text.items.filterHints[name as keyof typeof text.items.filterHints] ?? ""} />
      <${Button} submit>${text.items.addFilter}</${Button}>
      <${Chip} on=${newest} onClick=${() => onChange({ order: newest ? "" : "newest" })}>${text.items.newest}</${Chip}>
      ${on.map(
        (each) =>
          html`<${Chip} key=${each} on onClick=${() => onChange({ [each]: "" })}>${text.items.filters[each]}: ${query[each]} <span aria-hidden="true">✕</span></${Chip}>`,
      )}
      ${on.length > 0 ? html`<${Button} kind="quiet" onClick=${() => onChange(NO_FILTER as Record<string, string>)}>${text.items.clear}</${Button}>` : null}
    </form>`;
}

/** The columns that were added: paths into the payload, and fields of the item. */
function Columns({ paths }: { readonly paths: readonly string[] }): VNode {
  const [path, setPath] = useState("");
  const set = (after: readonly string[]): void => setQuery({ columns: after.join(",") });
  const add = (event: Event): void => {
    event.preventDefault();
    const added = path.trim().replaceAll(",", "");
    if (added === "" || paths.includes(added) || paths.length >= COLUMNS_MAX) return;
    set([...paths, added]);
    setPath("");
  };
  return html`<form class="toolbar" onSubmit=${add}>
    <${Field} label=${text.items.column} value=${path} onInput=${setPath} placeholder="$.order.id" mono />
    <${Button} submit>${text.items.addColumn}</${Button}>
    ${paths.map(
      (each) =>
        html`<${Chip} key=${each} on onClick=${() => set(paths.filter((other) => other !== each))}>${each} <span aria-hidden="true">✕</span></${Chip}>`,
    )}
    <span class="note">${text.items.columnHint}</span></form>`;
}

/** What may be done to those that are ticked, or to all. */
function Bulk(props: {
  readonly chosen: ReadonlyMap<string, Item>;
  readonly state: string;
  readonly onBegin: (action: Action) => void;
  readonly onAll: (action: Action) => void;
  readonly onClear: () => void;
}): VNode {
  const { chosen, state, onBegin, onAll } = props;
  const items = [...chosen.values()];
  if (items.length === 0) {
    const sample = { id: "", created_at: "", state };
    // Of a list of several states each action makes sense for some.
    const possible = ACTIONS.filter(
      (action) => fits(action, sample) || (state === "" && action !== "put_back"),
    );
    return html`<div class="toolbar" role="group" aria-label=${text.items.allMatching}><span class="dim">${text.items.allMatching}</span>
      ${possible.map(
        (action) =>
          html`<${Button} key=${action} changes onClick=${() => onAll(action)}>${text.items.actions[action].all}</${Button}>`,
      )}</div>`;
  }
  return html`<div class="toolbar bulk" role="group" aria-label=${text.items.chosen(items.length)}><strong>${text.items.chosen(items.length)}</strong>
    ${ACTIONS.filter((action) => items.some((item) => fits(action, item))).map(
      (action) =>
        html`<${Button} key=${action} changes kind=${action === "delete" ? "danger" : undefined} onClick=${() => onBegin(action)}>${text.items.actions[action].name}</${Button}>`,
    )}
    <${Button} kind="quiet" onClick=${props.onClear}>${text.items.chooseNone}</${Button}></div>`;
}

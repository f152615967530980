// The queues: searched and sorted by the server, a page at a time, so that thousands are as quick as ten.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { Button, Chip, Empty, Field, Trouble } from "../components/controls.ts";
import { Spark } from "../components/spark.ts";
import { type Column, Table } from "../components/table.ts";
import { count, rate, span } from "../format.ts";
import { html } from "../html.ts";
import { useKeys } from "../keys.ts";
import { lazy } from "../lazy.ts";
import { useCall } from "../live.ts";
import type { PageProps } from "../page.ts";
import { href, NAMESPACE, setQuery } from "../router.ts";
import { text } from "../text.ts";
import { QueueState } from "./queue-state.ts";
import { inNamespace } from "./shared.ts";

/** A queue in numbers, as `queues.overview` tells it. */
export interface QueueRow {
  readonly queue_name: string;
  readonly namespace?: string;
  readonly waiting: number;
  readonly leased: number;
  readonly scheduled: number;
  readonly held: number;
  readonly dead: number;
  readonly oldest_age?: string;
  readonly in: number;
  readonly out: number;
  readonly consumers_waiting: number;
  readonly state: string;
  readonly spark?: readonly number[];
  readonly dead_queue?: string;
  readonly takes_dead?: boolean;
}

interface Answer {
  readonly total: number;
  readonly queues?: readonly QueueRow[];
  readonly next_cursor?: string;
}

const LIMIT = 50;
const EVERY_MS = 3_000;
const DEFAULT_NAMESPACE = "_system";
const words = text.queues;

const CreateQueue = lazy(async () => (await import("./queue-settings.ts")).CreateQueue);

const rowHref = (row: QueueRow): string =>
  href(["queues", row.queue_name], inNamespace(row.namespace));

function number(key: keyof QueueRow, title: string, wide = false): Column<QueueRow> {
  return { key, title, number: true, sorts: true, wide, cell: (row) => count(row[key] as number) };
}

const columns: readonly Column<QueueRow>[] = [
  {
    key: "name",
    title: words.name,
    sorts: true,
    cell: (row) =>
      html`<a href=${rowHref(row)}>${row.queue_name}</a>${
        row.takes_dead && html` <span class="badge">${words.takesDead}</span>`
      }${row.namespace && row.namespace !== DEFAULT_NAMESPACE && html` <span class="dim">${row.namespace}</span>`}`,
  },
  { key: "state", title: words.state, cell: (row) => html`<${QueueState} state=${row.state} />` },
  number("waiting", words.waiting),
  number("leased", words.leased, true),
  number("scheduled", words.scheduled, true),
  number("dead", words.died, true),
  {
    key: "oldest",
    title: words.oldest,
    number: true,
    sorts: true,
    wide: true,
    cell: (row) => span(row.oldest_age),
  },
  {
    key: "in",
    title: words.in,
    number: true,
    sorts: true,
    wide: true,
    cell: (row) => rate(row.in),
  },
  {
    key: "out",
    title: words.out,
    number: true,
    sorts: true,
    wide: true,
    cell: (row) => rate(row.out),
  },
  {
    key: "depth",
    title: words.depth,
    wide: true,
    cell: (row) =>
      (row.spark ?? []).length > 1 &&
      html`<${Spark} values=${row.spark} label=${words.sparkOf(count(row.spark!.at(-1)))} />`,
  },
];

/** The page. */
export function View({ query }: PageProps): VNode {
  const { search = "", sort = "name", order, cursor = "" } = query;
  const namespace = query[NAMESPACE];
  const [creating, setCreating] = useState(false);
  const descending = order === "down";
  const { data, error, refresh } = useCall<Answer>(
    "queues.overview",
    { search, sort, descending, limit: LIMIT, ...(cursor && { cursor }) },
    EVERY_MS,
  );
  useKeys([{ keys: "c", text: words.create, run: () => setCreating(true) }]);
  const rows = data?.queues ?? [];
  const none = search
    ? html`<${Empty} title=${words.noneFound(search)} />`
    : html`<${Empty} title=${words.none}><p>${words.noneHint}</p></${Empty}>`;
  return html`<div class="head"><h1>${words.title}</h1>
      ${data && html`<span class="dim">${words.total(data.total ?? 0)}</span>`}
      <div class="aside"><${Button} kind="primary" changes onClick=${() => setCreating(true)}>${words.create}</${Button}></div></div>
    <div class="toolbar"><${Field} label=${words.search} kind="search" value=${search}
        onInput=${(value: string) => setQuery({ search: value, cursor: "" })} />
      ${namespace && html`<${Chip} on onClick=${() => setQuery({ [NAMESPACE]: "", cursor: "" })}>${words.onlyIn(namespace)} ✕</${Chip}>`}</div>
    <${Trouble} error=${error} needs="queue.list" />
    ${
      data &&
      html`<${Table} label=${words.title} columns=${columns} rows=${rows} href=${rowHref} empty=${none}
      rowKey=${(row: QueueRow) => `${row.namespace ?? ""}/${row.queue_name}`} sort=${{ by: sort, descending }}
      onSort=${(by: string, down: boolean) => setQuery({ sort: by, order: down ? "down" : "", cursor: "" })} />
    <div class="toolbar">
      ${cursor && html`<${Button} onClick=${() => setQuery({ cursor: "" })}>${text.table.first}</${Button}>`}
      ${data.next_cursor && html`<${Button} onClick=${() => setQuery({ cursor: data.next_cursor })}>${text.table.next}</${Button}>`}</div>`
    }
    ${
      creating &&
      html`<${CreateQueue} onClose=${() => {
        setCreating(false);
        refresh();
      }} />`
    }`;
}

// The queues: searched and sorted by the server, a page at a time.

import type { VNode } from "preact";
import { call } from "../api.ts";
import { Empty, Field, Trouble } from "../components/controls.ts";
import { type Column, Table } from "../components/table.ts";
import { html } from "../html.ts";
import { useLive } from "../live.ts";
import type { Page, PageProps } from "../page.ts";
import { href, setQuery } from "../router.ts";
import { text } from "../text.ts";

interface QueueRow {
  readonly queue_name: string;
}

const columns: readonly Column<QueueRow>[] = [
  {
    key: "name",
    title: text.queues.name,
    cell: (row) => html`<a href=${href(["queues", row.queue_name])}>${row.queue_name}</a>`,
  },
];

function Queues({ query }: PageProps): VNode {
  const search = query.search ?? "";
  const { data, error } = useLive(
    (signal) => call<{ queues?: QueueRow[] }>("queues.list", { limit: 100 }, { signal }),
    [],
    5_000,
  );
  const rows = (data?.queues ?? []).filter((row) => row.queue_name.includes(search));
  return html`<h1>${text.queues.title}</h1>
    <div class="toolbar"><${Field} label=${text.queues.search} kind="search" value=${search}
      onInput=${(value: string) => setQuery({ search: value })} /></div>
    <${Trouble} error=${error} needs="queue.list" />
    ${
      data &&
      html`<${Table} label=${text.queues.title} columns=${columns} rows=${rows} rowKey=${(row: QueueRow) => row.queue_name}
      href=${(row: QueueRow) => href(["queues", row.queue_name])}
      empty=${html`<${Empty} title=${search ? text.queues.noneFound(search) : text.queues.none} />`} />`
    }`;
}

export const page: Page = {
  path: "queues",
  title: text.queues.title,
  nav: "work",
  shortcut: "q",
  needs: "queue.list",
  view: Queues,
};

// Who has changed what, the newest first; filters are in the address.

import type { VNode } from "preact";
import { useMemo } from "preact/hooks";
import { Check, Empty, Field, Status, Time, type Tone, Trouble } from "../components/controls.ts";
import { type Column, Table } from "../components/table.ts";
import { toMs } from "../format.ts";
import { html } from "../html.ts";
import { useCall } from "../live.ts";
import type { PageProps } from "../page.ts";
import { setQuery } from "../router.ts";
import { text } from "../text.ts";
import { accessText } from "../text-access.ts";
import { now } from "../time.ts";
import { NamespaceChoice, OpenNote, Pager } from "./access-shared.ts";

interface Change {
  readonly field: string;
  readonly from?: string;
  readonly to?: string;
}

interface Entry {
  readonly id: string;
  readonly at: string;
  readonly user_id: string;
  readonly username?: string;
  readonly key_id?: string;
  readonly address?: string;
  readonly namespace?: string;
  readonly call: string;
  readonly target?: string;
  readonly request_id?: string;
  readonly outcome: string;
  readonly changes?: readonly Change[];
}

const EVERY_MS = 10_000;
const TONES: Readonly<Record<string, Tone>> = { done: "ok", denied: "warn", unknown: "bad" };
const words = accessText.audit;

const columns: readonly Column<Entry>[] = [
  { key: "at", title: words.at, cell: (row) => html`<${Time} at=${row.at} />` },
  {
    key: "who",
    title: words.who,
    cell: (row) => html`<span title=${row.user_id}>${row.username || row.user_id}</span>`,
  },
  {
    key: "call",
    title: words.call,
    cell: (row) => html`<span class="mono nowrap">${row.call}</span>`,
  },
  { key: "target", title: words.target, wide: true, cell: (row) => row.target },
  { key: "namespace", title: words.where, wide: true, cell: (row) => row.namespace },
  {
    key: "outcome",
    title: words.outcome,
    cell: (row) =>
      html`<${Status} tone=${TONES[row.outcome] ?? "info"}>${words.outcomes[row.outcome] ?? row.outcome}</${Status}>`,
  },
  { key: "changes", title: words.changes, wide: true, cell: (row) => html`<${More} of=${row} />` },
];

function More({ of }: { readonly of: Entry }): VNode {
  const { changes = [] } = of;
  const facts = [
    [words.from, of.address],
    [words.key, of.key_id],
    [words.request, of.request_id],
  ].filter(([, value]) => value);
  return html`<details><summary class="nowrap">${words.changed(changes.length)}<span class="unseen"> ${of.call}</span></summary>
    <ul class="diff">${changes.map(
      ({ field, from, to }) =>
        html`<li><span class="mono">${field}</span> <del class="mono">${from ?? words.nothing}</del> → <ins class="mono">${to ?? words.nothing}</ins></li>`,
    )}${facts.map(([name, value]) => html`<li class="dim">${name} <span class="mono">${value}</span></li>`)}</ul></details>`;
}

/** The page. */
export function View({ query }: PageProps): VNode {
  const { cursor = "", ns, call: name, target, user, since = "", all } = query;
  const from = useMemo(
    () => (since === "" ? undefined : new Date(now() - (toMs(since) ?? 0)).toISOString()),
    [since],
  );
  const { data, error } = useCall<{ entries?: readonly Entry[]; next_cursor?: string }>(
    "audit.list",
    {
      limit: 50,
      ...(all ? { all_namespaces: true } : ns && { namespace: ns }),
      ...(name && { call: name }),
      ...(target && { target }),
      ...(user && { user_id: user }),
      ...(from && { since: from }),
      ...(cursor && { cursor }),
    },
    cursor === "" ? EVERY_MS : 0,
  );
  const filter = (key: string) => (value: string) => setQuery({ [key]: value.trim(), cursor: "" });
  return html`<h1>${text.access.audit}</h1><${OpenNote} />
    <div class="toolbar">${!all && html`<${NamespaceChoice} />`}
      <${Field} label=${words.callFilter} kind="search" value=${name ?? ""} placeholder=${words.callHint} onInput=${filter("call")} />
      <${Field} label=${words.targetFilter} kind="search" value=${target ?? ""} onInput=${filter("target")} />
      <${Field} label=${words.userFilter} kind="search" value=${user ?? ""} onInput=${filter("user")} />
      <${Field} label=${words.since} value=${since} onInput=${filter("since")} choices=${Object.entries(words.sinces)} />
      <${Check} label=${words.allNamespaces} checked=${!!all} onChange=${(on: boolean) => setQuery({ all: on ? "yes" : "", ns: "", cursor: "" })} /></div>
    <${Trouble} error=${error} needs="audit.read" />
    ${
      data &&
      html`<${Table} label=${text.access.audit} columns=${columns} rows=${data.entries ?? []}
      rowKey=${(row: Entry) => row.id} empty=${html`<${Empty} title=${words.none} />`} /><${Pager} cursor=${cursor} next=${data.next_cursor} />`
    }`;
}

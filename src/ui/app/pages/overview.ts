// How the server is: what it does, what needs a look, and what is wrong, in words. Storage is asked for nothing.

import type { VNode } from "preact";
import { Chart } from "../components/chart.ts";
import { Empty, Figure, Panel, Status, Time, type Tone, Trouble } from "../components/controls.ts";
import { type Column, Table } from "../components/table.ts";
import { bytes, count, rate, span } from "../format.ts";
import { html } from "../html.ts";
import { useCall } from "../live.ts";
import { href } from "../router.ts";
import { text } from "../text.ts";
import { inNamespace, perSecond, type ServerFacts, type Storage, toMillis } from "./shared.ts";

interface Numbers {
  readonly in: number;
  readonly out: number;
  readonly dead: number;
}

interface Worst {
  readonly queue_name: string;
  readonly namespace?: string;
  readonly what: string;
  readonly value: number;
  readonly text: string;
}

interface LaterRow {
  readonly queue_name: string;
  readonly namespace?: string;
  readonly waiting: number;
  readonly leased: number;
  readonly scheduled: number;
}

interface Overview extends ServerFacts {
  readonly totals: Readonly<Record<string, number | undefined>> & { readonly oldest_age?: string };
  readonly rates: Numbers;
  readonly windows: readonly (Numbers & { readonly span: string })[];
  readonly series: Readonly<
    Record<"at" | "in" | "out" | "waiting" | "dead", number[] | undefined>
  > & {
    readonly step: number;
  };
  readonly worst?: readonly Worst[];
}

const EVERY_MS = 3_000;
const words = text.overview;

const TONES: Readonly<Record<string, Tone>> = {
  ok: "ok",
  serving: "ok",
  trouble: "warn",
  failing: "bad",
  no_consumers: "warn",
  dead_rising: "warn",
  lease_ends: "warn",
  oldest: "info",
  error: "bad",
  warning: "warn",
};

const queueHref = (row: { queue_name: string; namespace?: string }): string =>
  href(["queues", row.queue_name], inNamespace(row.namespace));

const worstColumns: readonly Column<Worst>[] = [
  {
    key: "queue",
    title: text.queues.name,
    cell: (row) => html`<a href=${queueHref(row)}>${row.queue_name}</a>`,
  },
  {
    key: "what",
    title: words.what,
    cell: (row) =>
      html`<${Status} tone=${TONES[row.what] ?? "info"}>${words.worsts[row.what] ?? row.what}</${Status}>`,
  },
  {
    key: "value",
    title: words.howMuch,
    number: true,
    cell: (row) =>
      html`<span title=${row.text}>${
        row.what === "oldest"
          ? span(row.value * 1_000)
          : words.worstValue(row.what, rate(row.value))
      }</span>`,
  },
];

const storageColumns: readonly Column<Storage>[] = [
  {
    key: "name",
    title: words.storage,
    cell: (row) => html`${row.name} <span class="dim">${row.kind}</span>`,
  },
  {
    key: "state",
    title: text.queues.state,
    cell: (row) =>
      html`<${Status} tone=${TONES[row.state] ?? "info"}>${words.states[row.state] ?? row.state}</${Status}>${
        row.trouble && html`<div class="note">${row.trouble}</div>`
      }`,
  },
  { key: "data", title: words.data, number: true, cell: (row) => size(row.data_bytes) },
  { key: "free", title: words.free, number: true, cell: (row) => size(row.free_bytes) },
];

const windowColumns: readonly Column<Overview["windows"][number]>[] = [
  { key: "span", title: words.span, cell: (row) => words.spans[row.span] ?? row.span },
  { key: "in", title: words.in, number: true, cell: (row) => count(row.in) },
  { key: "out", title: words.out, number: true, cell: (row) => count(row.out) },
  { key: "dead", title: words.died, number: true, cell: (row) => count(row.dead) },
];

function size(value: number | undefined): VNode {
  return html`<span title=${value === undefined ? "" : text.shell.exactBytes(count(value))}>${bytes(value)}</span>`;
}

// Of so many queues, those with the most items for later, it is seen whether that is all they have.
const LATER = { sort: "scheduled", descending: true, limit: 100 };
const LATER_MS = 10_000;
const LATER_SHOWN = 5;

/** The queues of which nothing can be leased now, as all of it is for later: mostly that is meant so, so it is no warning. */
function Later(): VNode | null {
  const { data } = useCall<{ queues?: readonly LaterRow[] }>("queues.overview", LATER, LATER_MS);
  const rows = (data?.queues ?? []).filter(
    ({ waiting, leased, scheduled }) => waiting + leased === 0 && scheduled > 0,
  );
  if (rows.length === 0) return null;
  return html`<${Panel} title=${words.later}><ul class="warnings">${rows
    .slice(0, LATER_SHOWN)
    .map(
      (row) =>
        html`<li key=${queueHref(row)}><${Status} tone="info">${text.queues.scheduled}</${Status}><span>${words.allLater(row.queue_name, row.scheduled)} <a href=${queueHref(row)}>${words.look(row.queue_name)}</a></span></li>`,
    )}</ul></${Panel}>`;
}

/** The page. */
export function View(): VNode {
  const { data, error } = useCall<Overview>("server.overview", {}, EVERY_MS);
  return html`<div class="head"><h1>${words.title}</h1>${data && html`<${Health} data=${data} />`}</div>
    <${Trouble} error=${error} needs="queue.stats" />
    ${data && html`<${Content} data=${data} />`}`;
}

function Health({ data }: { readonly data: Overview }): VNode {
  const warnings = data.warnings ?? [];
  const isBad = warnings.some(({ severity }) => severity === "error");
  if (warnings.length === 0) return html`<${Status} tone="ok">${words.allWell}</${Status}>`;
  return html`<${Status} tone=${isBad ? "bad" : "warn"}>${words.warned(warnings.length)}</${Status}>`;
}

function Content({ data }: { readonly data: Overview }): VNode {
  const { totals, rates, series, warnings = [], worst = [], storages = [] } = data;
  const at = toMillis(series.at);
  return html`
    ${
      warnings.length > 0 &&
      html`<${Panel} title=${words.warnings}><ul class="warnings">${warnings.map(
        (each) =>
          html`<li key=${`${each.code}${each.queue_name}`}><${Status} tone=${each.severity === "error" ? "bad" : "warn"}>${
            each.severity === "error" ? words.error : words.warning
          }</${Status}><span>${each.text} ${
            each.queue_name &&
            html`<a href=${href(["queues", each.queue_name], inNamespace(each.namespace))}>${words.look(each.queue_name)}</a>`
          }</span></li>`,
      )}</ul></${Panel}>`
    }
    ${(totals.scheduled ?? 0) > 0 && html`<${Later} />`}
    <${Panel} title=${words.now}><dl class="figures">
      <${Figure} label=${words.queues} value=${count(totals.queues)} href=${href(["queues"])} />
      <${Figure} label=${text.queues.waiting} value=${count(totals.waiting)}
        href=${href(["queues"], { sort: "waiting", order: "down" })}
        note=${totals.oldest_age && words.oldest(span(totals.oldest_age))} />
      <${Figure} label=${text.queues.leased} value=${count(totals.leased)} />
      <${Figure} label=${text.queues.scheduled} value=${count(totals.scheduled)} />
      <${Figure} label=${text.queues.held} value=${count(totals.held)} />
      <${Figure} label=${text.queues.dead} value=${count(totals.dead)} href=${href(["queues"], { sort: "dead", order: "down" })} />
      <${Figure} label=${words.in} value=${rate(rates.in)} note=${words.perSecond} />
      <${Figure} label=${words.out} value=${rate(rates.out)} note=${words.perSecond} />
      <${Figure} label=${words.consumers} value=${count(totals.consumers_waiting)} />
    </dl></${Panel}>
    <div class="grid">
      <${Panel} title=${words.flow}><${Chart} label=${words.flow} at=${at} format=${rate} series=${[
        { label: words.in, values: perSecond(series.in, series), color: 1, fill: true },
        { label: words.out, values: perSecond(series.out, series), color: 2 },
      ]} /></${Panel}>
      <${Panel} title=${words.depth}><${Chart} label=${words.depth} at=${at} series=${[
        { label: text.queues.waiting, values: series.waiting ?? [], color: 1, fill: true },
        { label: words.died, values: series.dead ?? [], color: 5 },
      ]} /></${Panel}>
    </div>
    <div class="grid">
      <${Panel} title=${words.worst}><${Table} label=${words.worst} columns=${worstColumns} rows=${worst}
        rowKey=${(row: Worst) => `${row.namespace}/${row.queue_name}/${row.what}`} href=${queueHref}
        empty=${html`<${Empty} title=${words.noneWorst} />`} /></${Panel}>
      <${Panel} title=${words.windows}><${Table} label=${words.windows} columns=${windowColumns} rows=${data.windows}
        rowKey=${(row: { span: string }) => row.span} /></${Panel}>
    </div>
    ${
      data.whole &&
      html`<${Panel} title=${words.server} aside=${html`<span class="dim">${words.runs(data.version, data.threads ?? 1)}<${Time} at=${data.started_at} relative /></span>`}>
      <${Table} label=${words.storages} columns=${storageColumns} rows=${storages} rowKey=${(row: Storage) => row.name} />
    </${Panel}>`
    }`;
}

// What a queue does, and has done of late: charts, why its items die, its limits, and its counts since it was made.

import type { VNode } from "preact";
import { Chart } from "../components/chart.ts";
import { Bar, Chip, Empty, Panel, Time, Trouble } from "../components/controls.ts";
import { type Column, Table } from "../components/table.ts";
import { count, rate, span } from "../format.ts";
import { html } from "../html.ts";
import { useCall } from "../live.ts";
import { href, NAMESPACE, route, setQuery } from "../router.ts";
import { text } from "../text.ts";
import type { Stats } from "./queue-parts.ts";
import type { QueueInfo } from "./queue-settings.ts";
import { type DeadGroup, perSecond, toMillis, withGaps } from "./shared.ts";

type Columns = Readonly<Record<string, readonly number[] | undefined>>;

interface History {
  readonly step: number;
  readonly kept?: boolean;
  readonly at?: readonly number[];
}

interface Namespace {
  readonly quotas?: Readonly<Record<string, number | undefined>>;
  readonly used?: Readonly<Record<string, number | undefined>>;
}

const EVERY_MS = 10_000;
const SPANS = ["1h", "6h", "24h", "7d"];
const GROUPS_MAX = 5;
const words = text.queue;

export function ActivityTab(props: {
  readonly name: string;
  readonly stats: Stats;
  readonly info: QueueInfo | undefined;
}): VNode {
  const { name, stats, info } = props;
  const asked = route.value.query.span ?? "";
  const wanted = SPANS.includes(asked) ? asked : "1h";
  const { data, error } = useCall<History & Columns>(
    "queue.history",
    { queue_name: name, span: wanted },
    EVERY_MS,
  );
  return html`<div class="toolbar" role="group" aria-label=${words.span}>${SPANS.map(
    (each) =>
      html`<${Chip} on=${each === wanted} onClick=${() => setQuery({ span: each === "1h" ? "" : each })}>${text.overview.spans[each]}</${Chip}>`,
  )}</div>
  <${Trouble} error=${error} needs="queue.stats" />
  ${data?.kept === false && html`<p class="dim">${words.noHistory}</p>`}
  ${data && html`<${Charts} data=${data} />`}
  <div class="grid">
    <div class="column">${info?.dead_queue && html`<${Groups} dead=${info.dead_queue} />`}
      <${Limits} stats=${stats} info=${info} /></div>
    <${Counts} stats=${stats} />
  </div>`;
}

function Charts({ data }: { readonly data: History & Columns }): VNode {
  const at = toMillis(data.at);
  const flow = (key: string): (number | null)[] => perSecond(data[key], data);
  const seconds = (value: number | null | undefined): string =>
    value === null || value === undefined ? "–" : span(value * 1_000);
  return html`<div class="grid">
    <${Panel} title=${words.flow}><${Chart} label=${words.flow} at=${at} format=${rate} series=${[
      { label: text.overview.in, values: flow("in"), color: 1, fill: true },
      { label: text.overview.out, values: flow("out"), color: 2 },
    ]} /></${Panel}>
    <${Panel} title=${words.depth}><${Chart} label=${words.depth} at=${at} series=${[
      { label: text.queues.waiting, values: data.waiting ?? [], color: 1, fill: true },
      { label: text.queues.leased, values: data.leased ?? [], color: 2 },
      { label: text.queues.scheduled, values: data.scheduled ?? [], color: 4 },
    ]} /></${Panel}>
    <${Panel} title=${words.times}><${Chart} label=${words.times} at=${at} format=${seconds} series=${[
      { label: words.waitP50, values: withGaps(data.wait_p50), color: 1 },
      { label: words.waitP99, values: withGaps(data.wait_p99), color: 6 },
      { label: words.runP50, values: withGaps(data.run_p50), color: 2 },
      { label: words.runP99, values: withGaps(data.run_p99), color: 3 },
    ]} /></${Panel}>
    <${Panel} title=${words.troubles}><${Chart} label=${words.troubles} at=${at} series=${[
      { label: words.retried, values: data.retried ?? [], color: 3 },
      { label: text.overview.died, values: data.dead ?? [], color: 5 },
    ]} /></${Panel}>
  </div>`;
}

const groupColumns: readonly Column<DeadGroup>[] = [
  {
    key: "error",
    title: words.error,
    cell: (
      row,
    ) => html`<strong>${row.error_type || words.reasons[row.reason ?? ""] || row.reason}</strong>
      ${row.kind && html` <span class="dim">${row.kind}</span>`}<div class="note">${row.message}</div>`,
  },
  { key: "count", title: words.items, number: true, cell: (row) => count(row.count) },
  {
    key: "last",
    title: words.last,
    number: true,
    wide: true,
    cell: (row) => html`<${Time} at=${row.last_at} relative />`,
  },
];

// Other queues may have the same dead queue: what died alike is one group, whichever it came from.
function Groups({ dead }: { readonly dead: string }): VNode {
  const { data, error } = useCall<{ groups?: readonly DeadGroup[] }>(
    "queue.dead_groups",
    { queue_name: dead, limit: GROUPS_MAX },
    EVERY_MS,
  );
  return html`<${Panel} title=${words.errorsIn(dead)} aside=${html`<a href=${href(["queues", dead, "dead"])}>${words.allErrors}</a>`}>
    <${Trouble} error=${error} needs="item.read" />
    ${
      data &&
      html`<${Table} label=${words.errors} columns=${groupColumns} rows=${data.groups ?? []}
      rowKey=${(row: DeadGroup) => row.fingerprint} empty=${html`<${Empty} title=${words.noErrors} />`} />`
    }</${Panel}>`;
}

function Counts({ stats: { totals } }: { readonly stats: Stats }): VNode {
  const rows = Object.entries(words.counts).map(([key, label]) => ({ key, label }));
  const columns: readonly Column<{ readonly key: string; readonly label: string }>[] = [
    { key: "what", title: words.what, cell: (row) => row.label },
    {
      key: "ever",
      title: words.ever,
      number: true,
      cell: (row) => count(totals.counts[row.key] ?? 0),
    },
    {
      key: "rate",
      title: words.aSecond,
      number: true,
      cell: (row) => rate(totals.rates[row.key] ?? 0),
    },
  ];
  return html`<${Panel} title=${words.sinceMade}><${Table} label=${words.sinceMade} columns=${columns} rows=${rows}
    rowKey=${(row: { key: string }) => row.key} /></${Panel}>`;
}

function Limits({
  stats: { totals },
  info,
}: {
  readonly stats: Stats;
  readonly info: QueueInfo | undefined;
}): VNode {
  const namespace = route.value.query[NAMESPACE];
  const keepMax = (info?.keep_max ?? 0) * (info?.partitions ?? 1);
  return html`<${Panel} title=${words.limits}><div class="stack">
    ${info && keepMax > 0 && info.keep_completed !== "0s" ? bar(words.kept, totals.kept, keepMax) : html`<p class="dim">${words.keepsNothing}</p>`}
    ${namespace && html`<${QuotaBars} namespace=${namespace} />`}</div></${Panel}>`;
}

function QuotaBars({ namespace }: { readonly namespace: string }): VNode {
  const { data, error } = useCall<Namespace>("namespaces.info", { name: namespace }, EVERY_MS);
  const quotas = Object.entries(data?.quotas ?? {}).filter(([, max]) => (max ?? 0) > 0);
  return html`<h3>${words.quotasOf(namespace)}</h3><${Trouble} error=${error} needs="namespace.list" />
    ${data && quotas.length === 0 && html`<p class="dim">${words.noQuotas}</p>`}
    ${quotas.map(([key, max]) => bar(words.quotas[key] ?? key, data?.used?.[key] ?? 0, max ?? 0))}`;
}

function bar(label: string, value: number, max: number): VNode {
  return html`<${Bar} label=${label} value=${value} max=${max} shown=${words.of(count(value), count(max))} />`;
}

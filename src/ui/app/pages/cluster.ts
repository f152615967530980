// The server itself: what it is, where it keeps things, whether that is well; and a file of it to send with a question.

import type { VNode } from "preact";
import { address, call, headers, reach } from "../api.ts";
import { Button, Empty, Panel, Status, Time, type Tone, Trouble } from "../components/controls.ts";
import { type Column, Table } from "../components/table.ts";
import { bytes, count } from "../format.ts";
import { html } from "../html.ts";
import { useLive } from "../live.ts";
import { text } from "../text.ts";
import { accessText } from "../text-access.ts";
import { OpenNote } from "./access-shared.ts";
import { DumpPanel } from "./cluster-dump.ts";
import type { ServerFacts, Storage } from "./shared.ts";

interface Health {
  readonly status: string;
  readonly checks?: Readonly<
    Record<string, readonly { readonly status: string; readonly output?: string }[]>
  >;
}

const EVERY_MS = 5_000;
const INDENT = 2;
const words = accessText.cluster;
const TONES: Readonly<Record<string, Tone>> = {
  ok: "ok",
  pass: "ok",
  serving: "ok",
  warn: "warn",
  trouble: "warn",
  fail: "bad",
  failing: "bad",
};

const columns: readonly Column<Storage>[] = [
  {
    key: "name",
    title: text.overview.storage,
    cell: (row) => html`${row.name} <span class="dim">${row.kind}</span>`,
  },
  {
    key: "state",
    title: text.queues.state,
    cell: (row) =>
      html`<${Status} tone=${TONES[row.state] ?? "info"}>${text.overview.states[row.state] ?? row.state}</${Status}>
        ${row.trouble && html`<div class="note">${row.trouble}</div>`}`,
  },
  {
    key: "data",
    title: text.overview.data,
    number: true,
    cell: (row) => html`<span title=${count(row.data_bytes)}>${bytes(row.data_bytes)}</span>`,
  },
  {
    key: "free",
    title: text.overview.free,
    number: true,
    cell: (row) => html`<span title=${count(row.free_bytes)}>${bytes(row.free_bytes)}</span>`,
  },
];

async function health(signal?: AbortSignal): Promise<Health> {
  const init = { headers: headers(), ...(signal && { signal }) };
  return (await (await reach(address("health"), init)).json()) as Health;
}

/** The page. */
export function View(): VNode {
  const { data, error } = useLive(
    (signal) => call<ServerFacts>("server.overview", {}, { signal }),
    [],
    EVERY_MS,
  );
  const told = useLive(health, [], EVERY_MS);
  return html`<h1>${text.access.cluster}</h1><${OpenNote} /><${Trouble} error=${error} needs="queue.stats" />
    ${told.data && html`<${Panel} title=${words.health}><${HealthOf} of=${told.data} /></${Panel}>`}
    ${data && html`<${Content} data=${data} />`}
    <${DumpPanel} />
    <${Panel} title=${words.report}><div class="stack"><p>${words.reportWhy}</p>
      <div><${Button} onClick=${() => void save()}>${words.save}</${Button}></div></div></${Panel}>
    <${Panel} title=${words.elsewhere}><ul><li><a href=${address("docs")}>${words.docs}</a></li>
      <li><a href=${address("metrics")}>${words.metrics}</a><p class="note">${words.metricsNote}</p></li></ul></${Panel}>`;
}

function HealthOf({ of }: { readonly of: Health }): VNode {
  const outputs = Object.values(of.checks ?? {}).flatMap((checks) =>
    checks.flatMap(({ output }) => output ?? []),
  );
  return html`<${Status} tone=${TONES[of.status] ?? "info"}>${words.healths[of.status] ?? of.status}</${Status}>
    ${outputs.map((each) => html`<p>${each}</p>`)}${of.checks === undefined && html`<p class="note">${words.healthHidden}</p>`}`;
}

function Content({ data }: { readonly data: ServerFacts }): VNode {
  const wrong = (data.warnings ?? []).filter(({ queue_name: queue }) => !queue);
  return html`<${Panel} title=${words.server}><dl class="pairs">
      <dt>${words.version}</dt><dd>${data.version}</dd>
      <dt>${words.mode}</dt><dd><${Status} tone=${TONES[data.mode] ?? "warn"}>${data.mode}</${Status}></dd>
      ${data.whole && html`<dt>${words.threads}</dt><dd>${count(data.threads ?? 1)}</dd>`}
      <dt>${words.started}</dt><dd><${Time} at=${data.started_at} /></dd></dl></${Panel}>
    <${Panel} title=${text.overview.storages}>${
      data.whole
        ? html`<${Table} label=${text.overview.storages} columns=${columns} rows=${data.storages ?? []}
          rowKey=${(row: Storage) => row.name} empty=${html`<${Empty} title=${words.noStorages} />`} />`
        : html`<p class="dim">${words.partOnly}</p>`
    }</${Panel}>
    <${Panel} title=${words.warnings}>${
      wrong.length === 0
        ? html`<p class="dim">${words.well}</p>`
        : html`<ul class="warnings">${wrong.map(
            (each) =>
              html`<li key=${each.code}><${Status} tone=${each.severity === "error" ? "bad" : "warn"}>${
                each.severity === "error" ? text.overview.error : text.overview.warning
              }</${Status}><span>${each.text}</span></li>`,
          )}</ul>`
    }</${Panel}>`;
}

/** What the server says of itself, as a file. */
async function save(): Promise<void> {
  const [overview, told] = await Promise.all([
    call("server.overview").catch(String),
    health().catch(String),
  ]);
  const report = JSON.stringify({ overview, health: told }, null, INDENT);
  const url = URL.createObjectURL(new Blob([report], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = "querator-report.json";
  link.click();
  URL.revokeObjectURL(url);
}

// One item: what it is, what has become of it and why, what it holds, and what may be done to it.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { CallError, call } from "../api.ts";
import { Button, Empty, Field, Panel, Time, Trouble } from "../components/controls.ts";
import { FormDialog } from "../components/dialog.ts";
import { Tree } from "../components/tree.ts";
import { ago, count } from "../format.ts";
import { type Children, html } from "../html.ts";
import { ACTIONS, type Action, fits, mayChange } from "../item-actions.ts";
import { exactly, type Item, isLive } from "../items.ts";
import { useKeys } from "../keys.ts";
import { useLive } from "../live.ts";
import type { PageProps } from "../page.ts";
import { href, NAMESPACE, setQuery } from "../router.ts";
import { text } from "../text.ts";
import { ActionDialog } from "./item-actions-dialog.ts";
import { EditItem } from "./item-edit.ts";
import { stateCell } from "./item-state.ts";
import { Timeline } from "./item-timeline.ts";
import { LoadedPayload } from "./payload.ts";

const POLL_MS = 3_000;
const TRACE = "querator.trace";
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-/;

interface Explained {
  readonly reasons?: readonly {
    readonly code: string;
    readonly detail: string;
    readonly until?: string;
    readonly since?: string;
  }[];
  readonly position?: number;
  readonly expected_at?: string;
}

export function View({ params, query }: PageProps): VNode {
  const queue = params.queue!;
  const id = params.id!;
  const { data, error, refresh } = useLive(
    (signal) => readItem(queue, id, signal),
    [queue, id],
    POLL_MS,
  );
  const [doing, setDoing] = useState<Action>();
  const [edits, setEdits] = useState(false);
  const item = data?.item;
  const lies = item?.queue_name ?? queue;
  const mayEdit = item !== undefined && isLive(item) && item.state !== "leased";
  const actions = ACTIONS.filter((action) => item !== undefined && fits(action, item));
  const payload = query.payload === "shown";
  const togglePayload = (): void => setQuery({ payload: payload ? "" : "shown" });
  useKeys([
    { keys: "p", text: text.items.togglePayload, run: togglePayload },
    { keys: "e", text: text.items.edit, run: () => mayEdit && mayChange() && setEdits(true) },
    ...(mayChange() ? actions : []).map((action) => ({
      keys: text.items.actions[action].key,
      text: text.items.actions[action].name,
      run: () => setDoing(action),
    })),
  ]);

  if (item === undefined) {
    const gone = error instanceof CallError && error.problem.status === 404;
    return html`<h1 class="mono">${id}</h1>
      ${gone ? html`<${Empty} title=${text.items.gone}><p>${text.items.goneWhy}</p><p><a href=${href(["queues", queue, "items"])}>${text.items.of(queue)}</a></p></${Empty}>` : html`<${Trouble} error=${error} needs="item.read" />`}`;
  }
  return html`<div class="head"><h1 class="mono">${id}</h1>${stateCell(item)}
      <a href=${href(["queues", lies, "items"])}>${text.items.of(lies)}</a></div>
    <div class="toolbar">
      ${actions.map(
        (action) =>
          html`<${Button} key=${action} changes kind=${action === "delete" ? "danger" : undefined} onClick=${() => setDoing(action)}>${text.items.actions[action].name}</${Button}>`,
      )}
      <${Button} changes disabled=${!mayEdit} title=${mayEdit ? undefined : text.items.editNot} onClick=${() => setEdits(true)}>${text.items.edit}</${Button}>
      <a href=${href(["try"], { queue: lies, like: id, [NAMESPACE]: query[NAMESPACE] })}>${text.items.again}</a></div>
    <${Trouble} error=${error} needs="item.read" />
    <div class="grid">
      <div class="stack"><${Explain} explained=${data?.explained} />
        <${Panel} title=${text.items.timeline}><${Timeline} queue=${lies} item=${item} onEvent=${refresh} /></${Panel}></div>
      <${Panel} title=${text.items.attributes}><${Attributes} item=${item} queue=${lies} /></${Panel}>
    </div>
    ${item.last_error === undefined ? null : html`<${LastError} error=${item.last_error} />`}
    <${Panel} title=${text.items.payload} aside=${html`<${Button} onClick=${togglePayload}>${payload ? text.items.hide : text.items.show}</${Button}>`}>
      ${payload ? html`<${LoadedPayload} queue=${queue} id=${id} />` : html`<p class="dim">${text.items.payloadHidden}</p>`}</${Panel}>
    ${value(text.items.headers, item.headers)}${value(text.items.result, item.result)}${value(text.items.progressOf, item.progress)}
    ${
      doing === undefined
        ? null
        : html`<${ActionDialog} queue=${lies} action=${doing} target=${{ items: [item] }}
          onClose=${(changed: boolean) => {
            setDoing(undefined);
            if (changed) refresh();
          }} />`
    }
    ${
      edits
        ? html`<${EditItem} queue=${lies} item=${item} onClose=${() => {
            setEdits(false);
            refresh();
          }} />`
        : null
    }`;
}

async function readItem(
  queue: string,
  id: string,
  signal: AbortSignal,
): Promise<{ readonly item: Item; readonly explained: Explained }> {
  const named = { queue_name: queue, id };
  const [item, explained] = await Promise.all([
    call<Item>("item.get", named, { signal, reviver: exactly }),
    call<Explained>("item.explain", named, { signal }),
  ]);
  return { item, explained };
}

function Explain({ explained }: { readonly explained: Explained | undefined }): VNode {
  const { reasons = [], position, expected_at } = explained ?? {};
  return html`<${Panel} title=${text.items.why}><ul class="stack">${reasons.map(
    ({ code, detail, until, since }) =>
      html`<li key=${code}><strong>${code}</strong> ${detail}
        ${until === undefined ? null : html`<span class="dim">${" "}${text.items.until} <${Time} at=${until} /> (${ago(until)})</span>`}
        ${since === undefined ? null : html`<span class="dim">${" "}${text.items.since} <${Time} at=${since} /> (${ago(since)})</span>`}</li>`,
  )}</ul>
    ${position === undefined ? null : html`<p>${text.items.position(position)}</p>`}
    ${expected_at === undefined ? null : html`<p>${text.items.expected} <${Time} at=${expected_at} /> (${ago(expected_at)})</p>`}</${Panel}>`;
}

function LastError({ error }: { readonly error: NonNullable<Item["last_error"]> }): VNode {
  return html`<${Panel} title=${text.items.lastError}><p><strong>${error.type}</strong> ${error.message}</p>
    ${error.stack ? html`<pre class="payload" tabindex="0">${error.stack}</pre>` : null}</${Panel}>`;
}

function value(title: string, of: unknown): VNode | null {
  if (of === undefined) return null;
  return html`<${Panel} title=${title}><${Tree} value=${of} /></${Panel}>`;
}

function Attributes({ item, queue }: { readonly item: Item; readonly queue: string }): VNode {
  const { source, retry, max_attempts: max } = item;
  const attempts =
    max === undefined
      ? count(item.attempts ?? 0)
      : text.items.ofMax(count(item.attempts ?? 0), max === 0 ? "∞" : count(max));
  const rows: readonly (readonly [string, Children])[] = [
    [text.items.queue, html`<a href=${href(["queues", queue])}>${queue}</a>`],
    [text.items.partition, count(item.partition ?? 0)],
    [text.items.attempts, attempts],
    [text.items.kind, item.kind],
    [text.items.reference, item.reference],
    [text.items.encoding, item.encoding],
    [text.items.uniqueKey, item.unique_key],
    [text.items.sourceId, item.source_id],
    [text.items.expires, item.expire_at && html`<${Time} at=${item.expire_at} />`],
    [text.items.leaseId, item.lease_id && html`<span class="mono">${item.lease_id}</span>`],
    [text.items.retryPolicy, retry && JSON.stringify(retry)],
    [
      text.items.cameFrom,
      source && html`<a href=${href(["queues", source.queue_name])}>${source.queue_name}</a>`,
    ],
    [
      text.items.fingerprint,
      source?.fingerprint && html`<span class="mono">${source.fingerprint}</span>`,
    ],
  ];
  const traceparent = item.headers?.traceparent;
  return html`<dl class="pairs">${rows
    .filter(([, shown]) => shown !== undefined && shown !== "")
    .map(([name, shown]) => html`<dt>${name}</dt><dd>${shown}</dd>`)}
    ${traceparent === undefined ? null : html`<${Trace} traceparent=${traceparent} />`}</dl>`;
}

/** The trace that produced it, in whatever shows traces here: where that is, this browser is told once. */
function Trace({ traceparent }: { readonly traceparent: string }): VNode {
  const [asks, setAsks] = useState(false);
  const [template, setTemplate] = useState(() => localStorage.getItem(TRACE) ?? "");
  const [typed, setTyped] = useState(template);
  const [, trace = "", span = ""] = TRACEPARENT.exec(traceparent) ?? [];
  const link = template.replaceAll("{trace}", trace).replaceAll("{span}", span);
  const isLink = trace !== "" && /^https?:/.test(link);
  return html`<dt>${text.items.trace}</dt><dd><span class="mono">${
    isLink
      ? html`<a href=${link} target="_blank" rel="noreferrer">${trace}</a>`
      : trace || traceparent
  }</span> <${Button} kind="quiet" onClick=${() => setAsks(true)}>${text.items.traceSet}</${Button}>
    ${
      asks
        ? html`<${FormDialog} title=${text.items.traceSet} submit=${text.items.save} own onClose=${() => setAsks(false)}
          onSubmit=${async () => {
            localStorage.setItem(TRACE, typed.trim());
            setTemplate(typed.trim());
          }}>
          <${Field} label=${text.items.traceTemplate} value=${typed} onInput=${setTyped} hint=${text.items.traceHint}
            placeholder="https://traces.example.com/trace/{trace}" mono autofocus /></${FormDialog}>`
        : null
    }</dd>`;
}

// A payload: as a tree if it is JSON, as text if it is one, and as bytes. It is asked for when it is wanted only.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call } from "../api.ts";
import { Button, Chip, Trouble } from "../components/controls.ts";
import { Dialog } from "../components/dialog.ts";
import { Tree } from "../components/tree.ts";
import { bytes as shownBytes } from "../format.ts";
import { html } from "../html.ts";
import { bytesOf, exactly, type Item, jsonOf, textOf } from "../items.ts";
import { useLive } from "../live.ts";
import { text } from "../text.ts";

const TEXT_MAX = 100_000;
const HEX_MAX = 4_096;
const HEX_ROW = 16;

type View = "tree" | "text" | "hex";

/** The payload of an item that was read with it. */
export function Payload({ item }: { readonly item: Item }): VNode {
  const bytes = bytesOf(item);
  const plain = textOf(item);
  const value = item.json !== undefined ? item.json : jsonOf(plain ?? "");
  const views: View[] = [];
  if (value !== undefined) views.push("tree");
  if (plain !== undefined) views.push("text");
  views.push("hex");
  const [chosen, setChosen] = useState<View>();
  const view = chosen !== undefined && views.includes(chosen) ? chosen : views[0]!;
  const pretty = value === undefined ? (plain ?? "") : JSON.stringify(value, null, 2);
  const form = item.json !== undefined ? "JSON" : item.bytes !== undefined ? "bytes" : "text";

  if (bytes.length === 0) return html`<p class="dim">${text.items.payloadEmpty}</p>`;
  return html`<div class="stack"><div class="toolbar">${views.map(
    (each) =>
      html`<${Chip} on=${each === view} onClick=${() => setChosen(each)}>${
        text.items.views[each]
      }</${Chip}>`,
  )}<span class="dim">${form} · ${shownBytes(bytes.length)}</span>
      <${Button} kind="quiet" onClick=${() => void navigator.clipboard?.writeText(pretty)}>${text.items.copy}</${Button}></div>
    ${view === "tree" ? html`<${Tree} value=${value} />` : null}
    ${view === "text" ? html`<pre class="payload" tabindex="0">${cut(pretty, TEXT_MAX)}</pre>` : null}
    ${view === "hex" ? html`<pre class="payload" tabindex="0">${cut(hexOf(bytes), Number.POSITIVE_INFINITY)}</pre>` : null}
    ${
      (view === "text" && pretty.length > TEXT_MAX) || (view === "hex" && bytes.length > HEX_MAX)
        ? html`<p class="note">${text.items.payloadCut}</p>`
        : null
    }</div>`;
}

function cut(whole: string, max: number): string {
  return whole.length > max ? whole.slice(0, max) : whole;
}

/** Bytes as people read them who look at bytes: where they are, what they are, and what they would be as text. */
function hexOf(bytes: Uint8Array): string {
  const rows: string[] = [];
  for (let at = 0; at < Math.min(bytes.length, HEX_MAX); at += HEX_ROW) {
    const row = [...bytes.subarray(at, at + HEX_ROW)];
    const hex = row.map((each) => each.toString(16).padStart(2, "0")).join(" ");
    const letters = row
      .map((each) => (each >= 32 && each < 127 ? String.fromCharCode(each) : "."))
      .join("");
    rows.push(`${at.toString(16).padStart(8, "0")} ${hex.padEnd(HEX_ROW * 3)} ${letters}`);
  }
  return rows.join("\n");
}

/** Reads an item with its payload. */
export function readWithPayload(queue: string, id: string, signal?: AbortSignal): Promise<Item> {
  const body = { queue_name: queue, id, payload: true };
  return call<Item>("item.get", body, { ...(signal && { signal }), reviver: exactly });
}

/** Asks for the payload of one item, and shows it. */
export function LoadedPayload({
  queue,
  id,
}: {
  readonly queue: string;
  readonly id: string;
}): VNode {
  const { data, error } = useLive((signal) => readWithPayload(queue, id, signal), [queue, id]);
  return html`<${Trouble} error=${error} needs="item.read" />
    ${data === undefined ? (error ? null : html`<p class="dim">${text.items.loading}</p>`) : html`<${Payload} item=${data} />`}`;
}

/** The same before the page. */
export function PayloadDialog(props: {
  readonly queue: string;
  readonly id: string;
  readonly onClose: () => void;
}): VNode {
  return html`<${Dialog} title=${text.items.payloadOf(props.id)} onClose=${props.onClose} wide>
    <${LoadedPayload} queue=${props.queue} id=${props.id} /></${Dialog}>`;
}

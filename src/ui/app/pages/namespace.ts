// One namespace: what it may use and how near it is, and where to find what is in it.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call, config } from "../api.ts";
import { Bar, Button, Panel, Time, Trouble } from "../components/controls.ts";
import { ConfirmTyped, toast } from "../components/dialog.ts";
import { bytes, count } from "../format.ts";
import { html } from "../html.ts";
import { useCall } from "../live.ts";
import type { PageProps } from "../page.ts";
import { go, href } from "../router.ts";
import { text } from "../text.ts";
import { accessText } from "../text-access.ts";
import { type Namespace, OpenNote, SYSTEM } from "./access-shared.ts";
import { NamespaceForm } from "./namespaces.ts";

const EVERY_MS = 3_000;
const words = accessText.namespaces;
const LINKS = [
  ["queues", words.toQueues],
  ["roles", words.toRoles],
  ["bindings", words.toBindings],
  ["keys", words.toKeys],
  ["audit", words.toAudit],
] as const;

/** The page. */
export function View({ params }: PageProps): VNode {
  const name = params.namespace!;
  const [open, setOpen] = useState<"" | "edit" | "delete">("");
  const { data, error, refresh } = useCall<Namespace>("namespaces.info", { name }, EVERY_MS);
  const close = (): void => {
    setOpen("");
    refresh();
  };
  const remove = async (): Promise<void> => {
    await call("namespaces.delete", { name });
    toast(accessText.deleted(name));
    go(["namespaces"]);
  };
  const aside =
    name !== SYSTEM &&
    html`<div class="aside"><${Button} changes onClick=${() => setOpen("edit")}>${accessText.edit}</${Button}>
      <${Button} changes kind="danger" onClick=${() => setOpen("delete")}>${accessText.delete}</${Button}></div>`;
  return html`<div class="head"><h1>${name}</h1>${data && aside}</div><${OpenNote} />
    <nav class="toolbar" aria-label=${name}>${LINKS.map(
      ([path, title]) =>
        html`<a class="button" href=${href([path], { ns: name === SYSTEM ? "" : name })}>${title}</a>`,
    )}</nav>
    <${Trouble} error=${error} needs="queue.stats" />
    ${data && html`<${Content} of=${data} />`}
    ${data && open === "edit" && html`<${NamespaceForm} of=${data} onClose=${close} />`}
    ${
      open === "delete" &&
      html`<${ConfirmTyped} title=${accessText.deleteTitle(name)} submit=${accessText.deleteIt} name=${name}
        needs="namespace.delete" onSubmit=${remove} onClose=${() => setOpen("")}><p>${words.deleteWhy}</p></${ConfirmTyped}>`
    }`;
}

function Content({ of }: { readonly of: Namespace }): VNode {
  if (of.name === SYSTEM) return html`<p class="dim">${words.system}</p>`;
  return html`<${Panel} title=${words.used}><div class="stack">${Object.entries(
    text.queue.quotas,
  ).map(([key, label]) => {
    const [used, max] = [of.used?.[key] ?? 0, of.quotas?.[key] ?? 0];
    const shown = (value: number | string): string =>
      key === "bytes" ? bytes(Number(value)) : count(value);
    return html`<${Bar} key=${key} label=${label} value=${Number(used)} max=${Number(max)}
      shown=${Number(max) === 0 ? words.unlimited(shown(used)) : words.usedOf(shown(used), shown(max))} />`;
  })}</div></${Panel}>
    <${Panel} title=${words.details}><dl class="pairs">
      <dt>${words.description}</dt><dd>${of.description || "–"}</dd>
      <dt>${words.keyTag}</dt><dd class="mono">${of.key_tag || "–"}</dd>
      <dt>${accessText.created}</dt><dd><${Time} at=${of.created_at} /></dd></dl>
      ${config.value?.readOnly && html`<p class="note">${text.shell.readOnlyWhy}</p>`}</${Panel}>`;
}

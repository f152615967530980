// The namespaces: which there are, and what they may use; made and changed here. One of them has a page of its own.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call } from "../api.ts";
import { Button, Field, Panel, Time, Trouble } from "../components/controls.ts";
import { FormDialog, toast } from "../components/dialog.ts";
import { type Column, Table } from "../components/table.ts";
import { count } from "../format.ts";
import { html } from "../html.ts";
import { useKeys } from "../keys.ts";
import { useCall } from "../live.ts";
import type { PageProps } from "../page.ts";
import { go, href } from "../router.ts";
import { text } from "../text.ts";
import { accessText } from "../text-access.ts";
import { type Namespace, OpenNote, Pager, type Quotas } from "./access-shared.ts";

const EVERY_MS = 10_000;
const NUMBER = /^\d*$/;
const QUOTAS = Object.keys(text.queue.quotas);
const words = accessText.namespaces;

/** The page of a namespace; not kept in the one that this page is about. */
export const namespaceHref = ({ name }: { readonly name: string }): string =>
  href(["namespaces", name], { ns: "" });

const columns: readonly Column<Namespace>[] = [
  {
    key: "name",
    title: accessText.name,
    cell: (row) => html`<a href=${namespaceHref(row)}>${row.name}</a>`,
  },
  { key: "description", title: words.description, cell: (row) => row.description },
  {
    key: "quotas",
    title: words.quotas,
    wide: true,
    cell: ({ quotas }) => html`<span class="dim">${inWords(quotas)}</span>`,
  },
  {
    key: "tag",
    title: words.keyTag,
    wide: true,
    cell: (row) => html`<span class="mono">${row.key_tag}</span>`,
  },
  {
    key: "created",
    title: accessText.created,
    wide: true,
    cell: (row) => html`<${Time} at=${row.created_at} />`,
  },
];

function inWords(quotas: Quotas = {}): string {
  const set = QUOTAS.filter((name) => Number(quotas[name] ?? 0) > 0);
  if (set.length === 0) return words.noQuotas;
  return set.map((name) => `${text.queue.quotas[name]} ${count(quotas[name])}`).join(", ");
}

/** The page. */
export function View({ query }: PageProps): VNode {
  const { cursor = "" } = query;
  const [creating, setCreating] = useState(false);
  const { data, error, refresh } = useCall<{
    namespaces?: readonly Namespace[];
    next_cursor?: string;
  }>("namespaces.list", { limit: 100, ...(cursor && { cursor }) }, EVERY_MS);
  useKeys([{ keys: "c", text: words.create, run: () => setCreating(true) }]);
  return html`<div class="head"><h1>${text.access.namespaces}</h1><div class="aside">
      <${Button} kind="primary" changes onClick=${() => setCreating(true)}>${words.create}</${Button}></div></div>
    <${OpenNote} /><p class="dim">${words.about}</p>
    <${Trouble} error=${error} needs="namespace.list" />
    ${error !== undefined && data === undefined && html`<${Known} />`}
    ${
      data &&
      html`<${Table} label=${text.access.namespaces} columns=${columns} rows=${data.namespaces ?? []}
      rowKey=${(row: Namespace) => row.name} href=${namespaceHref} /><${Pager} cursor=${cursor} next=${data.next_cursor} />`
    }
    ${
      creating &&
      html`<${NamespaceForm} onClose=${() => {
        setCreating(false);
        refresh();
      }} />`
    }`;
}

// A key that is for one namespace may not list them all, but may look at its own.
function Known(): VNode {
  const [name, setName] = useState("");
  const submit = (event: Event): void => {
    event.preventDefault();
    if (name.trim() !== "") go(["namespaces", name.trim()], { ns: "" });
  };
  return html`<${Panel} title=${accessText.oneNamespace.title}><form class="toolbar" onSubmit=${submit}>
    <${Field} label=${accessText.oneNamespace.name} value=${name} onInput=${setName} mono />
    <${Button} submit>${accessText.oneNamespace.open}</${Button}></form></${Panel}>`;
}

/** Makes a namespace, or changes the one that is given. */
export function NamespaceForm({
  of,
  onClose,
}: {
  readonly of?: Namespace;
  readonly onClose: () => void;
}): VNode {
  const [name, setName] = useState(of?.name ?? "");
  const [description, setDescription] = useState(of?.description ?? "");
  const [keyTag, setKeyTag] = useState(of?.key_tag ?? "");
  const [quotas, setQuotas] = useState<Readonly<Record<string, string>>>(() =>
    Object.fromEntries(QUOTAS.map((each) => [each, String(of?.quotas?.[each] || "")])),
  );
  const isBad = Object.values(quotas).some((each) => !NUMBER.test(each));
  const submit = async (): Promise<void> => {
    const trimmed = name.trim();
    // Of 64 bits: they go as they were typed.
    const given = QUOTAS.map((each) => [each, asNumber(quotas[each])]);
    await call(of === undefined ? "namespaces.create" : "namespaces.update", {
      name: trimmed,
      description,
      key_tag: keyTag,
      quotas: Object.fromEntries(given),
    });
    toast(of === undefined ? accessText.made(trimmed) : accessText.saved(trimmed));
    if (of === undefined) location.hash = namespaceHref({ name: trimmed });
  };
  return html`<${FormDialog} title=${of === undefined ? words.create : accessText.editOf(of.name)} wide
      submit=${of === undefined ? accessText.make : accessText.save} disabled=${name.trim() === "" || isBad}
      needs=${of === undefined ? "namespace.create" : "namespace.update"} onSubmit=${submit} onClose=${onClose}>
    ${of === undefined && html`<${Field} label=${accessText.name} value=${name} onInput=${setName} autofocus mono />`}
    <${Field} label=${words.description} value=${description} onInput=${setDescription} />
    <${Field} label=${words.keyTag} hint=${words.keyTagHint} value=${keyTag} onInput=${setKeyTag} mono />
    <h3>${words.quotas}</h3><p class="note">${words.quotasHint}</p>
    <div class="fields">${QUOTAS.map(
      (
        each,
      ) => html`<${Field} key=${each} label=${text.queue.quotas[each]} value=${quotas[each]} mono
        error=${NUMBER.test(quotas[each] ?? "") ? undefined : words.notNumber}
        onInput=${(value: string) => setQuotas({ ...quotas, [each]: value.replaceAll(",", "").trim() })} />`,
    )}</div></${FormDialog}>`;
}

function asNumber(typed = ""): number | string {
  const value = Number(typed);
  return Number.isSafeInteger(value) ? value : typed;
}

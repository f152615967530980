// The keys that callers show: made, rotated and revoked. A key is told once, by the dialog that made it.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call, key as ownKey } from "../api.ts";
import { Button, Empty, Field, Time, Trouble } from "../components/controls.ts";
import { Dialog, FormDialog, toast } from "../components/dialog.ts";
import { type Column, Table } from "../components/table.ts";
import { html } from "../html.ts";
import { useKeys } from "../keys.ts";
import { useCall } from "../live.ts";
import type { PageProps } from "../page.ts";
import { setQuery } from "../router.ts";
import { text } from "../text.ts";
import { accessText } from "../text-access.ts";
import {
  NamespaceChoice,
  OpenNote,
  Pager,
  RowButton,
  UserField,
  useUsers,
} from "./access-shared.ts";

interface Key {
  readonly id: string;
  readonly user_id: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly prefix?: string;
  readonly expires_at?: string;
  readonly last_used_at?: string;
  readonly created_at: string;
}

interface Made {
  readonly key: string;
}

type Opened =
  | { readonly what: "create" }
  | { readonly what: "rotate" | "revoke"; readonly key: Key };

const EVERY_MS = 10_000;
const words = accessText.keys;

const nameOfKey = ({ name, prefix }: Key): string => name || prefix || words.unnamed;

function columnsOf(
  nameOf: (id: string) => string,
  onOpen: (opened: Opened) => void,
): readonly Column<Key>[] {
  return [
    { key: "name", title: accessText.name, cell: (row) => row.name || words.unnamed },
    {
      key: "prefix",
      title: words.prefix,
      wide: true,
      cell: (row) => html`<span class="mono">${row.prefix}</span>`,
    },
    {
      key: "user",
      title: accessText.user,
      cell: (row) => html`<span title=${row.user_id}>${nameOf(row.user_id)}</span>`,
    },
    {
      key: "namespace",
      title: words.only,
      wide: true,
      cell: (row) => row.namespace || html`<span class="dim">${words.anywhere}</span>`,
    },
    {
      key: "used",
      title: words.lastUsed,
      wide: true,
      cell: (row) =>
        row.last_used_at
          ? html`<${Time} at=${row.last_used_at} relative />`
          : html`<span class="dim">${words.never}</span>`,
    },
    {
      key: "ends",
      title: words.ends,
      wide: true,
      cell: (row) =>
        row.expires_at
          ? html`<${Time} at=${row.expires_at} relative />`
          : html`<span class="dim">${words.never}</span>`,
    },
    {
      key: "actions",
      title: accessText.actions,
      cell: (key) => html`<div class="toolbar">
        <${RowButton} label=${words.rotate} of=${nameOfKey(key)} changes onClick=${() => onOpen({ what: "rotate", key })} />
        <${RowButton} label=${words.revoke} of=${nameOfKey(key)} changes onClick=${() => onOpen({ what: "revoke", key })} /></div>`,
    },
  ];
}

/** The page. */
export function View({ query }: PageProps): VNode {
  const { cursor = "", user = "", ns = "" } = query;
  const [opened, setOpened] = useState<Opened>();
  const [made, setMade] = useState<Made>();
  const { users, nameOf } = useUsers();
  const { data, error, refresh } = useCall<{ keys?: readonly Key[]; next_cursor?: string }>(
    "keys.list",
    { limit: 100, ...(user && { user_id: user }), ...(cursor && { cursor }) },
    EVERY_MS,
  );
  useKeys([{ keys: "c", text: words.create, run: () => setOpened({ what: "create" }) }]);
  const close = (): void => {
    setOpened(undefined);
    refresh();
  };
  return html`<div class="head"><h1>${text.access.keys}</h1><div class="aside">
      <${Button} kind="primary" changes onClick=${() => setOpened({ what: "create" })}>${words.create}</${Button}></div></div>
    <${OpenNote} />
    <div class="toolbar"><${NamespaceChoice} />
      <${UserField} label=${accessText.user} value=${user} users=${users} none=${accessText.all}
        onInput=${(id: string) => setQuery({ user: id, cursor: "" })} /></div>
    <${Trouble} error=${error} needs="apikey.list" />
    ${
      data &&
      html`<${Table} label=${text.access.keys} columns=${columnsOf(nameOf, setOpened)} rows=${data.keys ?? []}
      rowKey=${(row: Key) => row.id} empty=${html`<${Empty} title=${words.none} />`} /><${Pager} cursor=${cursor} next=${data.next_cursor} />`
    }
    ${opened?.what === "create" && html`<${CreateKey} users=${users} user=${user} namespace=${ns} onMade=${setMade} onClose=${close} />`}
    ${opened?.what === "rotate" && html`<${RotateKey} of=${opened.key} onMade=${setMade} onClose=${close} />`}
    ${opened?.what === "revoke" && html`<${RevokeKey} of=${opened.key} onClose=${close} />`}
    ${made && html`<${ShownOnce} made=${made} onClose=${() => setMade(undefined)} />`}`;
}

function CreateKey(props: {
  readonly users: ReturnType<typeof useUsers>["users"];
  readonly user: string;
  readonly namespace: string;
  readonly onMade: (made: Made) => void;
  readonly onClose: () => void;
}): VNode {
  const [user, setUser] = useState(props.user);
  const [name, setName] = useState("");
  const [namespace, setNamespace] = useState(props.namespace);
  const [expireIn, setExpireIn] = useState("");
  const [tag, setTag] = useState("");
  const submit = async (): Promise<void> => {
    const request = { user_id: user, name, namespace, expire_in: expireIn.trim(), key_tag: tag };
    props.onMade(await call<Made>("keys.create", request));
  };
  return html`<${FormDialog} title=${words.create} submit=${accessText.make} disabled=${user === ""}
      needs="apikey.create" onSubmit=${submit} onClose=${props.onClose}>
    <${UserField} label=${accessText.user} value=${user} onInput=${setUser} users=${props.users} />
    <${Field} label=${accessText.name} hint=${words.nameHint} value=${name} onInput=${setName} />
    <${Field} label=${words.only} hint=${words.onlyHint} value=${namespace} onInput=${setNamespace} mono />
    <${Field} label=${words.expireIn} hint=${words.expireInHint} value=${expireIn} onInput=${setExpireIn} mono />
    <${Field} label=${words.tag} hint=${words.tagHint} value=${tag} onInput=${setTag} mono />
  </${FormDialog}>`;
}

function RotateKey({
  of,
  onMade,
  onClose,
}: {
  readonly of: Key;
  readonly onMade: (made: Made) => void;
  readonly onClose: () => void;
}): VNode {
  const [overlap, setOverlap] = useState("1h");
  const submit = async (): Promise<void> =>
    onMade(await call<Made>("keys.rotate", { id: of.id, overlap: overlap.trim() }));
  return html`<${FormDialog} title=${words.rotateTitle(nameOfKey(of))} submit=${words.rotateIt}
      needs="apikey.create" onSubmit=${submit} onClose=${onClose}><p>${words.rotateWhy}</p>
    <${Field} label=${words.overlap} hint=${words.overlapHint} value=${overlap} onInput=${setOverlap} mono autofocus />
  </${FormDialog}>`;
}

function RevokeKey({ of, onClose }: { readonly of: Key; readonly onClose: () => void }): VNode {
  const isOwn = !!of.prefix && ownKey.value?.startsWith(of.prefix) === true;
  const submit = async (): Promise<void> => {
    await call("keys.revoke", { id: of.id });
    toast(words.revoked(nameOfKey(of)));
  };
  return html`<${FormDialog} title=${words.revokeTitle(nameOfKey(of))} submit=${words.revokeIt} danger
    needs="apikey.delete" onSubmit=${submit} onClose=${onClose}><p>${words.revokeWhy}</p>
    ${isOwn && html`<p class="bad strong">${words.revokeSelf}</p>`}</${FormDialog}>`;
}

function ShownOnce({
  made,
  onClose,
}: {
  readonly made: Made;
  readonly onClose: () => void;
}): VNode {
  const [copied, setCopied] = useState("");
  const copy = (): void => {
    // Browsers have no clipboard where the page came over plain HTTP from another machine.
    const done = navigator.clipboard?.writeText(made.key) ?? Promise.reject(new Error());
    done.then(
      () => setCopied(words.copied),
      () => setCopied(words.notCopied),
    );
  };
  return html`<${Dialog} title=${words.onceTitle} onClose=${onClose} wide stays><div class="stack"><p>${words.onceWhy}</p>
    <p><output class="secret mono" aria-label=${words.key}>${made.key}</output></p>
    <div class="toolbar"><${Button} kind="primary" onClick=${copy}>${words.copy}</${Button}>
      <${Button} onClick=${onClose}>${words.kept}</${Button}><span role="status" class="note">${copied}</span></div></div></${Dialog}>`;
}

// The users: people and programs, whom keys belong to.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call } from "../api.ts";
import { Button, Empty, Field, Trouble } from "../components/controls.ts";
import { ConfirmTyped, FormDialog, toast } from "../components/dialog.ts";
import { type Column, Table } from "../components/table.ts";
import { html } from "../html.ts";
import { useKeys } from "../keys.ts";
import { useCall } from "../live.ts";
import type { PageProps } from "../page.ts";
import { href } from "../router.ts";
import { text } from "../text.ts";
import { accessText } from "../text-access.ts";
import { CREATED, OpenNote, Pager, RowButton, type User } from "./access-shared.ts";

const EVERY_MS = 10_000;
const words = accessText.users;

function columnsOf(onDelete: (user: User) => void): readonly Column<User>[] {
  return [
    { key: "name", title: words.username, cell: (row) => row.username },
    { key: "email", title: words.email, wide: true, cell: (row) => row.email },
    { key: "external", title: words.externalId, wide: true, cell: (row) => row.external_id },
    {
      key: "id",
      title: words.id,
      wide: true,
      cell: (row) => html`<span class="mono">${row.id}</span>`,
    },
    CREATED,
    {
      key: "actions",
      title: accessText.actions,
      cell: (row) => html`<div class="toolbar">
        <a class="button quiet" href=${href(["keys"], { user: row.id })}>${words.keys}<span class="unseen"> ${row.username}</span></a>
        <a class="button quiet" href=${href(["bindings"], { user: row.id })}>${words.bindings}<span class="unseen"> ${row.username}</span></a>
        <${RowButton} label=${accessText.delete} of=${row.username} changes onClick=${() => onDelete(row)} /></div>`,
    },
  ];
}

/** The page. */
export function View({ query }: PageProps): VNode {
  const { cursor = "" } = query;
  const [creating, setCreating] = useState(false);
  const [deleting, setDeleting] = useState<User>();
  const { data, error, refresh } = useCall<{ users?: readonly User[]; next_cursor?: string }>(
    "users.list",
    { limit: 100, ...(cursor && { cursor }) },
    EVERY_MS,
  );
  useKeys([{ keys: "c", text: words.create, run: () => setCreating(true) }]);
  const close = (): void => {
    setCreating(false);
    setDeleting(undefined);
    refresh();
  };
  const remove = async ({ id, username }: User): Promise<void> => {
    await call("users.delete", { id });
    toast(accessText.deleted(username));
  };
  return html`<div class="head"><h1>${text.access.users}</h1><div class="aside">
      <${Button} kind="primary" changes onClick=${() => setCreating(true)}>${words.create}</${Button}></div></div>
    <${OpenNote} /><${Trouble} error=${error} needs="user.list" />
    ${
      data &&
      html`<${Table} label=${text.access.users} columns=${columnsOf(setDeleting)} rows=${data.users ?? []}
      rowKey=${(row: User) => row.id} empty=${html`<${Empty} title=${words.none}><p>${words.noneHint}</p></${Empty}>`} />
      <${Pager} cursor=${cursor} next=${data.next_cursor} />`
    }
    ${creating && html`<${CreateUser} onClose=${close} />`}
    ${
      deleting &&
      html`<${ConfirmTyped} title=${accessText.deleteTitle(deleting.username)} submit=${accessText.deleteIt}
      name=${deleting.username} needs="user.delete" onSubmit=${() => remove(deleting)} onClose=${close}><p>${words.deleteWhy}</p></${ConfirmTyped}>`
    }`;
}

function CreateUser({ onClose }: { readonly onClose: () => void }): VNode {
  const [username, setUsername] = useState("");
  const [email, setEmail] = useState("");
  const [externalId, setExternalId] = useState("");
  const submit = async (): Promise<void> => {
    await call("users.create", { username, email, external_id: externalId });
    toast(accessText.made(username));
  };
  return html`<${FormDialog} title=${words.create} submit=${accessText.make} disabled=${username.trim() === ""}
      needs="user.create" onSubmit=${submit} onClose=${onClose}>
    <${Field} label=${words.username} value=${username} onInput=${setUsername} autofocus />
    <${Field} label=${words.email} value=${email} onInput=${setEmail} />
    <${Field} label=${words.externalId} hint=${words.externalIdHint} value=${externalId} onInput=${setExternalId} />
  </${FormDialog}>`;
}

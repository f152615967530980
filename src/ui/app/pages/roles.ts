// The roles of a namespace: what each of them allows. Which permissions there are the server tells by its standard role
// that has them all.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call, config } from "../api.ts";
import { Button, Check, Empty, Field, Trouble } from "../components/controls.ts";
import { ConfirmTyped, Dialog, FormDialog, toast } from "../components/dialog.ts";
import { type Column, Table } from "../components/table.ts";
import { html } from "../html.ts";
import { useKeys } from "../keys.ts";
import { useCall } from "../live.ts";
import type { PageProps } from "../page.ts";
import { text } from "../text.ts";
import { accessText } from "../text-access.ts";
import {
  CREATED,
  NamespaceChoice,
  OpenNote,
  Pager,
  type Role,
  RowButton,
  SYSTEM,
} from "./access-shared.ts";

interface Answer {
  readonly roles?: readonly Role[];
  readonly next_cursor?: string;
}

type Opened =
  | { readonly what: "create" }
  | { readonly what: "edit" | "delete"; readonly role: Role };

const EVERY_MS = 10_000;
const SPACES = /[\s,]+/;
const words = accessText.roles;

function columnsOf(onOpen: (opened: Opened) => void): readonly Column<Role>[] {
  return [
    {
      key: "name",
      title: accessText.name,
      cell: (row) =>
        html`${row.name} ${row.is_standard && html`<span class="badge">${words.standard}</span>`}`,
    },
    {
      key: "permissions",
      title: words.permissions,
      cell: ({ permissions = [] }) =>
        html`<span title=${permissions.join(", ")}>${words.some(permissions.length)}</span>`,
    },
    CREATED,
    {
      key: "actions",
      title: accessText.actions,
      cell: (role) => html`<div class="toolbar">
        <${RowButton} label=${isFixed(role) ? words.look : accessText.edit} of=${role.name} onClick=${() => onOpen({ what: "edit", role })} />
        ${!role.is_standard && html`<${RowButton} label=${accessText.delete} of=${role.name} changes onClick=${() => onOpen({ what: "delete", role })} />`}</div>`,
    },
  ];
}

function isFixed(role: Role): boolean {
  return role.is_standard === true || config.value?.readOnly === true;
}

/** The page. */
export function View({ query }: PageProps): VNode {
  const { cursor = "" } = query;
  const [opened, setOpened] = useState<Opened>();
  const { data, error, refresh } = useCall<Answer>(
    "roles.list",
    { limit: 100, ...(query.ns && { namespace: query.ns }), ...(cursor && { cursor }) },
    EVERY_MS,
  );
  const standard = useCall<Answer>("roles.list", { namespace: SYSTEM, limit: 100 });
  useKeys([{ keys: "c", text: words.create, run: () => setOpened({ what: "create" }) }]);
  const close = (): void => {
    setOpened(undefined);
    refresh();
  };
  const roles = data?.roles ?? [];
  const shared = { all: standard.data?.roles, roles, namespace: query.ns, onClose: close };
  return html`<div class="head"><h1>${text.access.roles}</h1><div class="aside">
      <${Button} kind="primary" changes onClick=${() => setOpened({ what: "create" })}>${words.create}</${Button}></div></div>
    <${OpenNote} /><div class="toolbar"><${NamespaceChoice} /></div>
    <${Trouble} error=${error} needs="role.list" />
    ${
      data &&
      html`<${Table} label=${text.access.roles} columns=${columnsOf(setOpened)} rows=${roles}
      rowKey=${(row: Role) => row.id} empty=${html`<${Empty} title=${words.none} />`} /><${Pager} cursor=${cursor} next=${data.next_cursor} />`
    }
    ${opened?.what === "create" && html`<${RoleForm} ...${shared} />`}
    ${
      opened?.what === "edit" &&
      (isFixed(opened.role)
        ? html`<${RoleView} role=${opened.role} onClose=${close} />`
        : html`<${RoleForm} ...${shared} role=${opened.role} />`)
    }
    ${opened?.what === "delete" && html`<${DeleteRole} role=${opened.role} onClose=${close} />`}`;
}

function DeleteRole({
  role: { name, namespace },
  onClose,
}: {
  readonly role: Role;
  readonly onClose: () => void;
}): VNode {
  const remove = async (): Promise<void> => {
    await call("roles.delete", { namespace, name });
    toast(accessText.deleted(name));
  };
  return html`<${ConfirmTyped} title=${accessText.deleteTitle(name)} submit=${accessText.deleteIt} name=${name}
    needs="role.delete" onSubmit=${remove} onClose=${onClose}><p>${words.deleteWhy}</p></${ConfirmTyped}>`;
}

function RoleView({ role, onClose }: { readonly role: Role; readonly onClose: () => void }): VNode {
  return html`<${Dialog} title=${words.permissionsOf(role.name)} onClose=${onClose}>
    ${role.is_standard && html`<p class="note">${words.standardWhy}</p>`}
    <ul class="stack mono">${(role.permissions ?? []).map((each) => html`<li key=${each}>${each}</li>`)}</ul></${Dialog}>`;
}

function RoleForm(props: {
  readonly role?: Role;
  /** The standard roles, if the key may see them; else what there is to choose is learnt from those of the namespace. */
  readonly all: readonly Role[] | undefined;
  readonly roles: readonly Role[];
  readonly namespace: string | undefined;
  readonly onClose: () => void;
}): VNode {
  const { role, all } = props;
  const [name, setName] = useState(role?.name ?? "");
  const [chosen, setChosen] = useState<ReadonlySet<string>>(() => new Set(role?.permissions));
  const [others, setOthers] = useState("");
  // An open server has no standard roles yet.
  const isWhole = all !== undefined && all.length > 0;
  const known = new Set(
    (isWhole ? all : props.roles).flatMap(({ permissions = [] }) => permissions),
  );
  for (const each of role?.permissions ?? []) known.add(each);
  const groups = Object.entries(Object.groupBy(known, (each) => each.slice(0, each.indexOf("."))));
  const toggle = (permission: string): void => {
    const next = new Set(chosen);
    if (!next.delete(permission)) next.add(permission);
    setChosen(next);
  };
  const submit = async (): Promise<void> => {
    const namespace = role?.namespace ?? props.namespace ?? "";
    const permissions = [...chosen, ...others.split(SPACES).filter(Boolean)];
    const method = role === undefined ? "roles.create" : "roles.update";
    await call(method, { namespace, name: name.trim(), permissions });
    toast(role === undefined ? accessText.made(name.trim()) : accessText.saved(name));
  };
  return html`<${FormDialog} title=${role === undefined ? words.create : accessText.editOf(role.name)} wide
      submit=${role === undefined ? accessText.make : accessText.save} disabled=${name.trim() === ""}
      needs=${role === undefined ? "role.create" : "role.update"} onSubmit=${submit} onClose=${props.onClose}>
    ${role === undefined && html`<${Field} label=${accessText.name} value=${name} onInput=${setName} autofocus />`}
    <p class="note">${words.about} <span role="status">${words.chosen(chosen.size)}</span></p>
    <div class="permissions">${groups.map(
      ([group, permissions = []]) =>
        html`<fieldset key=${group}><legend>${group}</legend>${permissions.map(
          (each) =>
            html`<${Check} key=${each} label=${each} checked=${chosen.has(each)} onChange=${() => toggle(each)} />`,
        )}</fieldset>`,
    )}</div>
    ${!isWhole && html`<${Field} label=${words.others} hint=${words.othersHint} value=${others} onInput=${setOthers} mono />`}
  </${FormDialog}>`;
}

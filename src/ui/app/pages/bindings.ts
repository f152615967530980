// Which users have which roles in a namespace.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call } from "../api.ts";
import { Button, Empty, Field, Trouble } from "../components/controls.ts";
import { FormDialog, toast } from "../components/dialog.ts";
import { type Column, Table } from "../components/table.ts";
import { html } from "../html.ts";
import { useKeys } from "../keys.ts";
import { useCall } from "../live.ts";
import type { PageProps } from "../page.ts";
import { setQuery } from "../router.ts";
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
  UserField,
  useUsers,
} from "./access-shared.ts";

interface Binding {
  readonly id: string;
  readonly namespace: string;
  readonly user_id: string;
  readonly role_name: string;
  readonly created_at: string;
}

const EVERY_MS = 10_000;
const words = accessText.bindings;

function columnsOf(
  nameOf: (id: string) => string,
  onTake: (binding: Binding) => void,
): readonly Column<Binding>[] {
  return [
    {
      key: "user",
      title: accessText.user,
      cell: (row) => html`<span title=${row.user_id}>${nameOf(row.user_id)}</span>`,
    },
    { key: "role", title: words.role, cell: (row) => row.role_name },
    { key: "namespace", title: accessText.namespace, wide: true, cell: (row) => row.namespace },
    CREATED,
    {
      key: "actions",
      title: accessText.actions,
      cell: (row) =>
        html`<${RowButton} label=${words.take} of=${`${row.role_name}, ${nameOf(row.user_id)}`} changes onClick=${() => onTake(row)} />`,
    },
  ];
}

/** The page. */
export function View({ query }: PageProps): VNode {
  const { cursor = "", user = "", ns } = query;
  const [giving, setGiving] = useState(false);
  const [taking, setTaking] = useState<Binding>();
  const { users, nameOf } = useUsers();
  const { data, error, refresh } = useCall<{
    bindings?: readonly Binding[];
    next_cursor?: string;
  }>(
    "bindings.list",
    {
      limit: 100,
      ...(ns && { namespace: ns }),
      ...(user && { user_id: user }),
      ...(cursor && { cursor }),
    },
    EVERY_MS,
  );
  useKeys([{ keys: "c", text: words.create, run: () => setGiving(true) }]);
  const close = (): void => {
    setGiving(false);
    setTaking(undefined);
    refresh();
  };
  const take = async ({ namespace, user_id: id, role_name: role }: Binding): Promise<void> => {
    await call("bindings.delete", { namespace, user_id: id, role_name: role });
    toast(words.taken(role, nameOf(id)));
  };
  return html`<div class="head"><h1>${text.access.bindings}</h1><div class="aside">
      <${Button} kind="primary" changes onClick=${() => setGiving(true)}>${words.create}</${Button}></div></div>
    <${OpenNote} /><p class="dim">${words.everywhere}</p>
    <div class="toolbar"><${NamespaceChoice} />
      <${UserField} label=${words.filter} value=${user} users=${users} none=${accessText.all} anonymous
        onInput=${(id: string) => setQuery({ user: id, cursor: "" })} /></div>
    <${Trouble} error=${error} needs="rolebinding.list" />
    ${
      data &&
      html`<${Table} label=${text.access.bindings} columns=${columnsOf(nameOf, setTaking)} rows=${data.bindings ?? []}
      rowKey=${(row: Binding) => row.id} empty=${html`<${Empty} title=${words.none} />`} /><${Pager} cursor=${cursor} next=${data.next_cursor} />`
    }
    ${giving && html`<${GiveRole} namespace=${ns ?? ""} users=${users} nameOf=${nameOf} user=${user} onClose=${close} />`}
    ${
      taking &&
      html`<${FormDialog} title=${words.takeTitle(taking.role_name, nameOf(taking.user_id))} submit=${words.takeIt} danger
      needs="rolebinding.delete" onSubmit=${() => take(taking)} onClose=${close}><p>${words.takeWhy}</p></${FormDialog}>`
    }`;
}

function GiveRole(props: {
  readonly namespace: string;
  readonly user: string;
  readonly users: ReturnType<typeof useUsers>["users"];
  readonly nameOf: (id: string) => string;
  readonly onClose: () => void;
}): VNode {
  const { namespace, users, nameOf } = props;
  const [user, setUser] = useState(props.user);
  const [role, setRole] = useState("");
  const own = useRoles(namespace);
  const standard = useRoles(SYSTEM);
  const names = [...new Set([...own, ...standard])];
  const submit = async (): Promise<void> => {
    await call("bindings.create", { namespace, user_id: user, role_name: role });
    toast(words.given(role, nameOf(user)));
  };
  return html`<${FormDialog} title=${words.create} submit=${words.create} disabled=${user === "" || role === ""}
      needs="rolebinding.create" onSubmit=${submit} onClose=${props.onClose}>
    <${UserField} label=${accessText.user} value=${user} onInput=${setUser} users=${users} anonymous />
    ${
      standard.length > 0
        ? html`<${Field} label=${words.role} value=${role} onInput=${setRole} choices=${["", ...names].map((name) => [name, name || "–"])} />`
        : html`<${Field} label=${words.role} value=${role} onInput=${setRole} hint=${own.join(", ")} />`
    }
    <p class="note">${namespace || accessText.ownNamespace}</p></${FormDialog}>`;
}

/** The names of the roles of a namespace, as far as the key may list them. */
function useRoles(namespace: string): readonly string[] {
  const { data } = useCall<{ roles?: readonly Role[] }>("roles.list", {
    limit: 1_000,
    ...(namespace && { namespace }),
  });
  return (data?.roles ?? []).map(({ name }) => name);
}

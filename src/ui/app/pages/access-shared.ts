// What the pages about access have in common: whose namespace they are about, which users there are, and what it means
// that a server asks nobody for a key.

import type { VNode } from "preact";
import { config } from "../api.ts";
import { Button, Field, Time } from "../components/controls.ts";
import type { Column } from "../components/table.ts";
import { html } from "../html.ts";
import { useCall } from "../live.ts";
import { NAMESPACE, route, setQuery } from "../router.ts";
import { text } from "../text.ts";
import { accessText } from "../text-access.ts";

export interface Quotas {
  readonly [name: string]: number | string | undefined;
}

export interface Namespace {
  readonly name: string;
  readonly description?: string;
  readonly key_tag?: string;
  readonly created_at?: string;
  readonly quotas?: Quotas;
  readonly used?: Quotas;
}

export interface User {
  readonly id: string;
  readonly username: string;
  readonly email?: string;
  readonly external_id?: string;
  readonly created_at: string;
}

export interface Role {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly permissions?: readonly string[];
  readonly created_at: string;
  readonly is_standard?: boolean;
}

export const SYSTEM = "_system";

/** The column that tells since when there is something. */
export const CREATED: Column<{ readonly created_at: string }> = {
  key: "created",
  title: accessText.created,
  wide: true,
  cell: (row) => html`<${Time} at=${row.created_at} />`,
};

/** Lists that are chosen from are read at once, as long as the server allows. */
const ALL = { limit: 1_000 };
const NOBODY: readonly User[] = [];

/** What it means if the server asks nobody for a key. */
export function OpenNote(): VNode | null {
  if (config.value?.auth !== false) return null;
  return html`<p class="callout">${accessText.open}</p>`;
}

/** The users, if the key may list them; what each of them is called. */
export function useUsers(): {
  readonly users: readonly User[] | undefined;
  readonly nameOf: (id: string) => string;
} {
  const { data } = useCall<{ users?: readonly User[] }>("users.list", ALL);
  const users = data && (data.users ?? NOBODY);
  return { users, nameOf: (id) => users?.find((each) => each.id === id)?.username ?? id };
}

/** A field for a user: chosen from the list, or an id where the list may not be seen. */
export function UserField(props: {
  readonly label: string;
  readonly value: string;
  readonly onInput: (id: string) => void;
  readonly users: readonly User[] | undefined;
  /** What stands for none of them, and for who has no key. */
  readonly none?: string;
  readonly anonymous?: boolean;
}): VNode {
  const { label, value, onInput, users, none = "–", anonymous } = props;
  if (users === undefined) {
    return html`<${Field} label=${label} value=${value} onInput=${onInput} hint=${accessText.userHint} mono />`;
  }
  const choices = [
    ["", none],
    ...(anonymous ? [["anonymous", accessText.anonymous]] : []),
    ...users.map(({ id, username }) => [id, username]),
  ];
  return html`<${Field} label=${label} value=${value} onInput=${onInput} choices=${choices} />`;
}

/** Chooses the namespace that a page is about, from those that the key may list. */
export function NamespaceChoice(): VNode | null {
  const chosen = route.value.query[NAMESPACE] ?? "";
  const { data } = useCall<{ namespaces?: readonly Namespace[] }>("namespaces.list", ALL);
  const names = data?.namespaces?.map(({ name }) => name) ?? [];
  if (names.length === 0 && chosen === "") return null;
  const listed = names.includes(chosen) || chosen === "" ? names : [chosen, ...names];
  return html`<${Field} label=${accessText.namespace} value=${chosen}
    onInput=${(name: string) => setQuery({ [NAMESPACE]: name, cursor: "" })}
    choices=${[["", accessText.ownNamespace], ...listed.map((name) => [name, name])]} />`;
}

/** Leads on in a list, and back to its begin. */
export function Pager({
  cursor,
  next,
}: {
  readonly cursor: string;
  readonly next: string | undefined;
}): VNode | null {
  if (cursor === "" && next === undefined) return null;
  return html`<div class="toolbar">
    ${cursor && html`<${Button} onClick=${() => setQuery({ cursor: "" })}>${text.table.first}</${Button}>`}
    ${next && html`<${Button} onClick=${() => setQuery({ cursor: next })}>${text.table.next}</${Button}>`}</div>`;
}

/** A button of a row; who cannot see the row is told of which. */
export function RowButton(props: {
  readonly label: string;
  readonly of: string;
  readonly onClick: () => void;
  readonly changes?: boolean;
}): VNode {
  return html`<${Button} kind="quiet" changes=${props.changes} onClick=${props.onClick}>${props.label}<span class="unseen"> ${props.of}</span></${Button}>`;
}

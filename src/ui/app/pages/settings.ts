// The settings of this browser: how the dashboard looks, how often it asks, and what its key may see.

import type { VNode } from "preact";
import { CallError, call, config, key, signOut } from "../api.ts";
import { Button, Check, Field, Panel, Status, type Tone } from "../components/controls.ts";
import { type Column, Table } from "../components/table.ts";
import { setUtc, utc } from "../format.ts";
import { html } from "../html.ts";
import { type Pace, pace, setPace, useLive } from "../live.ts";
import { text } from "../text.ts";
import { accessText } from "../text-access.ts";
import { setTheme, type Theme, theme } from "../theme.ts";
import { OpenNote } from "./access-shared.ts";

interface May {
  readonly page: string;
  readonly tone: Tone;
  readonly shown: string;
}

const SHOWN = 12;
const words = accessText.settings;

/** What each page asks first, and the permission that it takes. */
const ASKED: readonly (readonly [page: string, method: string, permission: string])[] = [
  [text.overview.title, "server.overview", "queue.stats"],
  [text.queues.title, "queues.overview", "queue.list"],
  [text.access.namespaces, "namespaces.list", "namespace.list"],
  [text.access.users, "users.list", "user.list"],
  [text.access.roles, "roles.list", "role.list"],
  [text.access.bindings, "bindings.list", "rolebinding.list"],
  [text.access.keys, "keys.list", "apikey.list"],
  [text.access.audit, "audit.list", "audit.read"],
];

const columns: readonly Column<May>[] = [
  { key: "page", title: words.page, cell: (row) => row.page },
  {
    key: "shown",
    title: words.shown,
    cell: (row) => html`<${Status} tone=${row.tone}>${row.shown}</${Status}>`,
  },
];

/** The page. */
export function View(): VNode {
  const { data } = useLive(
    (signal) =>
      Promise.all(
        ASKED.map(async ([page, method, permission]): Promise<May> => {
          try {
            await call(method, method === "server.overview" ? {} : { limit: 1 }, { signal });
            return { page, tone: "ok", shown: words.mayYes };
          } catch (error) {
            if (error instanceof CallError && error.problem.status === 403)
              return { page, tone: "idle", shown: words.mayNo(permission) };
            return { page, tone: "warn", shown: words.mayUnknown };
          }
        }),
      ),
    [key.value],
  );
  return html`<h1>${text.access.settings}</h1>
    ${config.value?.readOnly && html`<p class="callout">${words.readOnly}</p>`}
    <${Panel} title=${words.looks}><div class="fields">
      <${Field} label=${text.shell.theme} value=${theme.value} choices=${Object.entries(text.shell.themes)}
        onInput=${(value: string) => setTheme(value as Theme)} />
      <${Field} label=${words.refresh} hint=${words.refreshHint} value=${pace.value} choices=${Object.entries(words.paces)}
        onInput=${(value: string) => setPace(value as Pace)} />
      <${Check} label=${text.shell.utc} checked=${utc.value} onChange=${setUtc} /></div></${Panel}>
    <${Panel} title=${words.key}><div class="stack"><${OpenNote} />${
      key.value === undefined
        ? html`<p>${words.noKey}</p>`
        : html`<p>${words.keyIs(key.value.slice(0, SHOWN))} …</p>
      <div><${Button} onClick=${signOut}>${text.shell.signOut}</${Button}></div>`
    }</div></${Panel}>
    <${Panel} title=${words.may}>${data && html`<${Table} label=${words.may} columns=${columns} rows=${data} rowKey=${(row: May) => row.page} />`}</${Panel}>`;
}

// What stands around every page: the navigation, what the server is, what keys do, and whether it answers.

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { away, config, key, signIn, signOut } from "./api.ts";
import { Empty } from "./components/controls.ts";
import { Dialog, Toasts } from "./components/dialog.ts";
import { setUtc, utc } from "./format.ts";
import { html } from "./html.ts";
import { shortcuts, useKeys } from "./keys.ts";
import { lazy } from "./lazy.ts";
import type { Page, PageProps } from "./page.ts";
import { pages } from "./pages/index.ts";
import { href, match, type Params, route } from "./router.ts";
import { SignIn } from "./sign-in.ts";
import { text } from "./text.ts";
import { setTheme, type Theme, theme } from "./theme.ts";

const GROUPS = ["work", "access", "server"] as const;
const THEMES: readonly Theme[] = ["auto", "light", "dark"];

export function Shell(): VNode {
  const [help, setHelp] = useState(false);
  useKeys([
    { keys: "?", text: text.shell.keys, run: () => setHelp(true) },
    { keys: "/", text: text.shell.search, run: () => focusOn("main input[type=search]") },
    { keys: "t", text: text.shell.toTable, run: () => focusOn("main tbody tr") },
    ...pages
      .filter((page) => page.shortcut !== undefined)
      .map((page) => ({
        keys: `g ${page.shortcut}`,
        text: text.shell.goTo(titleOf(page)),
        run: () => {
          location.hash = linkTo(page);
        },
      })),
  ]);
  if (signIn.value !== "") return html`<${SignIn} /><${Toasts} />`;
  return html`<a class="skip" href="#content" onClick=${focusContent}>${text.shell.skip}</a>
    <div class="shell"><${Navigation} onHelp=${() => setHelp(true)} />
      <div class="body">
        ${away.value ? html`<div class="banner" role="alert">${text.shell.away}</div>` : null}
        <main id="content" tabindex="-1"><${Current} /></main>
      </div></div>
    ${help ? html`<${Help} onClose=${() => setHelp(false)} />` : null}
    <${Toasts} />`;
}

function Current(): VNode | null {
  const { path, query } = route.value;
  const [page, params] = find(path);
  const title = page === undefined ? text.shell.notFound : titleOf(page, params);
  useEffect(() => {
    document.title = `${title} · ${text.shell.name}`;
  }, [title]);
  useEffect(() => {
    scrollTo(0, 0);
  }, [path.join("/")]);
  if (page === undefined) return html`<${Empty} title=${text.shell.notFound} />`;
  return html`<${views.get(page)} key=${path.join("/")} params=${params} query=${query} />`;
}

const views = new Map(
  pages.map((page) => [page, lazy<PageProps>(async () => (await page.load()).View)]),
);

/** Loads the page of the address, while it is asked what kind of server this is. */
export function loadPage(): void {
  const [page] = find(route.peek().path);
  if (page !== undefined) views.get(page)?.begin();
}

function find(path: readonly string[]): [Page | undefined, Params] {
  for (const page of pages) {
    const params = match(page.path, path.length === 0 ? pages[0]!.path.split("/") : path);
    if (params !== undefined) return [page, params];
  }
  return [undefined, {}];
}

function titleOf({ title }: Page, params: Params = {}): string {
  return typeof title === "string" ? title : title(params);
}

const linkTo = (page: Page): string => href(page.path.split("/"));

function focusOn(selector: string): void {
  document.querySelector<HTMLElement>(selector)?.focus();
}

function focusContent(event: Event): void {
  event.preventDefault();
  document.getElementById("content")?.focus();
}

function Navigation({ onHelp }: { readonly onHelp: () => void }): VNode {
  const [open, setOpen] = useState(false);
  const [first = pages[0]!.path] = route.value.path;
  const link = (
    page: Page,
  ): VNode => html`<li><a href=${linkTo(page)} onClick=${() => setOpen(false)}
    aria-current=${page.path === first ? "page" : undefined}>${titleOf(page)}</a></li>`;
  return html`<header class="side"><div class="brand"><img src="icon.svg" alt="" width="20" height="20" />
      <strong>${text.shell.name}</strong>
      ${config.value?.readOnly ? html`<span class="badge">${text.shell.readOnly}</span>` : null}
      <button type="button" class="button quiet menu" aria-expanded=${open} aria-controls="nav"
        onClick=${() => setOpen(!open)}>${text.shell.menu}</button></div>
    <div id="nav" class=${open ? "open" : ""}><nav aria-label=${text.shell.navigation}>${GROUPS.map(
      (group) => {
        const listed = pages.filter((page) => page.nav === group);
        if (listed.length === 0) return null;
        return html`<h2>${text.shell.groups[group]}</h2><ul>${listed.map(link)}</ul>`;
      },
    )}</nav>
    <div class="foot">
      <label class="check"><input type="checkbox" checked=${utc.value}
        onChange=${(event: { currentTarget: HTMLInputElement }) => setUtc(event.currentTarget.checked)} /><span>${text.shell.utc}</span></label>
      <label class="field"><span class="label">${text.shell.theme}</span><select
        onChange=${(event: { currentTarget: HTMLSelectElement }) => setTheme(event.currentTarget.value as Theme)}>${THEMES.map(
          (each) =>
            html`<option value=${each} selected=${each === theme.value}>${text.shell.themes[each]}</option>`,
        )}</select></label>
      <button type="button" class="button quiet" onClick=${onHelp}>${text.shell.keys} <kbd>?</kbd></button>
      ${key.value === undefined ? null : html`<button type="button" class="button quiet" onClick=${signOut}>${text.shell.signOut}</button>`}
      <span class="dim">${config.value?.version}</span>
    </div></div></header>`;
}

function Help({ onClose }: { readonly onClose: () => void }): VNode {
  return html`<${Dialog} title=${text.shell.keys} onClose=${onClose}><dl class="keys">${shortcuts.value.map(
    (each) =>
      html`<div><dt>${each.keys.split(" ").map((one) => html`<kbd>${one}</kbd> `)}</dt><dd>${each.text}</dd></div>`,
  )}</dl></${Dialog}>`;
}

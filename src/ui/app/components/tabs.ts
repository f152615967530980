// Parts of a page of which one is shown: links, so that each has an address.

import type { VNode } from "preact";
import { html } from "../html.ts";

export function Tabs(props: {
  readonly label: string;
  readonly tabs: readonly { readonly key: string; readonly title: string; readonly href: string }[];
  readonly current: string;
}): VNode {
  return html`<nav class="tabs" aria-label=${props.label}>${props.tabs.map(
    ({ key, title, href }) =>
      html`<a href=${href} aria-current=${key === props.current ? "page" : undefined}>${title}</a>`,
  )}</nav>`;
}

// Templates: html`<p>${text}</p>` makes what preact renders. Texts are never taken for markup.

import htm from "htm";
import { type ComponentChildren, h, type VNode } from "preact";

export const html = htm.bind(h) as (
  strings: TemplateStringsArray,
  ...values: readonly unknown[]
) => VNode;

/** What can stand between tags. */
export type Children = ComponentChildren;

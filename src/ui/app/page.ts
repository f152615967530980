// What a page is: a row of `pages/`. The shell shows the one whose path is that of the address.

import type { VNode } from "preact";
import type { Params, Route } from "./router.ts";

export interface PageProps {
  /** The values of `:names` in its path. */
  readonly params: Params;
  readonly query: Route["query"];
}

export interface Page {
  /** Such as "queues/:queue"; no page has the path of another. */
  readonly path: string;
  /** The title of the window, and the heading if the page has no better one. */
  readonly title: string | ((params: Params) => string);
  /** The group of the navigation that it stands in, in the order of pages; left out: not there. */
  readonly nav?: "work" | "access" | "server";
  /** The key after `g` that leads there, if its path has no names. */
  readonly shortcut?: string;
  /** The permission without which the page is empty: named to who lacks it. */
  readonly needs: string;
  readonly view: (props: PageProps) => VNode;
}

// What a page is: a row of `pages/index.ts`, and a module that is loaded when somebody goes there. So nobody loads
// more than they look at.

import type { VNode } from "preact";
import type { Params, Route } from "./router.ts";

export interface PageProps {
  /** The values of `:names` in its path. */
  readonly params: Params;
  readonly query: Route["query"];
}

export type View = (props: PageProps) => VNode;

export interface Page {
  /** Such as "queues/:queue"; no page has the path of another. */
  readonly path: string;
  /** The title of the window, and what the navigation calls it. */
  readonly title: string | ((params: Params) => string);
  /** The group of the navigation that it stands in, in the order of pages; left out: not there. */
  readonly nav?: "work" | "access" | "server";
  /** The key after `g` that leads there, if its path has no names. */
  readonly shortcut?: string;
  /** Loads its module: `() => import("./queues.ts")`, which has a `View`. */
  readonly load: () => Promise<{ readonly View: View }>;
}

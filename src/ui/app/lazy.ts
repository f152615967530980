// What is loaded when it is shown for the first time: a page, or a part of one that few look at. When that fails the
// server is away, and all is loaded again once it is back.

import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { returns, wentAway } from "./api.ts";
import { html } from "./html.ts";

export interface Lazy<P> {
  (props: P): VNode | null;
  /** Loads it before it is shown. */
  readonly begin: () => void;
}

/** A component that stands in for one of a module: `lazy(async () => (await import("./x.ts")).Part)`. */
export function lazy<P extends object>(load: () => Promise<(props: P) => VNode>): Lazy<P> {
  const loaded = signal<{ readonly View: (props: P) => VNode } | undefined>(undefined);
  let hasBegun = false;
  const begin = (): void => {
    if (hasBegun) return;
    hasBegun = true;
    load().then(
      (View) => {
        loaded.value = { View };
      },
      () => {
        wentAway();
        const before = returns.peek();
        returns.subscribe((times) => times > before && location.reload());
      },
    );
  };
  const shown = (props: P): VNode | null => {
    begin();
    return loaded.value === undefined ? null : html`<${loaded.value.View} ...${props} />`;
  };
  return Object.assign(shown, { begin });
}

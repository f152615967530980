// What keys do: a page, or a component, says which it takes and what for, and `?` shows them all. Nothing is
// taken while somebody types, nor with a modifier, which belong to the browser.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { later } from "./time.ts";

export interface Shortcut {
  /** As `KeyboardEvent.key` says it, or two of them: "g q". */
  readonly keys: string;
  /** What it does, for who asks. */
  readonly text: string;
  readonly run: () => void;
}

const SECOND_KEY_MS = 1_500;

/** All that keys do now, the latest first. */
export const shortcuts = signal<readonly Shortcut[]>([]);

/** These keys do this as long as the component is shown. */
export function useKeys(mine: readonly Shortcut[]): void {
  const keys = mine.map((each) => each.keys).join();
  const latest = useRef(mine);
  latest.current = mine;
  useEffect(() => {
    const added = mine.map((each, i) => ({ ...each, run: () => latest.current[i]?.run() }));
    shortcuts.value = [...added, ...shortcuts.peek()];
    return () => {
      shortcuts.value = shortcuts.peek().filter((each) => !added.includes(each));
    };
  }, [keys]);
}

let first = "";
let forget = (): void => {};

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (
    event.target instanceof Element &&
    event.target.closest("input:not([type=checkbox]),textarea,select,[contenteditable]")
  )
    return;
  if (document.querySelector("dialog[open]") !== null) return;
  const sequence = first === "" ? event.key : `${first} ${event.key}`;
  forget();
  first = "";
  const found = shortcuts.value.find(({ keys }) => keys === sequence);
  if (found !== undefined) {
    event.preventDefault();
    found.run();
  } else if (shortcuts.value.some(({ keys }) => keys.startsWith(`${sequence} `))) {
    first = event.key;
    forget = later(SECOND_KEY_MS, () => {
      first = "";
    });
  }
});

// How the state of an item is shown.

import type { VNode } from "preact";
import { Status } from "../components/controls.ts";
import { html } from "../html.ts";
import { type Item, TONES } from "../items.ts";
import { text } from "../text.ts";

/** An item's state, and whether it is to end. */
export function stateCell({ state, cancelled }: Item): VNode {
  return html`<${Status} tone=${TONES[state] ?? "idle"}>${state}${cancelled ? `, ${text.items.beingCancelled}` : ""}</${Status}>`;
}

// How a queue is, by shape and word.

import type { VNode } from "preact";
import { Status, type Tone } from "../components/controls.ts";
import { html } from "../html.ts";
import { text } from "../text.ts";

const TONES: Readonly<Record<string, Tone>> = {
  ok: "ok",
  idle: "idle",
  stuck: "warn",
  failing: "bad",
};

/** A state as `queues.overview` tells it. */
export function QueueState({ state }: { readonly state: string }): VNode {
  return html`<${Status} tone=${TONES[state] ?? "info"}>${text.queues.states[state] ?? state}</${Status}>`;
}

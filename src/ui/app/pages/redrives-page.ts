// The redrives of a dead queue, on a page of their own.

import type { VNode } from "preact";
import { html } from "../html.ts";
import type { PageProps } from "../page.ts";
import { href } from "../router.ts";
import { text } from "../text.ts";
import { Redrives } from "./redrives.ts";

export function View({ params }: PageProps): VNode {
  const queue = params.queue!;
  return html`<div class="head"><h1>${text.redrive.of(queue)}</h1><a href=${href(["queues", queue, "dead"])}>${text.dead.title}</a></div>
    <${Redrives} queue=${queue} />`;
}

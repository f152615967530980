// What has become of an item, in order: what the server keeps of it, and what happens while somebody looks.

import type { VNode } from "preact";
import { Time } from "../components/controls.ts";
import { ago } from "../format.ts";
import { html } from "../html.ts";
import type { Item } from "../items.ts";
import { reasonOf, text } from "../text.ts";
import { now } from "../time.ts";

interface Happening {
  readonly at: string;
  readonly title: string;
  readonly note?: string | undefined;
  readonly bad?: boolean;
}

export function Timeline({ item }: { readonly item: Item }): VNode {
  const happenings = happeningsOf(item).sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  return html`<ol class="timeline">${happenings.map(
    ({ at, title, note, bad }) =>
      html`<li class=${`${bad ? "bad" : ""} ${new Date(at).getTime() > now() ? "future" : ""}`}>
        <strong>${title}</strong> <span class="dim"><${Time} at=${at} /> (${ago(at)})</span>
        ${note ? html`<p>${note}</p>` : null}</li>`,
  )}</ol>`;
}

/** All times that an item tells of itself; of its attempts it is known how many there were, and how the last has failed. */
function happeningsOf(item: Item): Happening[] {
  const { source, state, last_error: error } = item;
  const why = [error?.type, error?.message].filter(Boolean).join(": ");
  const all: Happening[] = [];
  const add = (at: string | undefined, title: string, note?: string, bad = false): void => {
    if (at !== undefined) all.push({ at, title, note, bad });
  };
  if (source !== undefined) {
    add(source.created_at, text.items.happened.produced(source.queue_name));
    const attempts = text.items.happened.attempts(source.attempts ?? 0);
    add(
      source.died_at,
      text.items.happened.died(reasonOf(source.reason)),
      [attempts, why].filter(Boolean).join(" · "),
      true,
    );
    add(item.created_at, text.items.happened.received(item.queue_name ?? ""));
  } else {
    add(item.created_at, text.items.happened.produced(item.queue_name ?? ""));
  }
  const tries = item.attempts ?? 0;
  const failed =
    why === "" || source !== undefined ? undefined : text.items.happened.lastFailed(why);
  const note = [tries > 0 ? text.items.happened.attempts(tries) : "", failed]
    .filter(Boolean)
    .join(" · ");
  if (state === "leased")
    add(item.lease_deadline, text.items.happened.leaseEnds, note, failed !== undefined);
  else if (item.enqueue_at !== undefined && item.ended_at === undefined)
    add(item.enqueue_at, text.items.happened.due, note, failed !== undefined);
  else if (item.ended_at !== undefined)
    add(item.ended_at, text.items.happened.ended(state), note, state !== "completed");
  else if (note !== "" && source === undefined)
    add(new Date(now()).toISOString(), text.items.happened.now(state), note, failed !== undefined);
  if (item.expire_at !== undefined && item.ended_at === undefined)
    add(item.expire_at, text.items.happened.expires);
  return all;
}

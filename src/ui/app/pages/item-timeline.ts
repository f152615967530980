// What has become of an item, in order: what the server keeps of it, and what happens while somebody looks.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { Time } from "../components/controls.ts";
import { type Happening, useEvents } from "../events.ts";
import { ago } from "../format.ts";
import { html } from "../html.ts";
import type { Item } from "../items.ts";
import { reasonOf, text } from "../text.ts";
import { now } from "../time.ts";

interface Entry {
  readonly at: string;
  readonly title: string;
  readonly note?: string | undefined;
  readonly bad?: boolean;
}

/** Events that are kept of those that came while somebody looks. */
const SEEN_MAX = 200;

/** Says with `onEvent` that something has just happened to the item. */
export function Timeline(props: {
  readonly queue: string;
  readonly item: Item;
  readonly onEvent: () => void;
}): VNode {
  const { queue, item, onEvent } = props;
  const [seen, setSeen] = useState<readonly Happening[]>([]);
  useEvents({ queue, item: item.id }, (event) => {
    setSeen((all) => [...all, event].slice(-SEEN_MAX));
    onEvent();
  });
  // How it has ended is told by the item itself.
  const events = seen.filter(({ type }) => item.ended_at === undefined || type !== item.state);
  const happenings = [...happeningsOf(item), ...events.map(entryOf)].sort((a, b) =>
    a.at < b.at ? -1 : a.at > b.at ? 1 : 0,
  );
  return html`<ol class="timeline">${happenings.map(
    ({ at, title, note, bad }) =>
      html`<li class=${`${bad ? "bad" : ""} ${new Date(at).getTime() > now() ? "future" : ""}`}>
        <strong>${title}</strong> <span class="dim"><${Time} at=${at} /> (${ago(at)})</span>
        ${note ? html`<p>${note}</p>` : null}</li>`,
  )}</ol>`;
}

function entryOf({ type, time, attempts, reason }: Happening): Entry {
  const tries = Number(attempts ?? 0);
  const note = tries > 0 ? text.items.happened.attempts(tries) : undefined;
  const why = typeof reason === "string" ? ` (${reasonOf(reason)})` : "";
  const bad = ["dead", "expired", "lease_ended", "retried"].includes(type);
  return { at: time, title: text.items.happened.event(type) + why, note, bad };
}

/** All times that an item tells of itself; of its attempts it is known how many there were, and how the last has failed. */
function happeningsOf(item: Item): Entry[] {
  const { source, state, last_error: error } = item;
  const why = [error?.type, error?.message].filter(Boolean).join(": ");
  const all: Entry[] = [];
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

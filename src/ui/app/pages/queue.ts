// One queue: what it does and has done, its settings, its partitions, and how near it is to its limits. Its sums are
// asked again when something happens in it.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call } from "../api.ts";
import { Button, Check, Figure, Trouble } from "../components/controls.ts";
import { ConfirmTyped, toast } from "../components/dialog.ts";
import { Tabs } from "../components/tabs.ts";
import { useNudge } from "../events.ts";
import { count, span } from "../format.ts";
import { html } from "../html.ts";
import { useKeys } from "../keys.ts";
import { lazy } from "../lazy.ts";
import { useCall } from "../live.ts";
import type { PageProps } from "../page.ts";
import { go, href, type Query } from "../router.ts";
import { text } from "../text.ts";
import type { Stats } from "./queue-parts.ts";
import type { QueueInfo } from "./queue-settings.ts";
import { QueueState } from "./queue-state.ts";

const EVERY_MS = 5_000;
const TABS = ["activity", "consumers", "settings", "partitions"] as const;
const words = text.queue;

// One looks at one of them at a time.
const ActivityTab = lazy(async () => (await import("./queue-activity.ts")).ActivityTab);
const Consumers = lazy(async () => (await import("./queue-parts.ts")).Consumers);
const Partitions = lazy(async () => (await import("./queue-parts.ts")).Partitions);
const SettingsTab = lazy(async () => (await import("./queue-settings.ts")).SettingsTab);

/** The page. */
export function View({ params, query }: PageProps): VNode {
  const name = params.queue!;
  const tab = TABS.find((each) => each === query.tab) ?? "activity";
  const info = useCall<QueueInfo>("queues.info", { queue_name: name });
  const stats = useCall<Stats>("queue.stats", { queue_name: name }, EVERY_MS);
  const [asking, setAsking] = useState<"" | "clear" | "delete">("");
  useNudge({ queue: name }, stats.refresh);
  const toTab = (key: string): Query => ({ tab: key === TABS[0] ? "" : key });
  useKeys([
    ...TABS.map((key, i) => ({
      keys: String(i + 1),
      text: words.tabs[key],
      run: () => go(["queues", name], toTab(key)),
    })),
    { keys: "i", text: words.items, run: () => go(["queues", name, "items"]) },
  ]);
  const data = stats.data;
  return html`<div class="head"><h1>${name}</h1>
      ${data && html`<${QueueState} state=${stateOf(data)} />`}
      <div class="aside">
        <a class="button" href=${href(["queues", name, "items"])}>${words.items}</a>
        <a class="button" href=${href(["queues", name, "dead"])}>${words.dead}</a>
        <${Button} changes kind="danger" onClick=${() => setAsking("clear")}>${words.clear}</${Button}>
        <${Button} changes kind="danger" onClick=${() => setAsking("delete")}>${words.delete}</${Button}>
      </div></div>
    <${Tabs} label=${words.parts} current=${tab} tabs=${TABS.map((key) => ({
      key,
      title: words.tabs[key],
      href: href(["queues", name], toTab(key)),
    }))} />
    <${Trouble} error=${info.error ?? stats.error} needs="queue.stats" />
    ${data && html`<dl class="figures panel"><${Figures} data=${data} name=${name} /></dl>`}
    ${tab === "activity" && data && html`<${ActivityTab} name=${name} stats=${data} info=${info.data} />`}
    ${tab === "consumers" && html`<${Consumers} name=${name} />`}
    ${tab === "settings" && info.data && html`<${SettingsTab} info=${info.data} onChanged=${info.refresh} />`}
    ${tab === "partitions" && data && html`<${Partitions} data=${data} />`}
    ${
      asking === "clear" &&
      html`<${Clear} name=${name} onClose=${() => {
        setAsking("");
        stats.refresh();
      }} />`
    }
    ${asking === "delete" && html`<${Delete} name=${name} onClose=${() => setAsking("")} />`}`;
}

/** As the list of queues has it, from what is known here. */
function stateOf({ totals, logical_queues }: Stats): string {
  const [queue] = logical_queues;
  if (queue?.partitions.some(({ failures }) => (failures ?? 0) > 0)) return "failing";
  const { waiting, leased, scheduled, held, rates } = totals;
  const isUsed = leased > 0 || rates.leased || rates.produced || queue?.lease_waiting;
  if (waiting > 0 && leased === 0 && !rates.leased && !queue?.lease_waiting) return "stuck";
  return isUsed || waiting + scheduled + held > 0 ? "ok" : "idle";
}

function Figures({
  data: { totals, logical_queues },
  name,
}: {
  readonly data: Stats;
  readonly name: string;
}): VNode {
  const [queue] = logical_queues;
  const items = (state: string): string => href(["queues", name, "items"], { state });
  return html`
    <${Figure} label=${text.queues.waiting} value=${count(totals.waiting)} href=${items("waiting")}
      note=${totals.oldest_age && text.overview.oldest(span(totals.oldest_age))} />
    <${Figure} label=${text.queues.leased} value=${count(totals.leased)} href=${items("leased")} />
    <${Figure} label=${text.queues.scheduled} value=${count(totals.scheduled)} href=${items("scheduled")} />
    <${Figure} label=${text.queues.held} value=${count(totals.held)} href=${items("held")} note=${words.heldNote} />
    <${Figure} label=${words.kept} value=${count(totals.kept)} href=${items("completed")} />
    <${Figure} label=${words.consumers} value=${count(queue?.lease_waiting ?? 0)} note=${words.consumersNote} />`;
}

function Clear({ name, onClose }: { readonly name: string; readonly onClose: () => void }): VNode {
  const [waiting, setWaiting] = useState(true);
  const [leased, setLeased] = useState(false);
  const [scheduled, setScheduled] = useState(false);
  const submit = async (): Promise<void> => {
    await call("queue.clear", {
      queue_name: name,
      queue: waiting,
      destructive: waiting && leased,
      scheduled,
    });
    toast(words.cleared(name));
  };
  return html`<${ConfirmTyped} title=${words.clearOf(name)} submit=${words.clearNow} name=${name} needs="queue.clear"
    disabled=${!waiting && !scheduled} onSubmit=${submit} onClose=${onClose}>
    <p>${words.clearWhat}</p>
    <${Check} label=${words.clearWaiting} checked=${waiting} onChange=${setWaiting} />
    <${Check} label=${words.clearLeased} checked=${waiting && leased} disabled=${!waiting} onChange=${setLeased} />
    <${Check} label=${words.clearScheduled} checked=${scheduled} onChange=${setScheduled} />
  </${ConfirmTyped}>`;
}

function Delete({ name, onClose }: { readonly name: string; readonly onClose: () => void }): VNode {
  const [force, setForce] = useState(false);
  const submit = async (): Promise<void> => {
    await call("queues.delete", { queue_name: name, force });
    toast(words.deleted(name));
    go(["queues"]);
  };
  return html`<${ConfirmTyped} title=${words.deleteOf(name)} submit=${words.deleteNow} name=${name} needs="queue.delete"
    onSubmit=${submit} onClose=${onClose}>
    <p>${words.deleteWhat}</p>
    <${Check} label=${words.deleteForce} checked=${force} onChange=${setForce} />
  </${ConfirmTyped}>`;
}

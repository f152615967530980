// What lies in a dead queue, by what it died of: how many, since when, whether they become more, one of them to
// look at, and the way back for each group.

import type { VNode } from "preact";
import { useRef, useState } from "preact/hooks";
import { CallError, call } from "../api.ts";
import { Button, Empty, Panel, Time, Trouble } from "../components/controls.ts";
import { Spark } from "../components/spark.ts";
import { type Column, Table } from "../components/table.ts";
import { count } from "../format.ts";
import { html } from "../html.ts";
import { mayChange } from "../item-actions.ts";
import { useKeys } from "../keys.ts";
import { useLive } from "../live.ts";
import type { PageProps } from "../page.ts";
import { href } from "../router.ts";
import { reasonOf, text } from "../text.ts";
import { BeginRedrive, type Group, Redrives } from "./redrives.ts";
import type { DeadGroup } from "./shared.ts";

// A call looks at up to 100,000 items: seldom, and when somebody asks.
const POLL_MS = 30_000;

interface Dead {
  /** The dead queue: that of the queue that was asked for, or this one itself. */
  readonly queue: string;
  readonly groups: readonly DeadGroup[];
  readonly complete: boolean;
  readonly lookedAt: number;
}

interface History {
  readonly dead: readonly number[];
}

export function View({ params }: PageProps): VNode {
  const asked = params.queue!;
  const { data, error, refresh } = useLive((signal) => read(asked, signal), [asked], POLL_MS);
  const history = useLive((signal) => readHistory(asked, signal), [asked], POLL_MS).data;
  const [group, setGroup] = useState<Group>();
  const [begun, setBegun] = useState(0);
  // How many there were when somebody began to look.
  const first = useRef<ReadonlyMap<string, number>>(undefined);
  if (data !== undefined && first.current === undefined) {
    first.current = new Map(data.groups.map((each) => [each.fingerprint, each.count]));
  }
  const all: Group = { title: text.dead.allGroups };
  useKeys([
    { keys: "r", text: text.dead.redriveAll, run: () => mayChange() && setGroup(all) },
    { keys: "u", text: text.dead.refresh, run: refresh },
  ]);
  const queue = data?.queue ?? asked;
  const trend = (each: DeadGroup): string => {
    const before = first.current?.get(each.fingerprint) ?? 0;
    const by = each.count - before;
    return by === 0 ? "" : `${by > 0 ? "+" : "−"}${count(Math.abs(by))}`;
  };

  return html`<div class="head"><h1>${text.dead.of(asked)}</h1>
      <a href=${href(["queues", asked])}>${text.items.toQueue}</a>
      <a href=${href(["queues", queue, "items"], { state: "dead" })}>${text.dead.allItems}</a></div>
    <div class="toolbar"><${Button} changes onClick=${() => setGroup(all)} disabled=${(data?.groups.length ?? 0) === 0}>${text.dead.redriveAll}</${Button}>
      <${Button} onClick=${refresh}>${text.dead.refresh}</${Button}>
      ${history === undefined ? null : html`<${Died} dead=${history.dead} />`}
      ${queue === asked ? null : html`<span class="dim">${text.dead.liesIn} <a href=${href(["queues", queue])}>${queue}</a></span>`}</div>
    <${Trouble} error=${error} needs="item.read" />
    ${
      data &&
      html`<${Table} label=${text.dead.of(asked)} columns=${columnsOf(queue, trend, setGroup)} rows=${data.groups}
      rowKey=${(each: DeadGroup) => each.fingerprint} href=${(each: DeadGroup) => href(["queues", queue, "items", each.sample])}
      empty=${html`<${Empty} title=${text.dead.none}><p>${text.dead.noneWhy}</p></${Empty}>`} />
      ${data.complete ? null : html`<p class="note">${text.dead.notAll(data.lookedAt)}</p>`}`
    }
    <${Panel} title=${text.redrive.title}><${Redrives} queue=${queue} begun=${begun} /></${Panel}>
    ${
      group === undefined
        ? null
        : html`<${BeginRedrive} queue=${queue} group=${group} onClose=${(did: boolean) => {
            setGroup(undefined);
            if (!did) return;
            setBegun(begun + 1);
            refresh();
          }} />`
    }`;
}

/** How many died in each part of the last day. */
function Died({ dead }: { readonly dead: readonly number[] }): VNode | null {
  const sum = dead.reduce((all, each) => all + each, 0);
  if (sum === 0) return null;
  const said = text.dead.died(sum);
  return html`<${Spark} values=${dead} label=${said} /><span class="dim">${said}</span>`;
}

async function read(asked: string, signal: AbortSignal): Promise<Dead> {
  const info = await call<{ dead_queue?: string }>(
    "queues.info",
    { queue_name: asked },
    { signal },
  );
  const queue = info.dead_queue || asked;
  const found = await call<{ groups?: DeadGroup[]; complete?: boolean; looked_at?: number }>(
    "queue.dead_groups",
    { queue_name: queue },
    { signal },
  );
  const { groups = [], complete = false, looked_at = 0 } = found;
  return { queue, groups, complete, lookedAt: looked_at };
}

// Of a key that may not see it, or of a server that does not keep it, there is none.
async function readHistory(queue: string, signal: AbortSignal): Promise<History | undefined> {
  try {
    return await call<History>("queue.history", { queue_name: queue, span: "24h" }, { signal });
  } catch (error) {
    if (error instanceof CallError) return undefined;
    throw error;
  }
}

function columnsOf(
  queue: string,
  trend: (group: DeadGroup) => string,
  onRedrive: (group: Group) => void,
): readonly Column<DeadGroup>[] {
  return [
    {
      key: "count",
      title: text.dead.count,
      number: true,
      cell: (each) => html`<strong>${count(each.count)}</strong>`,
    },
    { key: "trend", title: text.dead.trend, number: true, wide: true, cell: trend },
    {
      key: "what",
      title: text.dead.what,
      cell: (each) =>
        html`<span>${titleOf(each)}</span>${each.kind ? html` <span class="dim">${each.kind}</span>` : null}`,
    },
    {
      key: "reason",
      title: text.dead.reason,
      wide: true,
      cell: ({ reason }) => reasonOf(reason),
    },
    {
      key: "from",
      title: text.dead.from,
      wide: true,
      cell: ({ source_queue: from }) =>
        from && html`<a class="nowrap" href=${href(["queues", from])}>${from}</a>`,
    },
    {
      key: "first",
      title: text.dead.first,
      wide: true,
      cell: ({ first_at }) => html`<${Time} at=${first_at} relative />`,
    },
    {
      key: "last",
      title: text.dead.last,
      cell: ({ last_at }) => html`<${Time} at=${last_at} relative />`,
    },
    {
      key: "sample",
      title: text.dead.look,
      cell: (each) =>
        html`<a href=${href(["queues", queue, "items", each.sample])}>${text.dead.sample}<span class="unseen"> ${titleOf(each)}</span></a>${" "}<a href=${href(["queues", queue, "items"], { state: "dead", kind: each.kind, error_type: each.error_type })}>${text.dead.items}<span class="unseen"> ${titleOf(each)}</span></a>`,
    },
    {
      key: "redrive",
      title: text.dead.back,
      cell: (each) =>
        html`<${Button} changes onClick=${() => onRedrive({ fingerprint: each.fingerprint, title: titleOf(each) })}>${text.dead.redrive}<span class="unseen"> ${titleOf(each)}</span></${Button}>`,
    },
  ];
}

function titleOf({ error_type: type, message, reason = "" }: DeadGroup): string {
  const told = [type, message].filter(Boolean).join(": ");
  return told === "" ? reasonOf(reason) : told;
}

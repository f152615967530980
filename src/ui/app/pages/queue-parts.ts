// Of what a queue consists, and who takes from it: its partitions and its consumers.

import type { VNode } from "preact";
import { Empty, Time, Trouble } from "../components/controls.ts";
import { type Column, Table } from "../components/table.ts";
import { count, span } from "../format.ts";
import { html } from "../html.ts";
import { useCall } from "../live.ts";
import { text } from "../text.ts";

/** The numbers of a queue, as `queue.stats` tells them; what is 0 may be left out in partitions. */
export interface Stats {
  readonly logical_queues: readonly {
    readonly produce_waiting?: number;
    readonly lease_waiting?: number;
    readonly complete_waiting?: number;
    readonly in_flight?: number;
    readonly partitions: readonly PartitionStats[];
  }[];
  readonly totals: {
    readonly waiting: number;
    readonly leased: number;
    readonly scheduled: number;
    readonly held: number;
    readonly kept: number;
    readonly oldest_age?: string;
    readonly counts: Readonly<Record<string, number | undefined>>;
    readonly rates: Readonly<Record<string, number | undefined>>;
  };
}

interface PartitionStats {
  readonly partition?: number;
  readonly total?: number;
  readonly total_leased?: number;
  readonly scheduled?: number;
  readonly failures?: number;
  readonly average_age?: string;
  readonly average_leased_age?: string;
}

interface Consumer {
  readonly client: string;
  readonly last_seen_at?: string;
  readonly waiting?: number;
  readonly leased?: number;
}

const EVERY_MS = 5_000;
const CONSUMERS_MAX = 200;
const words = text.queue;

const partitionColumns: readonly Column<PartitionStats>[] = [
  { key: "partition", title: words.partition, cell: (row) => count(row.partition ?? 0) },
  { key: "total", title: words.total, number: true, cell: (row) => count(row.total ?? 0) },
  {
    key: "leased",
    title: text.queues.leased,
    number: true,
    cell: (row) => count(row.total_leased ?? 0),
  },
  {
    key: "scheduled",
    title: text.queues.scheduled,
    number: true,
    cell: (row) => count(row.scheduled ?? 0),
  },
  {
    key: "age",
    title: words.averageAge,
    number: true,
    wide: true,
    cell: (row) => span(row.average_age),
  },
  {
    key: "leasedAge",
    title: words.averageLeasedAge,
    number: true,
    wide: true,
    cell: (row) => span(row.average_leased_age),
  },
  { key: "failures", title: words.failures, number: true, cell: (row) => count(row.failures ?? 0) },
];

/** Each partition in numbers. */
export function Partitions({ data }: { readonly data: Stats }): VNode {
  return html`<${Table} label=${words.tabs.partitions} columns=${partitionColumns}
    rows=${data.logical_queues.flatMap(({ partitions }) => partitions)}
    rowKey=${(row: PartitionStats) => String(row.partition ?? 0)} />`;
}

const consumerColumns: readonly Column<Consumer>[] = [
  { key: "client", title: words.consumer, cell: (row) => row.client || words.noName },
  {
    key: "waiting",
    title: words.waitingLeases,
    number: true,
    cell: (row) => count(row.waiting ?? 0),
  },
  { key: "leased", title: words.leasedSince, number: true, cell: (row) => count(row.leased ?? 0) },
  {
    key: "seen",
    title: words.lastSeen,
    number: true,
    cell: (row) => html`<${Time} at=${row.last_seen_at} relative />`,
  },
];

/** Who has leased from it since the server started. */
export function Consumers({ name }: { readonly name: string }): VNode {
  const { data, error } = useCall<{
    readonly since?: string;
    readonly total?: number;
    readonly consumers?: readonly Consumer[];
  }>("queue.consumers", { queue_name: name, limit: CONSUMERS_MAX }, EVERY_MS);
  const rows = data?.consumers ?? [];
  return html`<${Trouble} error=${error} needs="queue.stats" />
    ${
      data &&
      html`<p class="dim">${words.knownSince} <${Time} at=${data.since} /></p>
    <${Table} label=${words.tabs.consumers} columns=${consumerColumns} rows=${rows} rowKey=${(row: Consumer) => row.client}
      empty=${html`<${Empty} title=${words.noConsumers} />`} />
    ${(data.total ?? 0) > rows.length && html`<p class="dim">${text.table.more((data.total ?? 0) - rows.length)}</p>`}`
    }`;
}

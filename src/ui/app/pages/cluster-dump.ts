// What the server holds at this moment, for who looks for what is stuck: asked only when somebody wants it, as every
// thread and every queue has to answer.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call } from "../api.ts";
import { Button, Panel, Status, Time, Trouble } from "../components/controls.ts";
import { type Column, Table } from "../components/table.ts";
import { Tree } from "../components/tree.ts";
import { bytes, count, span } from "../format.ts";
import { html } from "../html.ts";
import { accessText } from "../text-access.ts";
import { now } from "../time.ts";

interface Thread {
  readonly thread: number;
  readonly silent?: boolean;
  /** From 0 to 1. */
  readonly busy?: number;
  readonly latest?: string;
  readonly heap_bytes?: number | string;
  readonly connections?: number | string;
  readonly open_requests?: number | string;
  readonly queues?: number | string;
}

interface Dump {
  readonly threads?: readonly Thread[];
  readonly queues?: readonly object[];
  readonly queues_left_out?: number | string;
}

const PERCENT = 100;
const QUEUES_MAX = 100;
const words = accessText.dump;

const columns: readonly Column<Thread>[] = [
  {
    key: "thread",
    title: words.thread,
    cell: ({ thread, silent }) =>
      html`${thread}${silent && html` <${Status} tone="bad">${words.silent}</${Status}>`}`,
  },
  {
    key: "busy",
    title: words.busy,
    number: true,
    cell: ({ silent, busy = 0 }) => (silent ? "–" : `${Math.round(busy * PERCENT)} %`),
  },
  {
    key: "late",
    title: words.late,
    number: true,
    cell: ({ silent, latest = "0s" }) => (silent ? "–" : span(latest)),
  },
  {
    key: "heap",
    title: words.heap,
    number: true,
    wide: true,
    cell: ({ silent, heap_bytes: heap }) => (silent ? "–" : bytes(Number(heap ?? 0))),
  },
  counted("connections", words.connections),
  counted("open_requests", words.open),
  counted("queues", words.queues),
];

// What is 0 is left out of the answer; of a thread that is silent nothing is known.
function counted(key: "connections" | "open_requests" | "queues", title: string): Column<Thread> {
  return {
    key,
    title,
    number: true,
    wide: true,
    cell: (row) => count(row.silent ? undefined : (row[key] ?? 0)),
  };
}

/** Shows what `debug.dump` tells, once somebody asks. */
export function DumpPanel(): VNode {
  const [told, setTold] = useState<{ readonly dump: Dump; readonly at: number }>();
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const ask = (): void => {
    setBusy(true);
    call<Dump>("debug.dump", { limit: QUEUES_MAX }).then(
      (dump) => {
        setTold({ dump, at: now() });
        setError(undefined);
        setBusy(false);
      },
      (why: Error) => {
        setError(why);
        setBusy(false);
      },
    );
  };
  return html`<${Panel} title=${words.title}><div class="stack"><p>${words.why}</p>
    <div class="toolbar"><${Button} disabled=${busy} onClick=${ask}>${told ? words.again : words.show}</${Button}>
      ${told && html`<span class="dim">${words.asOf} <${Time} at=${told.at} /></span>`}</div>
    <${Trouble} error=${error} needs="system.debug" />
    ${
      told &&
      html`<${Table} label=${words.threads} columns=${columns} rows=${told.dump.threads ?? []}
        rowKey=${(row: Thread) => String(row.thread)} />
      <${Tree} value=${told.dump} />${
        Number(told.dump.queues_left_out ?? 0) > 0 &&
        html`<p class="note">${words.leftOut(count(told.dump.queues_left_out))}</p>`
      }`
    }</div></${Panel}>`;
}

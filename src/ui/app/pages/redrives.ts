// Redrives: what is moved out of a dead queue, how far it is, and how it is ended; and the dialog that begins one.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call } from "../api.ts";
import { Button, Empty, Field, Status, Time, type Tone, Trouble } from "../components/controls.ts";
import { FormDialog, toast } from "../components/dialog.ts";
import { type Column, Table } from "../components/table.ts";
import { count } from "../format.ts";
import { html } from "../html.ts";
import type { Redrive } from "../item-actions.ts";
import { useCall } from "../live.ts";
import { text } from "../text.ts";

const RUNNING_MS = 1_000;
const RESTING_MS = 10_000;

const TONES: Readonly<Record<Redrive["state"], Tone>> = {
  running: "info",
  done: "ok",
  stopped: "bad",
  cancelled: "warn",
};

/** The redrives of a dead queue; asked anew when `begun` changes. */
export function Redrives({
  queue,
  begun = 0,
}: {
  readonly queue: string;
  readonly begun?: number;
}): VNode {
  const [running, setRunning] = useState(false);
  const { data, error, refresh } = useCall<{ redrives?: Redrive[] }>(
    "redrives.list",
    { queue_name: queue },
    running || begun > 0 ? RUNNING_MS : RESTING_MS,
  );
  const rows = data?.redrives ?? [];
  const runs = rows.some(({ state }) => state === "running");
  if (runs !== running) setRunning(runs);
  const cancel = (id: string): void => {
    call("redrives.cancel", { queue_name: queue, id }).then(
      () => {
        toast(text.redrive.cancelled);
        refresh();
      },
      (why: Error) => toast(String(why.message), true),
    );
  };
  const columns: readonly Column<Redrive>[] = [
    {
      key: "state",
      title: text.redrive.state,
      cell: ({ state }) =>
        html`<${Status} tone=${TONES[state] ?? "idle"}>${text.redrive.states[state] ?? state}</${Status}>`,
    },
    {
      key: "progress",
      title: text.redrive.progress,
      cell: ({ looked_at = 0, total = 0, state, id }) =>
        html`<progress aria-label=${text.redrive.progressOf(id ?? "")} max=${Math.max(total, 1)} value=${state === "done" ? Math.max(total, 1) : looked_at}></progress>`,
    },
    {
      key: "moved",
      title: text.redrive.moved,
      number: true,
      cell: ({ moved }) => count(moved ?? 0),
    },
    {
      key: "total",
      title: text.redrive.total,
      number: true,
      wide: true,
      cell: ({ total }) => count(total ?? 0),
    },
    {
      key: "skipped",
      title: text.redrive.skipped,
      number: true,
      wide: true,
      cell: ({ skipped }) => count(skipped ?? 0),
    },
    {
      key: "failed",
      title: text.redrive.failed,
      number: true,
      cell: ({ failed }) => count(failed ?? 0),
    },
    { key: "to", title: text.redrive.to, wide: true, cell: ({ to }) => to || text.redrive.back },
    {
      key: "started",
      title: text.redrive.started,
      wide: true,
      cell: ({ started_at }) => html`<${Time} at=${started_at} relative />`,
    },
    {
      key: "cancel",
      title: text.redrive.action,
      cell: ({ id, state }) =>
        state === "running" && id
          ? html`<${Button} changes onClick=${() => cancel(id)}>${text.redrive.cancel}</${Button}>`
          : "",
    },
  ];
  return html`<${Trouble} error=${error} needs="queue.stats" />${
    data &&
    html`<${Table} label=${text.redrive.title} columns=${columns} rows=${rows} rowKey=${({ id }: Redrive) => id ?? ""}
      empty=${html`<${Empty} title=${text.redrive.none} />`} />`
  }`;
}

/** What of a dead queue is put back: one group of it, or all. */
export interface Group {
  readonly fingerprint?: string;
  readonly title: string;
}

/** Asks how a redrive is to go, and begins it: a canary first, if a limit is given, and an end to it if they die again. */
export function BeginRedrive(props: {
  readonly queue: string;
  readonly group: Group;
  readonly onClose: (begun: boolean) => void;
}): VNode {
  const { queue, group } = props;
  const only = group.fingerprint === undefined ? {} : { fingerprint: group.fingerprint };
  const { data, error } = useCall<Redrive>("queue.redrive", {
    queue_name: queue,
    ...only,
    dry_run: true,
  });
  const [limit, setLimit] = useState("");
  const [rate, setRate] = useState("");
  const [stopAt, setStopAt] = useState("50");
  const [to, setTo] = useState("");
  const numbers = [limit, rate].every((each) => /^\d*$/.test(each.trim()));
  const percent = stopAt.trim() === "" ? 0 : Number(stopAt);
  const isPercent = percent >= 0 && percent <= 100;
  const submit = async (): Promise<void> => {
    const begun = await call<Redrive>("queue.redrive", {
      queue_name: queue,
      ...only,
      ...(limit.trim() && { limit: Number(limit) }),
      ...(rate.trim() && { rate: Number(rate) }),
      ...(to.trim() && { to: to.trim() }),
      ...(percent > 0 && { stop_at_failure_ratio: percent / 100 }),
    });
    toast(text.redrive.begun(begun.id ?? ""));
    props.onClose(true);
  };
  const size =
    data === undefined
      ? text.items.loading
      : data.looked_at < data.total
        ? text.redrive.wouldMoveMore(data.moved)
        : text.redrive.wouldMove(data.moved);
  return html`<${FormDialog} title=${text.redrive.begin} submit=${text.redrive.submit} needs="queue.redrive" onSubmit=${submit}
      disabled=${!numbers || !isPercent} onClose=${() => props.onClose(false)}>
    <p><strong>${group.title}</strong></p>
    <p role="status">${error === undefined ? size : ""}</p><${Trouble} error=${error} needs="queue.redrive" />
    ${data !== undefined && data.skipped > 0 ? html`<p class="dim">${text.redrive.wouldSkip(data.skipped)}</p>` : null}
    <${Field} label=${text.redrive.limit} value=${limit} onInput=${setLimit} placeholder=${text.redrive.noLimit} hint=${text.redrive.limitHint}
      error=${/^\d*$/.test(limit.trim()) ? undefined : text.redrive.notNumber} autofocus />
    <${Field} label=${text.redrive.rate} value=${rate} onInput=${setRate} placeholder=${text.redrive.noRate} hint=${text.redrive.rateHint}
      error=${/^\d*$/.test(rate.trim()) ? undefined : text.redrive.notNumber} />
    <${Field} label=${text.redrive.stopAt} value=${stopAt} onInput=${setStopAt} hint=${text.redrive.stopAtHint}
      error=${isPercent ? undefined : text.redrive.notPercent} />
    <${Field} label=${text.redrive.toOther} value=${to} onInput=${setTo} placeholder=${text.redrive.back} />
  </${FormDialog}>`;
}

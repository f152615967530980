// The dialog in which something is done to items: those that were chosen, or all that a filter finds. It counts
// first and does nothing yet, says how far it is, can be ended at any time, and tells what was refused.

import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { call } from "../api.ts";
import { Button, Field, Trouble } from "../components/controls.ts";
import { Dialog } from "../components/dialog.ts";
import { html } from "../html.ts";
import {
  type Action,
  act,
  findAll,
  fits,
  MATCHES_MAX,
  NEEDS,
  type Progress,
  type Redrive,
  redrive,
} from "../item-actions.ts";
import type { Filter, Item } from "../items.ts";
import { text } from "../text.ts";

/** What it is done to: these items, or what a filter finds. */
export type Target = { readonly items: readonly Item[] } | { readonly filter: Filter };

interface Counted {
  readonly items: readonly Item[];
  readonly complete: boolean;
  /** Of those how many it makes sense for. */
  readonly fitting: number;
  /** The server does all of it by itself. */
  readonly whole?: object;
}

export function ActionDialog(props: {
  readonly queue: string;
  readonly action: Action;
  readonly target: Target;
  /** `changed`: whether anything was done. */
  readonly onClose: (changed: boolean) => void;
}): VNode {
  const { queue, action, target } = props;
  const [found, setFound] = useState(0);
  const [counted, setCounted] = useState<Counted>();
  const [progress, setProgress] = useState<Progress>();
  const [ended, setEnded] = useState(false);
  const [error, setError] = useState<Error>();
  const [typed, setTyped] = useState("");
  const stop = useRef(new AbortController());
  const isBusy = progress !== undefined && !ended;

  useEffect(() => {
    const { signal } = stop.current;
    count(queue, action, target, { signal, onFound: setFound }).then(
      (all) => !signal.aborted && setCounted(all),
      (why: Error) => !signal.aborted && setError(why),
    );
    return () => stop.current.abort();
  }, []);

  const run = (event: Event): void => {
    event.preventDefault();
    if (counted === undefined) return;
    setError(undefined);
    setProgress({ done: 0, refused: {}, total: counted.fitting });
    const watch = { signal: stop.current.signal, onProgress: setProgress };
    const doing =
      counted.whole === undefined
        ? act(queue, action, counted.items, watch)
        : putAllBack({ queue_name: queue, ...counted.whole }, counted.fitting, watch);
    doing.then(
      (all) => {
        setProgress(all);
        setEnded(true);
      },
      (why: Error) => {
        setError(why);
        setEnded(true);
      },
    );
  };
  const close = (): void => {
    stop.current.abort();
    props.onClose(progress !== undefined);
  };

  // What takes away much that cannot be taken back has to be meant.
  const isGrave = "filter" in target && (action === "delete" || action === "cancel");
  const verb = text.items.actions[action];
  const ready = counted !== undefined && counted.fitting > 0 && (!isGrave || typed === queue);
  return html`<${Dialog} title=${verb.title} onClose=${close}><form class="stack" onSubmit=${run}>
    <p>${verb.what}</p>
    ${progress === undefined ? html`<${Count} counted=${counted} found=${found} failed=${error !== undefined} />` : html`<${Progressing} progress=${progress} ended=${ended} stopped=${stop.current.signal.aborted} />`}
    ${
      isGrave && progress === undefined
        ? html`<${Field} label=${text.dialog.typeName(queue)} value=${typed} onInput=${setTyped} mono />`
        : null
    }
    <${Trouble} error=${error} needs=${NEEDS[action]} />
    <footer>${
      isBusy
        ? html`<${Button} onClick=${() => stop.current.abort()}>${text.items.stop}</${Button}>`
        : html`<${Button} onClick=${close}>${ended ? text.dialog.close : text.dialog.cancel}</${Button}>`
    }${
      progress === undefined
        ? html`<${Button} submit changes kind=${action === "delete" || action === "cancel" ? "danger" : "primary"}
            disabled=${!ready}>${verb.submit(counted?.fitting ?? 0)}</${Button}>`
        : null
    }</footer></form></${Dialog}>`;
}

function Count(props: {
  readonly counted: Counted | undefined;
  readonly found: number;
  readonly failed: boolean;
}): VNode | null {
  const { counted, found } = props;
  if (counted === undefined) {
    return props.failed ? null : html`<p role="status">${text.items.counting(found)}</p>`;
  }
  const { items, complete, fitting, whole } = counted;
  const { match, matchFirst, matchMore } = text.items;
  const saying = complete ? match : whole === undefined ? matchFirst : matchMore;
  return html`<p role="status" class="strong">${saying(fitting)}</p>
    ${whole === undefined && fitting < items.length ? html`<p class="dim">${text.items.unfit(items.length - fitting)}</p>` : null}
    ${complete || whole !== undefined ? null : html`<p class="dim">${text.items.matchMax(MATCHES_MAX)}</p>`}`;
}

function Progressing(props: {
  readonly progress: Progress;
  readonly ended: boolean;
  readonly stopped: boolean;
}): VNode {
  const { done, refused, total } = props.progress;
  const sum = Object.values(refused).reduce((all, each) => all + each, done);
  return html`<progress aria-label=${text.items.progress} max=${Math.max(total, 1)} value=${props.ended ? total : sum}></progress>
    <p role="status">${text.items.doneOf(done, total)}${props.ended && props.stopped ? ` ${text.items.stopped}` : ""}</p>
    ${Object.entries(refused).map(([code, count]) => html`<p key=${code} class="dim">${text.items.refused(count, code)}</p>`)}`;
}

// A redrive knows of these fields of a filter only, and of them kind alone means the same there.
const OF_REDRIVE = new Set(["state", "kind", "order"]);

async function count(
  queue: string,
  action: Action,
  target: Target,
  looking: { readonly signal: AbortSignal; readonly onFound: (count: number) => void },
): Promise<Counted> {
  const fitting = (items: readonly Item[]): number =>
    items.filter((item) => fits(action, item)).length;
  if ("items" in target) {
    const { items } = target;
    return { items, complete: true, fitting: fitting(items) };
  }
  const { filter } = target;
  if (action === "put_back" && Object.keys(filter).every((name) => OF_REDRIVE.has(name))) {
    const whole = filter.kind === undefined ? {} : { kind: filter.kind };
    const dry = await call<Redrive>("queue.redrive", {
      queue_name: queue,
      ...whole,
      dry_run: true,
    });
    const complete = dry.looked_at >= dry.total;
    return { items: [], complete, fitting: dry.moved, whole };
  }
  const all = await findAll(queue, filter, looking);
  return { ...all, fitting: fitting(all.items) };
}

async function putAllBack(
  body: { readonly queue_name: string; readonly [field: string]: unknown },
  expected: number,
  watch: { readonly signal: AbortSignal; readonly onProgress: (progress: Progress) => void },
): Promise<Progress> {
  const told = ({ moved, skipped }: Redrive): Progress => ({
    done: moved,
    refused: skipped > 0 ? { skipped } : {},
    total: Math.max(expected, moved),
  });
  return told(await redrive(body, watch.signal, (now) => watch.onProgress(told(now))));
}

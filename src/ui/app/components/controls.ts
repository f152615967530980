// The small parts: buttons, fields, marks, what is shown when there is nothing, and what went wrong.

import type { VNode } from "preact";
import { useId } from "preact/hooks";
import { Away, CallError, config } from "../api.ts";
import { ago, time } from "../format.ts";
import { type Children, html } from "../html.ts";
import { text } from "../text.ts";

/** A button. `changes`: it changes something on the server, so it is off where that is read-only. */
export function Button(props: {
  readonly onClick?: () => void;
  readonly kind?: "primary" | "danger" | "quiet";
  readonly changes?: boolean;
  readonly disabled?: boolean;
  readonly submit?: boolean;
  readonly title?: string;
  readonly children?: Children;
}): VNode {
  const locked = props.changes === true && config.value?.readOnly === true;
  return html`<button
    type=${props.submit ? "submit" : "button"}
    class=${`button ${props.kind ?? ""}`}
    disabled=${props.disabled === true || locked}
    title=${locked ? text.shell.readOnlyWhy : props.title}
    onClick=${props.onClick}
  >${props.children}</button>`;
}

/** A labelled field of a form; `hint` stands below it, `error` in its place. */
export function Field(props: {
  readonly label: string;
  readonly value: string;
  readonly onInput: (value: string) => void;
  readonly hint?: string;
  readonly error?: string | undefined;
  readonly kind?: "text" | "search" | "password" | "area";
  readonly placeholder?: string;
  /** In place of a text: one of these, `[value, label]`. */
  readonly choices?: readonly (readonly [string, string])[];
  readonly disabled?: boolean;
  readonly autofocus?: boolean;
  readonly mono?: boolean;
}): VNode {
  const { value, disabled = false } = props;
  const id = useId();
  const onInput = (event: { currentTarget: { value: string } }): void =>
    props.onInput(event.currentTarget.value);
  const focus = (element: HTMLElement | null): void => {
    if (props.autofocus && element !== null && !element.dataset.focused) {
      element.dataset.focused = "yes";
      element.focus();
    }
  };
  const shared = {
    id,
    value,
    onInput,
    disabled,
    ref: focus,
    "aria-invalid": props.error !== undefined,
    "aria-describedby": props.error || props.hint ? `${id}-note` : undefined,
  };
  const control =
    props.choices !== undefined
      ? html`<select ...${shared} onChange=${onInput}>${props.choices.map(
          ([each, label]) =>
            html`<option value=${each} selected=${each === value}>${label}</option>`,
        )}</select>`
      : props.kind === "area"
        ? html`<textarea ...${shared} rows="6" class="mono" spellcheck=${false}></textarea>`
        : html`<input ...${shared} type=${props.kind ?? "text"} class=${props.mono ? "mono" : ""}
            placeholder=${props.placeholder} autocomplete="off" spellcheck=${false} />`;
  const note = props.error ?? props.hint;
  return html`<div class="field"><label for=${id}>${props.label}</label>${control}
    ${note && html`<span id=${`${id}-note`} class=${props.error ? "note bad" : "note"}>${note}</span>`}
  </div>`;
}

/** A box to tick. */
export function Check(props: {
  readonly label: Children;
  readonly checked: boolean;
  readonly onChange: (checked: boolean) => void;
  readonly disabled?: boolean;
}): VNode {
  return html`<label class="check"><input type="checkbox" checked=${props.checked} disabled=${props.disabled}
    onChange=${(event: { currentTarget: HTMLInputElement }) => props.onChange(event.currentTarget.checked)} />
    <span>${props.label}</span></label>`;
}

export type Tone = "ok" | "warn" | "bad" | "idle" | "info";

const SHAPES: Readonly<Record<Tone, string>> = {
  ok: "●",
  warn: "▲",
  bad: "■",
  idle: "○",
  info: "◆",
};

/** A state: its shape says it as well as its colour and its word. */
export function Status({
  tone,
  children,
}: {
  readonly tone: Tone;
  readonly children?: Children;
}): VNode {
  return html`<span class=${`status ${tone}`}><span aria-hidden="true">${SHAPES[tone]}</span> ${children}</span>`;
}

/** A filter, or a choice, that is on or off. */
export function Chip(props: {
  readonly on: boolean;
  readonly onClick: () => void;
  readonly children?: Children;
}): VNode {
  return html`<button type="button" class="chip" aria-pressed=${props.on} onClick=${props.onClick}>${props.children}</button>`;
}

/** A time: exact, and how long ago on hover; `relative` the other way round. */
export function Time({
  at,
  relative,
}: {
  readonly at: string | number | undefined;
  readonly relative?: boolean;
}): VNode {
  if (at === undefined || at === "") return html`<span>–</span>`;
  const [shown, hint] = relative ? [ago(at), time(at)] : [time(at), ago(at)];
  return html`<time class="nowrap" title=${hint}>${shown}</time>`;
}

/** How much of a bound is used. */
export function Bar(props: {
  readonly label: string;
  readonly value: number;
  readonly max: number;
  /** In words, such as "8,000 of 10,000". */
  readonly shown: string;
}): VNode {
  const part = props.max === 0 ? 0 : Math.min(props.value / props.max, 1);
  const tone = part >= 0.95 ? "bad" : part >= 0.8 ? "warn" : "";
  return html`<div class=${`bar ${tone}`}><span>${props.label}</span>
    <meter aria-label=${props.label} min="0" max="1" value=${part}></meter>
    <span class="number">${props.shown}</span></div>`;
}

/** What stands where there is nothing, and what one may do about it. */
export function Empty({
  title,
  children,
}: {
  readonly title: string;
  readonly children?: Children;
}): VNode {
  return html`<div class="empty"><p class="strong">${title}</p>${children}</div>`;
}

/** Why something failed: what the server said, with what helps to look it up. */
export function Trouble({
  error,
  needs,
}: {
  readonly error: Error | undefined;
  readonly needs?: string;
}): VNode | null {
  if (error === undefined || error instanceof Away) return null;
  if (!(error instanceof CallError))
    return html`<div class="trouble" role="alert">${String(error)}</div>`;
  const { code, detail, title, field, request_id: id, status } = error.problem;
  if (status === 401) return null;
  return html`<div class="trouble" role="alert"><p><strong>${title ?? text.shell.failed}</strong></p>
    ${detail === undefined ? null : html`<p>${detail}</p>`}
    ${status === 403 && needs !== undefined ? html`<p>${text.shell.needs(needs)}</p>` : null}
    <p class="dim mono">${[code, field, id].filter(Boolean).join(" · ")}</p></div>`;
}

/** A part of a page, with its heading. */
export function Panel(props: {
  readonly title: string;
  readonly aside?: Children;
  readonly children?: Children;
}): VNode {
  return html`<section class="panel"><header><h2>${props.title}</h2><div class="aside">${props.aside}</div></header>
    ${props.children}</section>`;
}

/** A figure with its name; `href` leads to what it counts. */
export function Figure(props: {
  readonly label: string;
  readonly value: Children;
  readonly note?: Children;
  readonly href?: string;
}): VNode {
  const inside = html`<span class="figure-value">${props.value}</span>`;
  return html`<div class="figure"><dt>${props.label}</dt><dd>${
    props.href === undefined ? inside : html`<a href=${props.href}>${inside}</a>`
  }${props.note === undefined ? null : html`<span class="note">${props.note}</span>`}</dd></div>`;
}

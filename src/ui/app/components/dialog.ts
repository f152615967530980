// What stands before the page: a dialog, the question before something that cannot be taken back, and the
// short messages at the edge that say what has been done.

import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Children, html } from "../html.ts";
import { text } from "../text.ts";
import { later } from "../time.ts";
import { Button, Field, Trouble } from "./controls.ts";

/** Shown as long as it is rendered; Escape asks to close it, unless it `stays`: what it shows is not shown again. */
export function Dialog(props: {
  readonly title: string;
  readonly onClose: () => void;
  readonly children?: Children;
  readonly wide?: boolean;
  readonly stays?: boolean;
}): VNode {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return html`<dialog ref=${dialog} class=${props.wide ? "wide" : ""} aria-label=${props.title}
    onKeyDown=${(event: KeyboardEvent) => {
      // Once pressed twice, browsers close a dialog without asking.
      if (props.stays && event.key === "Escape") event.preventDefault();
    }}
    onCancel=${(event: Event) => {
      event.preventDefault();
      if (props.stays) return;
      props.onClose();
    }}>
    <header><h2>${props.title}</h2><button type="button" class="button quiet" aria-label=${text.dialog.close}
      onClick=${props.onClose}>✕</button></header>
    ${props.children}</dialog>`;
}

/** A form in a dialog: `onSubmit` may fail, which is shown; when it has not, the dialog is closed. */
export function FormDialog(props: {
  readonly title: string;
  readonly submit: string;
  readonly danger?: boolean;
  readonly disabled?: boolean;
  readonly wide?: boolean;
  readonly needs?: string;
  /** It changes something of this browser only. */
  readonly own?: boolean;
  readonly onSubmit: () => Promise<unknown>;
  readonly onClose: () => void;
  readonly children?: Children;
}): VNode {
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const submit = (event: Event): void => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    props.onSubmit().then(props.onClose, (why: Error) => {
      setError(why);
      setBusy(false);
    });
  };
  return html`<${Dialog} title=${props.title} onClose=${props.onClose} wide=${props.wide}>
    <form class="stack" onSubmit=${submit}>${props.children}
      <${Trouble} error=${error} needs=${props.needs} />
      <footer><${Button} onClick=${props.onClose}>${text.dialog.cancel}</${Button}>
        <${Button} submit changes=${!props.own} kind=${props.danger ? "danger" : "primary"} disabled=${props.disabled || busy}>${props.submit}</${Button}>
      </footer></form></${Dialog}>`;
}

/** Asks for a name to be typed before something that cannot be taken back. */
export function ConfirmTyped(props: {
  readonly title: string;
  readonly submit: string;
  /** What has to be typed. */
  readonly name: string;
  readonly needs?: string;
  readonly disabled?: boolean;
  readonly onSubmit: () => Promise<unknown>;
  readonly onClose: () => void;
  /** What will happen, in words. */
  readonly children?: Children;
}): VNode {
  const [typed, setTyped] = useState("");
  return html`<${FormDialog} ...${props} danger disabled=${props.disabled === true || typed !== props.name}>
    ${props.children}
    <${Field} label=${text.dialog.typeName(props.name)} value=${typed} onInput=${setTyped} autofocus mono />
  </${FormDialog}>`;
}

interface Message {
  readonly text: string;
  readonly bad: boolean;
}

const MESSAGE_MS = 6_000;
const MESSAGES_MAX = 4;

const messages = signal<readonly Message[]>([]);

/** Says for a while what has been done, or what went wrong. */
export function toast(text: string, bad = false): void {
  const message = { text, bad };
  messages.value = [...messages.value, message].slice(-MESSAGES_MAX);
  later(MESSAGE_MS, () => {
    messages.value = messages.value.filter((each) => each !== message);
  });
}

/** Where the messages are shown; the shell has it. */
export function Toasts(): VNode {
  return html`<div class="toasts" role="status" aria-live="polite">${messages.value.map(
    (each) => html`<div class=${each.bad ? "toast bad" : "toast"}>${each.text}</div>`,
  )}</div>`;
}

// The dialog that changes an item which is not leased: when it runs, how long it lives, what it holds.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call } from "../api.ts";
import { Button, Field, Trouble } from "../components/controls.ts";
import { FormDialog, toast } from "../components/dialog.ts";
import { html } from "../html.ts";
import { type Item, jsonOf, textOf } from "../items.ts";
import { text } from "../text.ts";
import { readWithPayload } from "./payload.ts";

export function EditItem(props: {
  readonly queue: string;
  readonly item: Item;
  readonly onClose: () => void;
}): VNode {
  const { queue, item } = props;
  const [delay, setDelay] = useState("");
  const [life, setLife] = useState("");
  const [form, setForm] = useState("keep");
  const [payload, setPayload] = useState("");
  const [error, setError] = useState<Error>();
  const isBad = form === "json" && jsonOf(payload) === undefined;
  const load = (): void => {
    readWithPayload(queue, item.id).then((read) => {
      const plain = textOf(read);
      const isText = plain !== undefined;
      setForm(!isText ? "bytes" : read.json !== undefined ? "json" : "utf8");
      const pretty = read.json === undefined ? plain : JSON.stringify(read.json, null, 2);
      setPayload(pretty ?? read.bytes ?? "");
    }, setError);
  };
  const change = {
    ...(delay.trim() && { delay: delay.trim() }),
    ...(life.trim() && { expire_in: life.trim() }),
    ...(form !== "keep" && { [form]: form === "json" ? jsonOf(payload) : payload }),
  };
  const submit = async (): Promise<void> => {
    const { id, state } = item;
    await call("item.update", { queue_name: queue, id, if_state: state, ...change });
    toast(text.items.changed);
  };
  return html`<${FormDialog} title=${text.items.edit} submit=${text.items.save} onSubmit=${submit} onClose=${props.onClose}
      disabled=${Object.keys(change).length === 0 || isBad} needs="queue.produce" wide>
    <p class="dim">${text.items.editWhy}</p>
    <${Field} label=${text.items.editDelay} value=${delay} onInput=${setDelay} placeholder="10m" hint=${text.items.editDelayHint} />
    <${Field} label=${text.items.editLife} value=${life} onInput=${setLife} placeholder="24h" hint=${text.items.editLifeHint} />
    ${
      form === "keep"
        ? html`<div><${Button} onClick=${load}>${text.items.editPayload}</${Button}></div><${Trouble} error=${error} needs="item.read" />`
        : html`<${Field} label=${text.items.payloadForm} value=${form} onInput=${setForm} choices=${text.items.forms} />
        <${Field} label=${text.items.payload} kind="area" value=${payload} onInput=${setPayload}
          error=${isBad ? text.items.notJson : undefined} />`
    }
  </${FormDialog}>`;
}

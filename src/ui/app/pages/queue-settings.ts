// The settings of a queue: shown, changed, and given to a new one. Before a change is made it shows what it changes.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { call } from "../api.ts";
import { Button, Check, Field, Panel, Time } from "../components/controls.ts";
import { FormDialog, toast } from "../components/dialog.ts";
import { count } from "../format.ts";
import { html } from "../html.ts";
import { go, NAMESPACE, route } from "../router.ts";
import { text } from "../text.ts";
import { inNamespace } from "./shared.ts";

/** A queue as `queues.info` tells it; what is empty or 0 is left out there. */
export interface QueueInfo {
  readonly queue_name: string;
  readonly partitions: number;
  readonly version: number;
  readonly created_at: string;
  readonly updated_at: string;
  readonly dead_queue?: string;
  readonly keep_max?: number;
  readonly [setting: string]: unknown;
}

type Kind = "duration" | "count" | "factor" | "text" | "flag" | "choice";

/** As a request names them, in the order in which they are shown. */
const SETTINGS: readonly (readonly [field: string, kind: Kind])[] = [
  ["requested_partitions", "count"],
  ["lease_timeout", "duration"],
  ["expire_timeout", "duration"],
  ["max_attempts", "count"],
  ["dead_queue", "text"],
  ["on_lease_end", "choice"],
  ["retry.delay", "duration"],
  ["retry.factor", "factor"],
  ["retry.max_delay", "duration"],
  ["retry.jitter", "factor"],
  ["keep_completed", "duration"],
  ["keep_max", "count"],
  ["reference", "text"],
  ["keep_payload", "flag"],
];

const CHOICES = ["retry_now", "retry_delayed", "reject"];
const DEFAULTS: Values = {
  requested_partitions: "1",
  lease_timeout: "1m",
  expire_timeout: "never",
  max_attempts: "0",
  on_lease_end: "retry_now",
  "retry.delay": "0s",
  "retry.factor": "2",
  "retry.max_delay": "1h",
  "retry.jitter": "0.2",
  keep_completed: "0s",
  keep_max: "10000",
  keep_payload: "no",
};

/** What stands in the fields of a form, by the names of settings. */
type Values = Readonly<Record<string, string>>;

const words = text.settings;

function toText(value: unknown, kind: Kind): string {
  if (kind === "flag") return value === true ? "yes" : "no";
  return String(value ?? (kind === "text" ? "" : "0"));
}

function valuesOf(info: QueueInfo): Values {
  return Object.fromEntries(
    SETTINGS.map(([field, kind]) => {
      const [name, inner] = field.split(".");
      const value = info[name!];
      const of =
        inner === undefined ? value : (value as Record<string, unknown> | undefined)?.[inner];
      return [field, toText(of, kind)];
    }),
  );
}

/** The fields of a request that sets these. */
function toRequest(values: Values, fields: readonly string[]): object {
  const request: Record<string, unknown> = {};
  for (const [field, kind] of SETTINGS) {
    if (!fields.includes(field)) continue;
    const typed = values[field] ?? "";
    const isNumber = kind === "count" || kind === "factor";
    const value = kind === "flag" ? typed === "yes" : isNumber ? Number(typed) : typed;
    const [name, inner] = field.split(".");
    if (inner === undefined) request[name!] = value;
    else request[name!] = { ...(request[name!] as object | undefined), [inner]: value };
  }
  return request;
}

function SettingFields(props: {
  readonly values: Values;
  readonly onChange: (values: Values) => void;
}): VNode {
  const { values, onChange } = props;
  return html`<div class="fields">${SETTINGS.map(([field, kind]) => {
    const { label, hint } = words.fields[field]!;
    const set = (value: string): void => onChange({ ...values, [field]: value });
    if (kind === "flag") {
      return html`<${Check} key=${field} label=${label} checked=${values[field] === "yes"}
        onChange=${(on: boolean) => set(on ? "yes" : "no")} />`;
    }
    const choices = kind === "choice" ? CHOICES.map((each) => [each, each]) : undefined;
    return html`<${Field} key=${field} label=${label} hint=${hint} value=${values[field] ?? ""} onInput=${set} choices=${choices} mono />`;
  })}</div>`;
}

/** The settings, and a way to change them. */
export function SettingsTab({
  info,
  onChanged,
}: {
  readonly info: QueueInfo;
  readonly onChanged: () => void;
}): VNode {
  const [editing, setEditing] = useState(false);
  const values = valuesOf(info);
  const edit = html`<${Button} changes onClick=${() => setEditing(true)}>${words.edit}</${Button}>`;
  return html`<${Panel} title=${words.title} aside=${edit}><dl class="pairs">${SETTINGS.map(
    ([field]) =>
      html`<dt>${words.fields[field]!.label}</dt><dd><span class="mono">${values[field] || "–"}</span></dd>`,
  )}<dt>${words.partitions}</dt><dd>${count(info.partitions)}</dd>
    <dt>${words.version}</dt><dd>${count(info.version)}, ${words.changed} <${Time} at=${info.updated_at} /></dd>
    <dt>${words.created}</dt><dd><${Time} at=${info.created_at} /></dd></dl></${Panel}>
    ${
      editing &&
      html`<${EditSettings} info=${info} onClose=${() => {
        setEditing(false);
        onChanged();
      }} />`
    }`;
}

function EditSettings({
  info,
  onClose,
}: {
  readonly info: QueueInfo;
  readonly onClose: () => void;
}): VNode {
  // What is there may change meanwhile; the change is refused then, and nothing typed is lost.
  const [was] = useState(() => ({ values: valuesOf(info), version: info.version }));
  const [values, setValues] = useState(was.values);
  const changed = SETTINGS.map(([field]) => field).filter(
    (field) => values[field] !== was.values[field],
  );
  const submit = async (): Promise<void> => {
    await call("queues.update", {
      queue_name: info.queue_name,
      if_version: was.version,
      ...toRequest(values, changed),
    });
    toast(words.saved(info.queue_name));
  };
  return html`<${FormDialog} title=${words.editOf(info.queue_name)} submit=${words.save(changed.length)} wide
    disabled=${changed.length === 0} needs="queue.update" onSubmit=${submit} onClose=${onClose}>
    <${SettingFields} values=${values} onChange=${setValues} />
    <div class="diff" role="status"><h3>${words.diff}</h3>${
      changed.length === 0
        ? html`<p class="dim">${words.noDiff}</p>`
        : html`<ul>${changed.map(
            (field) =>
              html`<li><span class="mono">${field}</span> <del class="mono">${was.values[field] || "–"}</del> → <ins class="mono">${values[field] || "–"}</ins></li>`,
          )}</ul>`
    }</div></${FormDialog}>`;
}

/** Asks for a name and makes a queue of it; goes there. */
export function CreateQueue({ onClose }: { readonly onClose: () => void }): VNode {
  const [name, setName] = useState("");
  const [values, setValues] = useState<Values>(DEFAULTS);
  const submit = async (): Promise<void> => {
    const changed = Object.keys(values).filter((field) => values[field] !== DEFAULTS[field]);
    await call("queues.create", { queue_name: name.trim(), ...toRequest(values, changed) });
    toast(words.made(name.trim()));
    go(["queues", name.trim()], inNamespace(route.peek().query[NAMESPACE]));
  };
  return html`<${FormDialog} title=${text.queues.create} submit=${words.make} wide disabled=${name.trim() === ""}
    needs="queue.create" onSubmit=${submit} onClose=${onClose}>
    <${Field} label=${words.name} value=${name} onInput=${setName} hint=${words.nameHint} autofocus mono />
    <details><summary>${words.more}</summary><${SettingFields} values=${values} onChange=${setValues} /></details>
  </${FormDialog}>`;
}

// Trying: a test item for a queue, and any method of the server with the key at hand.

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { address, call, headers, reach } from "../api.ts";
import { Button, Chip, Field, Panel, Status, Trouble } from "../components/controls.ts";
import { Tree } from "../components/tree.ts";
import { count } from "../format.ts";
import { html } from "../html.ts";
import { jsonOf, textOf } from "../items.ts";
import { useLive } from "../live.ts";
import type { PageProps } from "../page.ts";
import { href, setQuery } from "../router.ts";
import { text } from "../text.ts";
import { now } from "../time.ts";
import { readWithPayload } from "./payload.ts";

interface Method {
  /** Such as "queue.produce". */
  readonly name: string;
  readonly summary: string;
  readonly example: Readonly<Record<string, unknown>>;
}

interface Operation {
  readonly summary?: string;
  readonly requestBody?: {
    readonly content?: Readonly<Record<string, { readonly example?: Record<string, unknown> }>>;
  };
}

const FIRST = "queue.stats";
const READS = /\.(get|explain|wait|list|info|stats|overview|history|dead_groups)$/;
const ANSWER_MAX = 200_000;

export function View({ query }: PageProps): VNode {
  const queue = query.queue ?? "";
  return html`<h1>${text.tryIt.title}</h1>
    <${Field} label=${text.tryIt.queue} value=${queue} onInput=${(value: string) => setQuery({ queue: value })} mono />
    <div class="grid"><${Produce} queue=${queue} like=${query.like ?? ""} /><${CallMethod} queue=${queue} method=${query.method ?? FIRST} /></div>`;
}

const FORMS = ["json", "utf8", "bytes"] as const;

/** Sends one item, as a producer would. */
function Produce({ queue, like }: { readonly queue: string; readonly like: string }): VNode {
  const [form, setForm] = useState<string>("json");
  const [payload, setPayload] = useState('{"hello": "world"}');
  const [more, setMore] = useState({ kind: "", reference: "", delay: "", headers: "" });
  const [sent, setSent] = useState<{ id: string; status: string }>();
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const badJson = form === "json" && payload.trim() !== "" && jsonOf(payload) === undefined;
  const parsed = headersOf(more.headers);

  useEffect(() => {
    if (like === "" || queue === "") return;
    readWithPayload(queue, like).then((item) => {
      const plain = item.json === undefined ? textOf(item) : JSON.stringify(item.json, null, 2);
      setForm(item.json !== undefined ? "json" : plain === undefined ? "bytes" : "utf8");
      setPayload(plain ?? item.bytes ?? "");
      const lines = Object.entries(item.headers ?? {}).map(([name, value]) => `${name}: ${value}`);
      const { kind = "", reference = "" } = item;
      setMore({ kind, reference, delay: "", headers: lines.join("\n") });
    }, setError);
  }, [like]);

  const submit = (event: Event): void => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    const item = {
      ...(payload.trim() !== "" && { [form]: form === "json" ? jsonOf(payload) : payload }),
      ...(more.kind && { kind: more.kind }),
      ...(more.reference && { reference: more.reference }),
      ...(more.delay && { delay: more.delay }),
      ...(parsed !== undefined && Object.keys(parsed).length > 0 && { headers: parsed }),
    };
    call<{ results?: { id?: string; status?: string; code?: string; detail?: string }[] }>(
      "queue.produce",
      { queue_name: queue, items: [item] },
    )
      .then(({ results: [result] = [] }) => {
        if (result?.id === undefined) throw new Error(result?.detail ?? result?.code ?? "");
        setSent({ id: result.id, status: result.status ?? "" });
      })
      .catch((why: Error) => {
        setSent(undefined);
        setError(why);
      })
      .finally(() => setBusy(false));
  };
  const field = (name: keyof typeof more, hint?: string): VNode =>
    html`<${Field} label=${text.tryIt[name]} value=${more[name]} hint=${hint} kind=${name === "headers" ? "area" : "text"}
      error=${name === "headers" && parsed === undefined ? text.tryIt.headersBad : undefined}
      onInput=${(value: string) => setMore({ ...more, [name]: value })} />`;

  return html`<${Panel} title=${text.tryIt.send}><form class="stack" onSubmit=${submit} onKeyDown=${submitKey}>
    <div class="chips" role="group" aria-label=${text.items.payloadForm}>${FORMS.map(
      (each) =>
        html`<${Chip} key=${each} on=${form === each} onClick=${() => setForm(each)}>${text.tryIt.forms[each]}</${Chip}>`,
    )}</div>
    <${Field} label=${text.items.payload} kind="area" value=${payload} onInput=${setPayload} error=${badJson ? text.items.notJson : undefined} />
    <div class="toolbar">${field("kind")}${field("reference")}${field("delay")}</div>
    <details><summary>${text.items.headers}</summary>${field("headers", text.tryIt.headersHint)}</details>
    <${Trouble} error=${error} needs="queue.produce" />
    <footer>${sent === undefined ? null : html`<span role="status" class="grow">${sent.status}: <a class="mono" href=${href(["queues", queue, "items", sent.id])}>${sent.id}</a></span>`}
      <${Button} submit changes kind="primary" disabled=${busy || badJson || queue === "" || parsed === undefined}>${text.tryIt.submit}</${Button}></footer>
  </form></${Panel}>`;
}

/** Lines of `name: value`; undefined if one is not. */
function headersOf(lines: string): Record<string, string> | undefined {
  const found: Record<string, string> = {};
  for (const line of lines.split("\n").filter((each) => each.trim() !== "")) {
    const at = line.indexOf(":");
    if (at < 1) return undefined;
    found[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return found;
}

// What one writes in is sent by Ctrl and Enter.
function submitKey(event: KeyboardEvent): void {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  (event.currentTarget as HTMLFormElement).requestSubmit();
}

interface Answer {
  readonly status: number;
  readonly statusText: string;
  readonly ms: number;
  readonly bytes: number;
  readonly body: string;
}

/** Calls a method with a body that is typed, and shows what comes back, whatever it is. */
function CallMethod({ queue, method }: { readonly queue: string; readonly method: string }): VNode {
  const { data: methods, error } = useLive(readMethods, []);
  const [search, setSearch] = useState("");
  const [typed, setTyped] = useState<{ readonly of: string; readonly body: string }>();
  const [answer, setAnswer] = useState<Answer>();
  const [failed, setFailed] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const chosen = methods?.find(({ name }) => name === method);
  const example = chosen === undefined ? {} : filled(chosen.example, queue);
  const body = typed?.of === method ? typed.body : JSON.stringify(example, null, 2);
  const bad = body.trim() !== "" && jsonOf(body) === undefined;
  const listed = methods?.filter(({ name }) => name === method || name.includes(search.trim()));

  const submit = (event: Event): void => {
    event.preventDefault();
    setBusy(true);
    setFailed(undefined);
    send(method, body)
      .then(setAnswer, setFailed)
      .finally(() => setBusy(false));
  };
  return html`<${Panel} title=${text.tryIt.call}><form class="stack" onSubmit=${submit} onKeyDown=${submitKey}>
    <${Trouble} error=${error} />
    <div class="toolbar"><${Field} label=${text.tryIt.search} kind="search" value=${search} onInput=${setSearch} />
      <${Field} label=${text.tryIt.method} value=${method} onInput=${(value: string) => {
        setQuery({ method: value });
        setAnswer(undefined);
      }}
        choices=${(listed ?? [{ name: method }]).map(({ name }) => [name, name] as const)} /></div>
    <p class="dim">${chosen?.summary}</p>
    <${Field} label=${text.tryIt.body} kind="area" value=${body} error=${bad ? text.items.notJson : undefined}
      onInput=${(value: string) => setTyped({ of: method, body: value })} />
    <footer><${Button} submit changes=${!READS.test(method)} kind="primary" disabled=${busy || bad}>${text.tryIt.submitCall(method)}</${Button}></footer>
    <${Trouble} error=${failed} /></form>
    ${answer === undefined ? null : html`<${Shown} answer=${answer} />`}</${Panel}>`;
}

function Shown({ answer }: { readonly answer: Answer }): VNode {
  const [plain, setPlain] = useState(false);
  const value = jsonOf(answer.body);
  const isTree = value !== undefined && !plain;
  const pretty = value === undefined ? answer.body : JSON.stringify(value, null, 2);
  return html`<div class="stack answer"><div class="toolbar" role="status">
      <${Status} tone=${answer.status < 300 ? "ok" : "bad"}>${answer.status} ${answer.statusText}</${Status}>
      <span class="dim">${text.tryIt.took(count(Math.round(answer.ms)), count(answer.bytes))}</span>
      <${Chip} on=${isTree} onClick=${() => setPlain(false)}>${text.items.views.tree}</${Chip}>
      <${Chip} on=${!isTree} onClick=${() => setPlain(true)}>${text.items.views.text}</${Chip}></div>
    ${isTree ? html`<${Tree} value=${value} />` : html`<pre class="payload" tabindex="0">${pretty.slice(0, ANSWER_MAX)}</pre>`}</div>`;
}

async function send(method: string, body: string): Promise<Answer> {
  const from = now();
  const reply = await reach(address(`v2/${method}`), {
    method: "POST",
    headers: { ...headers(), "content-type": "application/json" },
    // As it was typed: no number of it is changed on the way.
    body: body.trim() === "" ? "{}" : body,
  });
  const answered = await reply.text();
  const { status, statusText } = reply;
  const bytes = new TextEncoder().encode(answered).length;
  return { status, statusText, ms: now() - from, bytes, body: answered };
}

// The document does not change as long as the page is there.
let read: Promise<readonly Method[]> | undefined;

function readMethods(): Promise<readonly Method[]> {
  read ??= askMethods();
  read.catch(() => {
    read = undefined;
  });
  return read;
}

async function askMethods(): Promise<readonly Method[]> {
  const reply = await reach(address("openapi.json"), { headers: headers() });
  const { paths } = (await reply.json()) as {
    paths: Readonly<Record<string, { readonly post?: Operation }>>;
  };
  return Object.entries(paths).flatMap(([path, { post }]) => {
    if (post === undefined || !path.startsWith("/v2/")) return [];
    const example = post.requestBody?.content?.["application/json"]?.example ?? {};
    return [{ name: path.slice(4), summary: post.summary ?? "", example }];
  });
}

/** An example, of the queue at hand. */
function filled(example: Method["example"], queue: string): Method["example"] {
  return queue !== "" && "queue_name" in example ? { ...example, queue_name: queue } : example;
}

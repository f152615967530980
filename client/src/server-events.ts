// What happens on the server, as it is told at GET /v2/events: read for as long as somebody wants it, over connections
// that follow each other, each from where the one before ended. Nothing is told twice, and what is missed is told to be.

import { fullJitter, sleep } from "./backoff.ts";
import type { Connection } from "./connection.ts";
import { errorOfReply, QueratorError } from "./errors.ts";
import { checkNames, namesOf } from "./names.ts";

export interface EventOptions {
  /** Queues by their names; all by default. */
  readonly queues?: readonly string[] | undefined;
  /** Types of events; all by default. What is missed is told all the same. */
  readonly types?: readonly string[] | undefined;
  /** The id of an item: nothing but what becomes of it. */
  readonly item?: string | undefined;
  /** The cursor of the last event that is known; by default it begins with what happens next. */
  readonly after?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Something that has happened. Servers may tell of more types than this client knows. */
export interface ServerEvent {
  readonly type: string;
  /** From here on one can go on, as `after`. */
  readonly cursor: string;
  readonly time: Date | undefined;
  readonly queueName: string;
  /** "" of those in `_system`. */
  readonly namespace: string;
  /** Of what happens to an item; else "", and 0. */
  readonly id: string;
  readonly attempts: number;
  /** Why an item is dead, or of type `gap`, why it cannot be told what has happened: `behind`, `restarted`, `not_kept`. */
  readonly reason: string;
  /** All that the server has said. */
  readonly data: Readonly<Record<string, unknown>>;
}

const OPTIONS = namesOf<EventOptions>({
  queues: true,
  types: true,
  item: true,
  after: true,
  signal: true,
});

const RETRY = { baseMs: 100, capMs: 5_000 };

// From whom no more is to be expected by asking again at once.
const PASSING = ["shutting_down", "standby", "taken_over"];

interface Message {
  readonly id: string;
  readonly data: Readonly<Record<string, unknown>> | undefined;
}

/** The events, until the caller has had enough. Throws a QueratorError if they may not be read, or no more. */
export async function* serverEvents(
  connection: Connection,
  options: EventOptions = {},
): AsyncGenerator<ServerEvent, void, undefined> {
  checkNames(options, OPTIONS, "events");
  connection.checkOpen();
  const { signal } = options;
  let cursor = options.after ?? "";
  for (let attempt = 1; ; attempt++) {
    try {
      const stream = connection.stream(pathOf(options, cursor), signal);
      for await (const { id, data } of messagesOf(stream)) {
        attempt = 0;
        cursor = id;
        if (data?.type === "end") {
          if (!PASSING.includes(String(data.code))) throw endOf(data);
          break;
        }
        if (data !== undefined) yield decode(id, data);
      }
    } catch (error) {
      signal?.throwIfAborted();
      connection.checkOpen();
      if (!(error instanceof QueratorError) || !error.retryable) throw error;
    }
    await sleep(fullJitter(RETRY, attempt + 1), signal ?? new AbortController().signal);
  }
}

function pathOf({ queues = [], types = [], item = "" }: EventOptions, after: string): string {
  const query = new URLSearchParams();
  if (queues.length > 0) query.set("queues", queues.join());
  // An end, and a gap, are told to all.
  if (types.length > 0) query.set("types", types.join());
  if (item !== "") query.set("item", item);
  if (after !== "") query.set("after", after);
  const text = query.toString();
  return text === "" ? "v2/events" : `v2/events?${text}`;
}

async function* messagesOf(stream: AsyncIterable<string>): AsyncGenerator<Message> {
  let text = "";
  for await (const more of stream) {
    text += more;
    const end = text.lastIndexOf("\n\n");
    if (end === -1) continue;
    const whole = text.slice(0, end);
    text = text.slice(end + 2);
    for (const message of whole.split("\n\n")) yield messageOf(message);
  }
}

function messageOf(message: string): Message {
  const lines = message.split("\n");
  const fieldOf = (field: string): string | undefined =>
    lines.find((line) => line.startsWith(`${field}: `))?.slice(field.length + 2);
  const data = fieldOf("data");
  return {
    id: fieldOf("id") ?? "",
    data: data === undefined ? undefined : (JSON.parse(data) as Message["data"]),
  };
}

function decode(cursor: string, data: NonNullable<Message["data"]>): ServerEvent {
  const text = (name: string): string => String(data[name] ?? "");
  return {
    type: text("type"),
    cursor,
    time: data.time === undefined ? undefined : new Date(text("time")),
    queueName: text("queue_name"),
    namespace: text("namespace"),
    id: text("id"),
    attempts: Number(data.attempts ?? 0),
    reason: text("reason"),
    data,
  };
}

function endOf({ code, detail }: NonNullable<Message["data"]>): QueratorError {
  const status = code === "permission_denied" ? 403 : 401;
  return errorOfReply(status, JSON.stringify({ status, code, detail, title: "" }), "events");
}

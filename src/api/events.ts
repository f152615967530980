// `GET /v2/events`: what happens, as it happens, for whoever may read it; told as server-sent events. What is sent, and
// how fast, is the business of observe/.

import { SYSTEM_NAMESPACE } from "../auth/permissions.ts";
import { denied, type Principal } from "../auth/principal.ts";
import { invalidField } from "../errors.ts";
import type { Stream } from "../http/streams.ts";
import type { Interest } from "../observe/hub.ts";
import type { Listeners } from "../observe/listeners.ts";
import { CURSOR_PATTERN, type Wish } from "../observe/text.ts";
import { HAPPENINGS, ID_PATTERN } from "../queue/queue.ts";
import { checkNamespace } from "../registry/names.ts";

/** Queues that one listener may name. */
export const EVENT_QUEUES_MAX = 100;

/** The types of events, and what is told beside them. */
export const EVENT_TYPES: readonly string[] = [...new Set(HAPPENINGS.map(({ type }) => type))];

/** What only those are told who ask for it by name, and may read the audit. */
const AUDITED = "audited";

const PARAMETERS = ["queues", "types", "item", "namespace", "after"];

export interface EventsSource {
  readonly listeners: () => Listeners;
  checkRunning(): void;
}

/** The streams of a server, by path. */
export function makeStreams({
  listeners,
  checkRunning,
}: EventsSource): ReadonlyMap<string, Stream> {
  const events: Stream = {
    type: "text/event-stream",
    async open(reader) {
      checkRunning();
      const { query, lastEventId } = reader;
      for (const name of query.keys()) checkParameter(name);
      const asked = query.get("namespace") || reader.namespace;
      checkNamespace(asked);
      const namespace = asked || reader.principal.scope;
      const wish = wishOf(query, namespace);
      const { interest } = wish;
      if (!mayRead(reader.principal, interest)) throw denied();
      const after = lastEventId || (query.get("after") ?? "");
      checkCursor(after, lastEventId === "" ? "after" : "Last-Event-ID");
      const listening = await listeners().add(
        {
          wish,
          after,
          mayListen: () => mayRead(reader.principal, interest),
        },
        (begin) => reader.start(begin),
      );
      if (listening === undefined) return;
      reader.onGone(() => listening.leave());
      reader.onRevoked((error) => listening.end(error));
    },
  };
  return new Map([["/v2/events", events]]);
}

// Who names no namespace means all of them, and must be allowed to read in all.
function mayRead(principal: Principal, { namespace, audit }: Interest): boolean {
  if (principal.isEnded) return false;
  const { scope } = principal;
  if (scope !== "" && scope !== namespace) return false;
  const where = namespace || SYSTEM_NAMESPACE;
  if (audit !== "" && !principal.may("audit.read", where)) return false;
  return principal.may("events.read", where);
}

function wishOf(query: URLSearchParams, namespace: string): Wish {
  const queues = listOf(query, "queues");
  if (queues.length > EVENT_QUEUES_MAX) {
    throw invalidField("queues", `queues is invalid; there may be ${EVENT_QUEUES_MAX} at most`);
  }
  for (const name of queues) {
    if (name.includes("~")) {
      throw invalidField("queues", `queues is invalid; '${name}' cannot contain '~' character`);
    }
  }
  const types = listOf(query, "types");
  for (const type of types) {
    if (EVENT_TYPES.includes(type)) continue;
    throw invalidField(
      "types",
      `types is invalid; there is no '${type}', there are ${EVENT_TYPES.join(", ")}`,
    );
  }
  const item = query.get("item") ?? "";
  if (item !== "" && !new RegExp(ID_PATTERN).test(item)) {
    throw invalidField("item", `item is invalid; '${item}' is no id`);
  }
  const codes = HAPPENINGS.flatMap(({ type }, code) => (types.includes(type) ? [code] : []));
  const isAudited = types.includes(AUDITED);
  const audit = isAudited ? (types.every((type) => type === AUDITED) ? "only" : "also") : "";
  return {
    interest: { namespace, queues: [...new Set(queues)].sort(), audit },
    what: types.length === 0 ? undefined : new Set(codes),
    item,
  };
}

// Given several times, or once with commas in between.
function listOf(query: URLSearchParams, name: string): readonly string[] {
  return query
    .getAll(name)
    .flatMap((value) => value.split(","))
    .filter((value) => value !== "");
}

function checkParameter(name: string): void {
  if (PARAMETERS.includes(name)) return;
  const text = `there is no parameter '${name}'; there are ${PARAMETERS.join(", ")}`;
  throw invalidField(name, text);
}

function checkCursor(cursor: string, field: string): void {
  if (cursor === "" || CURSOR_PATTERN.test(cursor)) return;
  throw invalidField(field, `${field} is invalid; it is no cursor of an event`);
}

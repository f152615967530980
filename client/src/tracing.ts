// Spans of what a client and its workers do, by OpenTelemetry's conventions for messaging: `send` where items are
// produced, `receive` where they are leased, `process` around a handler, and one of the type `settle` where a lease is
// ended. The context of `send` travels with its items, and the other spans are linked to it.
//
// Names are those of version 1.30 of the conventions, or newer ones if OTEL_SEMCONV_STABILITY_OPT_IN asks for them.

import type { NextItems } from "./client-options.ts";
import { QueratorError, textOf } from "./errors.ts";
import type { ItemRef, LeasedItem, ProducedItem, ProduceItem } from "./items.ts";
import type { EndVerb } from "./lease-ends.ts";
import { checkNames, namesOf } from "./names.ts";
import type {
  Attributes,
  TracingApi,
  TracingContext,
  TracingLink,
  TracingSpan,
  TracingSpanContext,
  TracingTracer,
} from "./tracing-api.ts";

export interface TracingOptions {
  /** What makes the spans: the module `@opentelemetry/api` as a whole. */
  readonly api: TracingApi;
  /**
   * Whether the span of a handler belongs to the trace that its item was produced in, as a child; no by default: then
   * it begins a trace of its own, with a link. Of several items at once there are links in any case.
   */
  readonly isParent?: boolean | undefined;
}

const OPTIONS = namesOf<TracingOptions>({ api: true, isParent: true });

const NAME = "@querator/client";
const SYSTEM = "querator";

// As OpenTelemetry numbers them.
const CLIENT = 2;
const PRODUCER = 3;
const CONSUMER = 4;
const FAILED = 2;

// Links of one span, as OpenTelemetry takes them by default; the others would be dropped by it.
const LINKS_MAX = 128;
// Leases of which it is remembered what they are leases of; a longer list begins anew.
const REMEMBERED_MAX = 20_000;

const SCHEMA = "https://opentelemetry.io/schemas/";

/** Who produced an item, as far as that is known. */
interface Origin {
  readonly id: string;
  readonly link: TracingSpanContext | undefined;
}

/** The span of a handler. */
export interface Processing {
  /** Does something in it. */
  within<Result>(does: () => Result): Result;
  /** Ends it; what went wrong is told. */
  end(failure: { readonly error: unknown } | undefined): void;
}

/** Makes the spans of a client. */
export class Tracing {
  readonly #api: TracingApi;
  readonly #tracer: TracingTracer;
  readonly #isParent: boolean;
  readonly #systems: Attributes;
  readonly #server: () => URL;
  // By lease: for the span of its end.
  #leased = new Map<string, Origin>();

  /** `server` is the address in use. */
  constructor(options: TracingOptions, server: () => URL) {
    checkNames(options, OPTIONS, "tracing");
    const { api, isParent = false } = options;
    const { systems, version } = conventions();
    this.#api = api;
    this.#systems = systems;
    this.#isParent = isParent;
    this.#server = server;
    // Not `api.trace.getTracer`, which passes no options on.
    const provider = api.trace.getTracerProvider();
    this.#tracer = provider.getTracer(NAME, undefined, { schemaUrl: `${SCHEMA}${version}` });
  }

  /** Starts what belongs to nobody's trace. */
  detached(start: () => void): void {
    this.#api.context.with(this.#api.ROOT_CONTEXT, start);
  }

  /** A `send` span around what produces items; they carry its context, but those that bring their own. */
  async sending<Result extends readonly ProducedItem[]>(
    queueName: string,
    items: readonly ProduceItem[],
    produce: (items: readonly ProduceItem[]) => Promise<Result>,
  ): Promise<Result> {
    const { span, items: traced } = this.#send(queueName, items);
    return this.#until(span, produce(traced), ([first]) => {
      if (items.length > 1 || first?.id === undefined) return;
      span.setAttribute("messaging.message.id", first.id);
    });
  }

  /** The same around what produces items for several queues. */
  async sendingNext<Result>(
    queueName: string,
    next: readonly NextItems[],
    produce: (next: readonly NextItems[]) => Promise<Result>,
  ): Promise<Result> {
    const sends = next.map(({ queueName: other = queueName, items }) => {
      const list: readonly ProduceItem[] = Array.isArray(items) ? items : [items];
      return { queueName: other, ...this.#send(other, list) };
    });
    let produced = produce(sends.map(({ queueName: name, items }) => ({ queueName: name, items })));
    for (const { span } of sends) produced = this.#until(span, produced);
    return produced;
  }

  #send(
    queueName: string,
    items: readonly ProduceItem[],
  ): { readonly span: TracingSpan; readonly items: readonly ProduceItem[] } {
    const span = this.#start("send", "send", queueName, {
      kind: PRODUCER,
      links: items.map(({ traceparent, tracestate }) => this.#linkOf(traceparent, tracestate)),
      count: items.length === 1 ? undefined : items.length,
    });
    const own = traceOf(span.spanContext());
    if (own === undefined) return { span, items };
    const traced = items.map((item) =>
      item.traceparent === undefined ? { ...item, ...own } : item,
    );
    return { span, items: traced };
  }

  /** A `receive` span of a lease, if it brought something. `isHidden`: no span, for a handler will have one. */
  async receiving(
    queueName: string,
    leasing: Promise<LeasedItem[]>,
    { isHidden, signal }: { readonly isHidden: boolean; readonly signal: AbortSignal | undefined },
  ): Promise<LeasedItem[]> {
    const startTime = Date.now();
    const context = this.#api.context.active();
    try {
      const items = await leasing;
      const origins = items.map((item) => this.#originOf(item));
      if (items.length > 0 && !isHidden) {
        this.#start("receive", "receive", queueName, {
          kind: CLIENT,
          links: origins.map(({ link }) => link),
          count: items.length,
          startTime,
          context,
        }).end();
      }
      return items;
    } catch (error) {
      if (!isHidden && signal?.aborted !== true) {
        const how = { kind: CLIENT, links: [], startTime, context };
        fail(this.#start("receive", "receive", queueName, how), error);
      }
      throw error;
    }
  }

  #originOf({ id, leaseId, traceparent, tracestate }: LeasedItem): Origin {
    const origin = { id, link: this.#linkOf(traceparent, tracestate) };
    if (this.#leased.size === REMEMBERED_MAX) this.#leased = new Map();
    this.#leased.set(leaseId, origin);
    return origin;
  }

  /** A `process` span for what handles items, which come alone or as a batch. */
  processing(queueName: string, items: readonly LeasedItem[], isBatch: boolean): Processing {
    const links = items.map(({ traceparent, tracestate }) => this.#linkOf(traceparent, tracestate));
    const [only] = items;
    const parent = this.#isParent && !isBatch ? links[0] : undefined;
    const api = this.#api;
    const span = this.#start("process", "process", queueName, {
      kind: CONSUMER,
      links,
      ...(isBatch ? { count: items.length } : { id: only!.id }),
      context:
        parent === undefined
          ? api.ROOT_CONTEXT
          : api.trace.setSpanContext(api.ROOT_CONTEXT, parent),
    });
    if (!isBatch) span.setAttribute("messaging.querator.attempts", only!.attempts);
    const context = api.trace.setSpan(api.ROOT_CONTEXT, span);
    return {
      within: (does) => api.context.with(context, does),
      end: (failure) => {
        if (failure === undefined) span.end();
        else {
          if (failure.error instanceof Error) span.recordException(failure.error);
          fail(span, failure.error);
        }
      },
    };
  }

  /** A span of the type `settle` around what ends leases. */
  async settling<Result>(
    verb: EndVerb,
    queueName: string,
    refs: readonly (string | ItemRef)[],
    settle: () => Promise<Result>,
  ): Promise<Result> {
    const origins = refs.map((ref) => {
      const leaseId = typeof ref === "string" ? ref : ref.leaseId;
      const origin = this.#leased.get(leaseId);
      this.#leased.delete(leaseId);
      return origin;
    });
    const span = this.#start(verb, "settle", queueName, {
      kind: CLIENT,
      links: origins.map((origin) => origin?.link),
      ...(refs.length === 1 ? { id: origins[0]?.id } : { count: refs.length }),
    });
    return this.#until(span, settle());
  }

  #start(
    operation: string,
    type: string,
    queueName: string,
    {
      kind,
      links,
      id,
      count,
      startTime,
      context = this.#api.context.active(),
    }: {
      readonly kind: number;
      readonly links: readonly (TracingSpanContext | undefined)[];
      readonly id?: string | undefined;
      /** Of items, where there may be several. */
      readonly count?: number | undefined;
      readonly startTime?: number;
      readonly context?: TracingContext;
    },
  ): TracingSpan {
    const { hostname, port, protocol, pathname } = this.#server();
    const attributes: Attributes = {
      ...this.#systems,
      "messaging.operation.name": operation,
      "messaging.operation.type": type,
      "messaging.destination.name": queueName,
      "server.address": hostname || pathname,
    };
    if (hostname !== "") {
      attributes["server.port"] = Number(port) || (protocol === "https:" ? 443 : 80);
    }
    if (id !== undefined) attributes["messaging.message.id"] = id;
    if (count !== undefined) attributes["messaging.batch.message_count"] = count;
    return this.#tracer.startSpan(
      `${operation} ${queueName}`,
      {
        kind,
        attributes,
        links: linksTo(links),
        ...(startTime !== undefined && { startTime }),
      },
      context,
    );
  }

  async #until<Result>(
    span: TracingSpan,
    result: Promise<Result>,
    note?: (result: Result) => void,
  ): Promise<Result> {
    try {
      const done = await result;
      note?.(done);
      span.end();
      return done;
    } catch (error) {
      fail(span, error);
      throw error;
    }
  }

  #linkOf(
    traceparent: string | undefined,
    tracestate: string | undefined,
  ): TracingSpanContext | undefined {
    if (traceparent === undefined) return undefined;
    const [, traceId, spanId, flags] = TRACEPARENT.exec(traceparent) ?? [];
    if (traceId === undefined) return undefined;
    return {
      traceId,
      spanId: spanId!,
      traceFlags: Number.parseInt(flags!, 16),
      isRemote: true,
      ...(tracestate !== undefined && { traceState: this.#api.createTraceState(tracestate) }),
    };
  }
}

const TRACEPARENT = /^00-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})$/;
const NO_TRACE = /^0*$/;

// Of a program that has not set up any tracing there is none.
function traceOf({
  traceId,
  spanId,
  traceFlags,
  traceState,
}: TracingSpanContext): Pick<ProduceItem, "traceparent" | "tracestate"> | undefined {
  if (NO_TRACE.test(traceId)) return undefined;
  const flags = traceFlags.toString(16).padStart(2, "0");
  const tracestate = traceState?.serialize();
  return { traceparent: `00-${traceId}-${spanId}-${flags}`, ...(tracestate && { tracestate }) };
}

// Each once, for items that were produced together have the same.
function linksTo(contexts: readonly (TracingSpanContext | undefined)[]): TracingLink[] {
  const links = new Map<string, TracingLink>();
  for (const context of contexts) {
    if (context === undefined || links.size === LINKS_MAX) continue;
    links.set(`${context.traceId}${context.spanId}`, { context });
  }
  return [...links.values()];
}

function fail(span: TracingSpan, error: unknown): void {
  span.setAttribute("error.type", typeOf(error));
  span.setStatus({ code: FAILED, message: textOf(error) });
  span.end();
}

function typeOf(error: unknown): string {
  if (error instanceof QueratorError) return error.code;
  return error instanceof Error ? error.name : "_OTHER";
}

// Which names are used, as all that instruments messaging reads it from the environment, where there is one.
function conventions(): { readonly systems: Attributes; readonly version: string } {
  const { process } = globalThis as {
    readonly process?: { readonly env?: Readonly<Record<string, string | undefined>> };
  };
  const wanted = (process?.env?.OTEL_SEMCONV_STABILITY_OPT_IN ?? "")
    .split(",")
    .map((each) => each.trim());
  const old = { "messaging.system": SYSTEM };
  const next = { "messaging.system.name": SYSTEM };
  if (wanted.includes("messaging/dup")) return { systems: { ...old, ...next }, version: "1.45.0" };
  if (wanted.includes("messaging")) return { systems: next, version: "1.45.0" };
  return { systems: old, version: "1.30.0" };
}

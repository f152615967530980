// What is used of `@opentelemetry/api`, as types of its form: whoever does not trace needs nothing of it, not even for
// their compiler.

/** What is used of `@opentelemetry/api`; the module as a whole fits. */
export interface TracingApi {
  readonly trace: {
    getTracerProvider(): {
      getTracer(name: string, version?: string, options?: { schemaUrl?: string }): TracingTracer;
    };
    setSpan(context: TracingContext, span: TracingSpan): TracingContext;
    setSpanContext(context: TracingContext, spanContext: TracingSpanContext): TracingContext;
  };
  readonly context: {
    active(): TracingContext;
    with<Result>(context: TracingContext, does: () => Result): Result;
  };
  readonly ROOT_CONTEXT: TracingContext;
  createTraceState(text: string): TracingState;
}

export interface TracingContext {
  getValue(key: symbol): unknown;
  setValue(key: symbol, value: unknown): TracingContext;
  deleteValue(key: symbol): TracingContext;
}

export interface TracingSpanContext {
  traceId: string;
  spanId: string;
  traceFlags: number;
  traceState?: TracingState;
  isRemote?: boolean;
}

export interface TracingState {
  set(key: string, value: string): TracingState;
  unset(key: string): TracingState;
  get(key: string): string | undefined;
  serialize(): string;
}

export interface TracingSpan {
  spanContext(): TracingSpanContext;
  setAttribute(name: string, value: string | number): unknown;
  setStatus(status: { code: number; message?: string }): unknown;
  recordException(exception: Error): void;
  end(): void;
}

export interface TracingTracer {
  startSpan(
    name: string,
    options: {
      kind: number;
      attributes: Attributes;
      links: TracingLink[];
      startTime?: number;
    },
    context: TracingContext,
  ): TracingSpan;
}

export interface TracingLink {
  context: TracingSpanContext;
  attributes?: Attributes;
}

export type Attributes = Record<string, string | number>;

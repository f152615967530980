// Queues with types: what their items hold, how that is checked and how it is encoded. Any validator that
// follows the Standard Schema works, for its interface is all that is asked for.

import { utf8 } from "./bytes.ts";
import { type Issue, textOf, ValidationError } from "./errors.ts";
import type { LeasedItem, ProduceItem } from "./items.ts";

/** What validators have in common (https://standardschema.dev), as far as it is used here. */
export interface StandardSchema<In = unknown, Out = In> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Out> | Promise<SchemaResult<Out>>;
    readonly types?: { readonly input: In; readonly output: Out } | undefined;
  };
}

type SchemaResult<Out> =
  | { readonly value: Out; readonly issues?: undefined }
  | { readonly issues: readonly Issue[] };

/** Turns values into payloads and back. */
export interface Codec<T = unknown> {
  /** Written into each item's `encoding`. */
  readonly name: string;
  encode(value: T): string | Uint8Array;
  decode(payload: Uint8Array): T;
}

/** JSON, the default. */
export const jsonCodec: Codec = {
  name: "json",
  encode(value) {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined) throw new TypeError(`${typeof value} cannot be written as JSON`);
    return text;
  },
  decode: (payload) => JSON.parse(utf8(payload)) as unknown,
};

export interface DefineQueueOptions<In, Out, ResultIn = unknown, ResultOut = ResultIn> {
  /** The name of the queue. */
  readonly name: string;
  /**
   * Checks values when they are produced, as they are given and as the codec gives them back, and again
   * when they are leased; nothing is checked without.
   */
  readonly schema?: StandardSchema<In, Out> | undefined;
  /** JSON by default. */
  readonly codec?: Codec | undefined;
  /**
   * What a worker does with an item that is not valid: `dead`, the default, sends it to the dead queue, or
   * keeps it for later if there is none; `throw` treats it as a handler that failed, so that it is tried
   * again.
   */
  readonly onInvalid?: "dead" | "throw" | undefined;
  /**
   * What handlers return, which is the result of their item: it is checked when they have ended, and again when it
   * is read. Without it what they return is nobody's business.
   */
  readonly result?: StandardSchema<ResultIn, ResultOut> | undefined;
}

export interface QueueDefinition<In, Out, ResultIn = unknown, ResultOut = ResultIn> {
  readonly name: string;
  readonly onInvalid: "dead" | "throw";
  /** What results are; not there if what handlers return is none. */
  readonly result: ResultDefinition<ResultIn, ResultOut> | undefined;
  /** The payload for a value; rejects with a ValidationError if it does not fit. */
  encode(value: In): Promise<Pick<ProduceItem, "payload" | "encoding">>;
  /** The value of an item, or what is wrong with it. */
  decode(item: LeasedItem): Out | ValidationError | Promise<Out | ValidationError>;
}

export interface ResultDefinition<In, Out> {
  /** The result to be sent, as it is; rejects with a ValidationError if it does not fit. */
  check(result: In): Promise<In>;
  /** The result that has come; rejects with a ValidationError if it does not fit. */
  read(result: unknown): Promise<Out>;
}

/** Describes a queue once, for all who produce into it and consume from it. */
export function defineQueue<In = unknown, Out = In, ResultIn = unknown, ResultOut = ResultIn>(
  options: DefineQueueOptions<In, Out, ResultIn, ResultOut>,
): QueueDefinition<In, Out, ResultIn, ResultOut> {
  const { name, schema, codec = jsonCodec, onInvalid = "dead", result: ofResult } = options;
  const judge = (result: SchemaResult<Out>): Out | ValidationError =>
    result.issues === undefined ? result.value : invalid(name, result.issues);
  const decoded = (
    from: Uint8Array | LeasedItem,
  ): { readonly value: unknown } | ValidationError => {
    try {
      if (from instanceof Uint8Array) return { value: codec.decode(from) };
      // JSON is read as it came.
      return { value: codec === jsonCodec ? from.json() : codec.decode(from.payload) };
    } catch (cause) {
      return uncoded(name, `cannot be decoded as ${codec.name}`, cause);
    }
  };
  // What the codec loses would be found out by the worker, when it is too late.
  const checkRoundTrip = async (payload: string | Uint8Array): Promise<void> => {
    if (schema === undefined && codec === jsonCodec) return;
    const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
    const arrived = decoded(bytes);
    if (arrived instanceof ValidationError) throw arrived;
    const result = await schema?.["~standard"].validate(arrived.value);
    if (result?.issues !== undefined) throw changed(name, codec.name, result.issues);
  };
  return {
    name,
    onInvalid,
    result: ofResult === undefined ? undefined : resultOf(name, ofResult),
    async encode(value) {
      // What travels is what was given, not what the schema makes of it: the other side makes it again.
      const result = await schema?.["~standard"].validate(value);
      if (result?.issues !== undefined) throw invalid(name, result.issues);
      let payload: string | Uint8Array;
      try {
        payload = codec.encode(value);
      } catch (cause) {
        throw uncoded(name, `cannot be encoded as ${codec.name}`, cause);
      }
      await checkRoundTrip(payload);
      return { payload, encoding: codec.name };
    },
    decode(item) {
      const arrived = decoded(item);
      if (arrived instanceof ValidationError) return arrived;
      if (schema === undefined) return arrived.value as Out;
      const result = schema["~standard"].validate(arrived.value);
      return result instanceof Promise ? result.then(judge) : judge(result);
    },
  };
}

/** A queue of which only the name is known. */
export function untyped(name: string): QueueDefinition<never, undefined> {
  return {
    name,
    onInvalid: "throw",
    result: undefined,
    encode: () => Promise.resolve({}),
    decode: () => undefined,
  };
}

function resultOf<In, Out>(
  name: string,
  schema: StandardSchema<In, Out>,
): ResultDefinition<In, Out> {
  const read = async (result: unknown): Promise<Out> => {
    const judged = await schema["~standard"].validate(result);
    if (judged.issues === undefined) return judged.value;
    const text = `A result of queue '${name}' does not fit its schema; ${textsOf(judged.issues)}`;
    throw new ValidationError("validation", text, judged.issues);
  };
  return {
    read,
    async check(result) {
      await read(result);
      return result;
    },
  };
}

function invalid(name: string, issues: readonly Issue[]): ValidationError {
  const text = `An item of queue '${name}' does not fit its schema; ${textsOf(issues)}`;
  return new ValidationError("validation", text, issues);
}

function changed(name: string, codec: string, issues: readonly Issue[]): ValidationError {
  const what = `fits its schema, but not any more once it was encoded as ${codec} and decoded`;
  const text = `An item of queue '${name}' ${what}; ${textsOf(issues)}`;
  return new ValidationError("codec", text, issues);
}

function textsOf(issues: readonly Issue[]): string {
  const texts = issues.map(({ message, path = [] }) => {
    const place = path.map((step) => String(typeof step === "object" ? step.key : step)).join(".");
    return place === "" ? message : `${place}: ${message}`;
  });
  return texts.join("; ");
}

function uncoded(name: string, what: string, cause: unknown): ValidationError {
  const reason = textOf(cause);
  const text = `An item of queue '${name}' ${what}; ${reason}`;
  return new ValidationError("codec", text, [{ message: reason }], cause);
}

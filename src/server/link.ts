// A line between two threads on which each calls what the other serves. All calls and answers of a
// tick travel in one message: a message costs far more than what is in it. Calls from one side are
// begun on the other in the order in which they were made.

import type { MessagePort } from "node:worker_threads";
import { type PackedError, packError, QueueError, unpackError } from "../errors.ts";
import { NotDelivered } from "../queue/queue.ts";

/** What a thread lets others call: functions whose parameters and results can be cloned. */
export type Callable = Readonly<Record<string, (...args: never[]) => unknown>>;

type Answered<F> = F extends (...args: never[]) => infer R ? Promise<Awaited<R>> : never;

/** What became of a call, as it travels: a value, or an error by its class. */
type Outcome =
  | { readonly value: unknown }
  | { readonly error: string; readonly known: PackedError | "not-delivered" | undefined };

type Entry =
  | { readonly call: number; readonly method: string; readonly args: readonly unknown[] }
  | { readonly answer: number; readonly outcome: Outcome };

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class Link<Theirs extends Callable> {
  readonly #port: MessagePort;
  readonly #pending = new Map<number, Pending>();
  #out: Entry[] = [];
  #calls = 0;
  #closed: Error | undefined;

  /** `ours` is what the other side may call; it must be there before the other side calls it. */
  constructor(port: MessagePort, ours: Callable) {
    this.#port = port;
    port.on("message", (entries: readonly Entry[]) => {
      for (const entry of entries) {
        if ("call" in entry) void this.#answer(ours, entry);
        else this.#settle(entry.answer, entry.outcome);
      }
    });
  }

  /** Calls a function of the other side; rejects with the error that it throws. */
  call<K extends keyof Theirs & string>(
    method: K,
    ...args: Parameters<Theirs[K]>
  ): Answered<Theirs[K]> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    if (this.#closed !== undefined) {
      reject(this.#closed);
    } else {
      const call = this.#calls++;
      this.#pending.set(call, { resolve, reject });
      this.#send({ call, method, args });
    }
    return promise as Answered<Theirs[K]>;
  }

  /** Ends the line: what is not answered rejects with the error. */
  close(error: Error): void {
    this.#closed = error;
    this.#port.close();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  async #answer(
    ours: Callable,
    { call, method, args }: Extract<Entry, { call: number }>,
  ): Promise<void> {
    let outcome: Outcome;
    try {
      outcome = { value: await ours[method]!(...(args as never[])) };
    } catch (error) {
      outcome = { error: (error as Error).message, known: packKnown(error) };
    }
    this.#send({ answer: call, outcome });
  }

  #settle(call: number, outcome: Outcome): void {
    const pending = this.#pending.get(call);
    this.#pending.delete(call);
    if ("value" in outcome) pending?.resolve(outcome.value);
    else pending?.reject(errorOf(outcome.error, outcome.known));
  }

  #send(entry: Entry): void {
    if (this.#out.push(entry) > 1) return;
    setImmediate(() => {
      const out = this.#out;
      this.#out = [];
      if (this.#closed === undefined) this.#port.postMessage(out);
    });
  }
}

/** How a call of a method gets to an object that is elsewhere. */
export type Forward = (method: string, args: readonly unknown[]) => unknown;

/**
 * An object that is elsewhere: a call of any method of it is forwarded, except of those in `here`. So a
 * new method needs no line between the one who calls it and the object that has it.
 */
export function elsewhere<T extends object>(forward: Forward, here: Partial<T> = {}): T {
  const there = new Proxy(Object.prototype, {
    get(target, name) {
      // What is awaited is asked whether it is a promise.
      if (typeof name === "symbol" || name === "then") return Reflect.get(target, name) as unknown;
      return (...args: readonly unknown[]) => forward(name, args);
    },
  });
  // A prototype, so that what is here costs no more than with any other object.
  return Object.assign(Object.create(there) as T, here);
}

/** The other end of `elsewhere`: calls the method of the object. */
export function invoke(object: object, method: string, args: readonly unknown[]): unknown {
  return (object as Record<string, (...args: readonly unknown[]) => unknown>)[method]!(...args);
}

function packKnown(error: unknown): PackedError | "not-delivered" | undefined {
  if (error instanceof QueueError) return packError(error);
  return error instanceof NotDelivered ? "not-delivered" : undefined;
}

function errorOf(message: string, known: ReturnType<typeof packKnown>): Error {
  if (known === undefined) return new Error(message);
  return known === "not-delivered" ? new NotDelivered() : unpackError(known);
}

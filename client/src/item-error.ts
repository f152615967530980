// Why an attempt at an item failed: what a consumer says of it, and what the server keeps.

import { textOf } from "./errors.ts";

/** Why an attempt failed. */
export interface ItemError {
  /** What sort of error it was: of an `Error` its name, or that of its class. */
  readonly type: string;
  readonly message: string;
  readonly stack: string;
}

/** The same as it is told: an `Error`, a text that is its message, or some of its parts. */
export type GivenItemError = Error | string | Partial<ItemError>;

// The server cuts all of it at 4 KiB; what is far longer need not travel.
const CHARACTERS_MAX = 4_096;

/** The JSON of what is told, or of what was thrown, which can be anything. */
export function encodeItemError(given: unknown): string {
  const { type, message, stack } = partsOf(given);
  return JSON.stringify({ type: cut(type), message: cut(message), stack: cut(stack) });
}

function partsOf(given: unknown): Readonly<Record<keyof ItemError, unknown>> {
  if (given instanceof Error) {
    const message = textOf(given);
    return { type: typeOf(given), message, stack: stackOf(given, message) };
  }
  if (typeof given !== "object" || given === null) {
    return { type: undefined, message: textOf(given), stack: undefined };
  }
  const { type, message, stack } = given as Partial<ItemError>;
  if (type !== undefined || message !== undefined || stack !== undefined) {
    return { type, message, stack };
  }
  return { type: undefined, message: textOf(given), stack: undefined };
}

// Most classes of errors have no name of their own but that of the class.
function typeOf(error: Error): string {
  return error.name === "Error" ? error.constructor.name : error.name;
}

// Without what it says before the first place, which is said already.
function stackOf({ stack }: Error, message: string): string | undefined {
  if (typeof stack !== "string") return undefined;
  const at = stack.indexOf(message);
  return at === -1 ? stack : stack.slice(at + message.length).trimStart();
}

function cut(part: unknown): string | undefined {
  if (part === undefined || part === "") return undefined;
  const text = typeof part === "string" ? part : textOf(part);
  return text.slice(0, CHARACTERS_MAX).toWellFormed();
}

/** What a reply says of why the last attempt failed, if anything does. */
export function decodeItemError(wire: Partial<ItemError> | undefined): ItemError | undefined {
  if (wire === undefined) return undefined;
  const { type = "", message = "", stack = "" } = wire;
  return { type, message, stack };
}

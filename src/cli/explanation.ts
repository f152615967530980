// What a user is told of what went wrong, and the exit code that goes with it. Every error that reaches a
// user goes through `explain`; none is told with a stack trace, and what others wrote is made
// printable.

import { ItemNotFoundError, QueratorError, TooLargeError } from "@querator/client";
import { CommanderError, InvalidArgumentError } from "commander";
import { ConfigError } from "../config/section.ts";
import { printable, withoutKeys } from "../printable.ts";
import { CommandError, EXIT, Interrupted } from "./failure.ts";

export interface Explanation {
  /** What goes to stderr; empty if there is nothing to say. */
  readonly text: string;
  readonly exitCode: number;
}

/** What to say of an error, and what to end with. */
export function explain(error: unknown): Explanation {
  if (error instanceof CommanderError && !(error instanceof InvalidArgumentError)) {
    return { text: "", exitCode: error.exitCode === 0 ? 0 : EXIT.usage }; // it has said why itself
  }
  const text = withoutKeys(said(error));
  if (error instanceof CommandError) return { text, exitCode: error.exitCode };
  return { text, exitCode: exitCodeOf(error) };
}

/** Names the line of an item that is too large by itself, which the client knows by its index. */
export function tooLargeAt(error: unknown, placeOfItem: (index: number) => string): unknown {
  if (!(error instanceof TooLargeError)) return error;
  const text = `${placeOfItem(error.index)}: this item is too large; ${printable(error.message)}`;
  return new CommandError(text, EXIT.failed, undefined, error);
}

/** Whether what failed may have been done: the answer to what is interrupted is not waited for. */
export function mayBeDone(error: unknown): boolean {
  if (error instanceof CommandError && error.cause !== undefined) return mayBeDone(error.cause);
  return error instanceof Interrupted || (error instanceof QueratorError && error.uncertain);
}

/** What to say when lines of a file are sent in batches, and that has failed. */
export function brokenOff(
  error: unknown,
  {
    done,
    sending,
    isInPart = false,
  }: {
    readonly done: string;
    /** The first and last line of what was under way, if anything was. */
    readonly sending: readonly [first: number, last: number] | undefined;
    /** Whether some of it was surely done. */
    readonly isInPart?: boolean;
  },
): string {
  const isDoubtful = isInPart || mayBeDone(error);
  const lines = isDoubtful && sending !== undefined ? sending.join(" to ") : "";
  const rest = lines === "" ? "" : `; those of lines ${lines} may be there as well`;
  return `${done} before this failed${rest}`;
}

function said(error: unknown): string {
  const { message } = error as Error;
  if (message === "") return "";
  const hint = error instanceof CommandError ? error.hint : hintOf(error);
  // The server's own errors of configuration are told as they are, over several lines.
  const told = error instanceof QueratorError ? printable(placed(message, error.field)) : message;
  return `Error: ${told}\n${hint === undefined ? "" : `${hint}\n`}`;
}

// Of one of several things it says which, unless the text does.
function placed(message: string, field: string | undefined): string {
  return field?.includes("[") && !message.includes(field) ? `${field}: ${message}` : message;
}

function exitCodeOf(error: unknown): number {
  if (error instanceof ConfigError || error instanceof InvalidArgumentError) return EXIT.usage;
  if (!(error instanceof QueratorError)) return EXIT.failed;
  switch (error.code) {
    case "network":
    case "timeout":
    case "unavailable":
    case "standby":
    case "wrong-url":
      return EXIT.unreachable;
    case "queue-not-found":
    case "item-not-found":
    case "redrive-not-found":
    case "namespace-not-found":
    case "user-not-found":
    case "key-not-found":
    case "role-not-found":
    case "binding-not-found":
    case "not-leased":
    case "lease-ended":
      return EXIT.notFound;
  }
  return error.code === "invalid" && error.status === undefined ? EXIT.usage : EXIT.failed;
}

const NO_ROLE =
  "Who asks has no role that allows this here; who may give roles does so with 'querator binding create'";

// Where nothing answers a server may be missing; where TLS fails there is one.
function hintOnNetwork({ message, uncertain }: QueratorError): string | undefined {
  if (uncertain) return "The connection broke; what was asked for may have been done";
  if (message.includes("to trust an authority")) {
    return "Name the authority of its certificate with --ca-file or QUERATOR_CA_FILE";
  }
  if (message.includes("no TLS is spoken") || message.includes("certificate")) return undefined;
  return "Start a server with 'querator server', or name one with --endpoint or QUERATOR_ENDPOINT";
}

function hintOf(error: unknown): string | undefined {
  if (!(error instanceof QueratorError)) return undefined;
  switch (error.code) {
    case "network":
      return hintOnNetwork(error);
    case "forbidden":
      // A proxy has reasons of its own.
      return /^access denied\b/.test(error.message) ? NO_ROLE : undefined;
    case "role-not-found":
      return "'querator role list' shows those that there are, with --namespace those of one";
    case "key-not-found":
      return "'querator key list' shows their ids";
    case "namespace-not-found":
      return "'querator namespace list' shows those that there are";
    case "unauthorized":
    case "key-expired":
      return error.status === 407
        ? undefined
        : "Give a key with QUERATOR_KEY, --key-file or --key, or what a proxy wants with --header";
    case "not-leased":
    case "lease-ended":
    case "item-not-found":
      if (error instanceof ItemNotFoundError) {
        return "What has ended is there only if its queue keeps it: see --keep-completed of 'querator update'";
      }
      return "A lease id is what lease wrote; it ends with its lease, and with what was told of it";
    default:
      return undefined;
  }
}

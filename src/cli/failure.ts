// How a command fails by itself: with what it says, and with which exit code it ends. What is told of
// other errors is in explanation.ts.

import { END_SIGNALS, type EndSignal } from "./signals.ts";

/** What a command can end with, beside 129, 130 and 143 for one that was interrupted or told to end. */
export const EXIT = { failed: 1, usage: 2, notFound: 3, unreachable: 4, noItems: 5 } as const;

/** An error with the exit code of its own, and perhaps with what to do next. */
export class CommandError extends Error {
  readonly exitCode: number;
  readonly hint: string | undefined;

  constructor(message: string, exitCode: number = EXIT.failed, hint?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
    this.hint = hint;
  }
}

/** The command was used wrongly. */
export function usage(message: string, hint?: string): CommandError {
  return new CommandError(message, EXIT.usage, hint);
}

/** The command was ended by a signal, which needs no words. */
export class Interrupted extends CommandError {
  constructor(signal: EndSignal) {
    super("", END_SIGNALS[signal]);
  }
}

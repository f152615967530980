// The options that the proof programs share, so that they mean the same everywhere: how a number is
// read, the seed, and the storage of the server under test. What is wrong is said by commander, which
// ends the program before anything is started.

import { InvalidArgumentError, Option } from "commander";
import { freshSeed } from "./random.ts";
import type { StorageKind } from "./server-process.ts";

/** Reads a number above 0, such as a time. */
export function positive(text: string): number {
  const number = Number(text);
  if (number > 0 && Number.isFinite(number)) return number;
  throw new InvalidArgumentError("use a number above 0");
}

/** Reads a whole number, 0 or more. */
export function whole(text: string): number {
  const number = Number(text);
  if (text.trim() !== "" && Number.isInteger(number) && number >= 0) return number;
  throw new InvalidArgumentError("use a whole number");
}

/** Reads a whole number above 0, such as how often something is done. */
export function count(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw new InvalidArgumentError("use a whole number above 0");
}

/** `--seed`; a fresh one if it is not given. */
export function seedOption(): Option {
  return new Option("--seed <n>", "repeats the choices of a run")
    .argParser(whole)
    .default(freshSeed(), "another each time");
}

/** `--storage`: what the server keeps its data in. */
export function storageOption(
  usual: StorageKind,
  kinds: readonly string[] = ["memory", "sqlite"],
): Option {
  return new Option("--storage <driver>", "what the server keeps its data in")
    .choices(kinds)
    .default(usual);
}

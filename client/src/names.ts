// Names of options that nobody knows: a slip that would have no effect is an error at the call. What has types is
// told by its compiler before; this is for all others.

import { InvalidRequestError } from "./errors.ts";

/** Names, to be made once. */
export function namesOf<T extends object>(known: Readonly<Record<keyof T, true>>): Names {
  return new Set(Object.keys(known));
}

export type Names = ReadonlySet<string>;

/** Throws an InvalidRequestError if something of what is given is not known. */
export function checkNames(given: object, known: Names, what: string): void {
  for (const name in given) if (!known.has(name)) throw unknown(name, known, what);
}

function unknown(name: string, known: Names, what: string): InvalidRequestError {
  const near = nearest(name, known);
  const hint = near === undefined ? "" : `; did you mean '${near}'?`;
  return new InvalidRequestError("invalid", `${what} has no '${name}'${hint}`);
}

const FAR = 3;

function nearest(name: string, known: Names): string | undefined {
  const plain = plainOf(name);
  let best: string | undefined;
  let least = FAR;
  for (const each of known) {
    const distance = distanceOf(plain, plainOf(each));
    if (distance < least) [best, least] = [each, distance];
  }
  return best;
}

// However it is written: lease_timeout is leaseTimeout.
function plainOf(name: string): string {
  return name.replaceAll(/[_-]/g, "").toLowerCase().slice(0, 64);
}

// How many letters are to be put in, left out or exchanged (Levenshtein).
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const exchange = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(exchange, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

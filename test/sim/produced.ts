// What clients have said of the items that they produced, by the number that each item has as its payload.

import type { KeyChoice } from "./commands.ts";

/** A unique key that an item was produced with. `period` in microseconds, else 0. */
export interface Wish {
  readonly key: string;
  readonly until: KeyChoice["until"];
  readonly period: number;
  readonly onDuplicate: KeyChoice["onDuplicate"];
}

/** What an item says in place of its queue; undefined where it says nothing. Times in microseconds. */
export interface Own {
  readonly maxAttempts?: number;
  readonly expireIn?: number;
  readonly retryDelay?: number;
}

export interface Produced {
  readonly queue: string;
  /** "" for none. */
  readonly kind: string;
  readonly wish: Wish | undefined;
  readonly own: Own;
  /** The trace that it belongs to; "" for none. */
  readonly traceparent: string;
}

export type AllProduced = ReadonlyMap<number, Produced>;

export const NOTHING_OWN: Own = {};

/** One item in four belongs to a trace, each to its own. */
export function traceOf(n: number): string {
  if (n % 4 !== 1) return "";
  return `00-${n.toString(16).padStart(32, "a")}-${n.toString(16).padStart(16, "b")}-01`;
}

// What several pages about queues have in common.

import { NAMESPACE, type Query } from "../router.ts";

/** The namespace of all that has no other, as the server tells it. */
const DEFAULT = "_system";

/** A storage, as an overview tells it. */
export interface Storage {
  readonly name: string;
  readonly kind: string;
  readonly state: string;
  readonly trouble?: string;
  readonly data_bytes?: number;
  readonly free_bytes?: number;
}

/** Something that is wrong, in words. */
export interface Warning {
  readonly code: string;
  readonly text: string;
  readonly severity?: string;
  readonly queue_name?: string;
  readonly namespace?: string;
}

/** What an overview tells of the server itself. */
export interface ServerFacts {
  readonly version: string;
  readonly started_at: string;
  readonly mode: string;
  readonly threads?: number;
  readonly whole?: boolean;
  readonly storages?: readonly Storage[];
  readonly warnings?: readonly Warning[];
}

/** Dead items that died alike. */
export interface DeadGroup {
  readonly fingerprint: string;
  readonly kind?: string;
  readonly error_type?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly source_queue?: string;
  readonly count: number;
  readonly first_at: string;
  readonly last_at: string;
  readonly sample: string;
}

/** The part of a link that names this namespace. */
export function inNamespace(namespace: string | undefined): Query {
  return { [NAMESPACE]: namespace === DEFAULT ? "" : (namespace ?? "") };
}

/** Seconds since 1970 as milliseconds. */
export function toMillis(seconds: readonly number[] | undefined): number[] {
  return (seconds ?? []).map((at) => at * 1_000);
}

/** How many in each step, as how many a second. The last step is not over; too little of it tells nothing. */
export function perSecond(
  counts: readonly number[] | undefined,
  { step, at = [] }: { readonly step: number; readonly at?: readonly number[] | undefined },
): (number | null)[] {
  return (counts ?? []).map((each, i) => {
    const seconds = Math.min(step, at[i]! - (at[i - 1] ?? 0));
    return seconds < step / 5 ? null : each / seconds;
  });
}

/** What is -1 where nothing was measured, with gaps there. */
export function withGaps(values: readonly number[] | undefined): (number | null)[] {
  return (values ?? []).map((value) => (value < 0 ? null : value));
}

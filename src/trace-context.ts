// What W3C Trace Context says of its two headers, and so of the fields of items that are named like them: which
// values are valid, and what of them is passed on.

/** As a header, or a field, has it; no state is "". */
export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate: string;
}

/** Characters of a traceparent, and of a tracestate at most. */
export const TRACEPARENT_LENGTH = 55;
export const TRACESTATE_MAX = 512;

const VALID = /^([\da-f]{2})(-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2})(?:$|-)/;
const STATE = /^[ -~]*$/;

/**
 * A traceparent as it is passed on; undefined if it is not valid. Of a version that is to come, what version 00 has of
 * it: more nobody can know.
 */
export function validTraceparent(given: string): string | undefined {
  const [, version, rest] = VALID.exec(given) ?? [];
  if (version === undefined || version === "ff") return undefined;
  if (version === "00") return given.length === TRACEPARENT_LENGTH ? given : undefined;
  return `00${rest}`;
}

/** Whether a tracestate is one that is passed on. What its members mean only those know who wrote them. */
export function isTracestate(given: string): boolean {
  return given.length <= TRACESTATE_MAX && STATE.test(given);
}

// What the endpoints of namespaces, users, keys, roles and bindings have in common: the checks of their texts, pages
// of lists that lie in memory, and what the documents say of fields that several of them have.

import type { Deed } from "../auth/audit.ts";
import { type By, byOf } from "../auth/service.ts";
import { invalidField } from "../errors.ts";
import type { Exchange } from "../http/edge.ts";
import { checkNamespace, NAMESPACE_BYTES_MAX, NAMESPACE_PATTERN } from "../registry/names.ts";
import { readCursor, toCursor } from "./cursor.ts";
import { problem, refusal } from "./openapi/errors.ts";
import { CURSOR, type FieldNote, NEXT_CURSOR } from "./openapi/fields.ts";
import { checkListLimit, LIST_LIMIT_DEFAULT, QUEUES_LIST_LIMIT_MAX } from "./validate.ts";

export const NAME_BYTES_MAX = 128;
export const TEXT_BYTES_MAX = 256;
const TAG_LENGTH_MAX = 16;
const TAG_PATTERN = "^[0-9a-z]*$";
const TAG = new RegExp(TAG_PATTERN);

/** Who asks for a change. */
export function by({ principal }: Exchange, deed: Deed): By {
  return byOf(principal, deed);
}

/** The namespace that a request names, if it does. */
export function named({ namespace }: { readonly namespace: string }): string {
  return namespace;
}

/** Of requests of /v2 that may name a namespace. */
export function checkNamed({ namespace }: { readonly namespace: string }): void {
  checkNamespace(namespace);
}

// --- texts ---

export function checkGiven(field: string, text: string): void {
  if (text === "") throw invalidField(field, emptyText(field));
}

export function emptyText(field: string): string {
  return `${field} is invalid; cannot be empty`;
}

export function checkLength(field: string, text: string, max = NAME_BYTES_MAX): void {
  if (Buffer.byteLength(text) <= max) return;
  throw invalidField(field, `${field} is invalid; cannot be greater than '${max}' characters`);
}

export function checkNoColon(field: string, text: string): void {
  if (!text.includes(":")) return;
  throw invalidField(field, `${field} is invalid; '${text}' cannot contain ':' character`);
}

/** The tag that keys are to have; "" chooses none. */
export function checkTag(field: string, tag: string): void {
  if (tag.length > TAG_LENGTH_MAX) {
    throw invalidField(
      field,
      `${field} is invalid; cannot be greater than ${TAG_LENGTH_MAX} characters`,
    );
  }
  if (TAG.test(tag)) return;
  throw invalidField(field, `${field} is invalid; must be lowercase alphanumeric only`);
}

// --- lists ---

interface Paged {
  readonly limit: number;
}

/** A page of a list under /v1: what comes at or after the pivot, in order. */
export function pageOfV1<R>(
  records: Iterable<R>,
  keyOf: (record: R) => string,
  request: Paged & { readonly pivot: string },
): readonly R[] {
  const limit = checkListLimit(request.limit, QUEUES_LIST_LIMIT_MAX);
  return sortedFrom(records, keyOf, request.pivot).slice(0, limit);
}

interface PageV2<R> {
  readonly records: readonly R[];
  readonly next: { readonly nextCursor?: string };
}

/** A page of a list under /v2. */
export function pageOf<R>(
  records: Iterable<R>,
  keyOf: (record: R) => string,
  request: Paged & { readonly cursor: string },
): PageV2<R> {
  const limit = checkListLimit(request.limit, LIST_LIMIT_DEFAULT);
  const [from] = request.cursor === "" ? [""] : readCursor(request.cursor, 1);
  const sorted = sortedFrom(records, keyOf, String(from));
  const next = sorted[limit];
  return {
    records: sorted.slice(0, limit),
    next: next === undefined ? {} : { nextCursor: toCursor([keyOf(next)]) },
  };
}

// They lie nearly in order already: ids begin with the time at which they were made.
function sortedFrom<R>(
  records: Iterable<R>,
  keyOf: (record: R) => string,
  from: string,
): readonly R[] {
  const found = [...records].filter((record) => keyOf(record) >= from);
  return found.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

/** The key of a record in lists that are in order of ids. */
export function byId({ id }: { readonly id: string }): string {
  return id;
}

// --- documents ---

export const EXAMPLE_USER = "2fPkNXm5jvLxwHfHgq2dZr0aBcD";
export const EXAMPLE_NAMESPACE = "acme";

export const noSuchUser = problem("user_not_found", "user does not exist; 'nobody' was not found");
export const noSuchNamespace = problem(
  "namespace_not_found",
  "namespace does not exist; 'other' was not found",
);
export const longName = refusal("name is invalid; cannot be greater than '128' characters");

/** An error of one field under /v2. */
export function ofField(field: string, message: string): ReturnType<typeof problem> {
  return problem("invalid_field", message, { field });
}

/** Of a name that has to be given. */
export function nameNote(text: string, max = NAME_BYTES_MAX): FieldNote {
  return { text, required: "both", request: { minLength: 1, maxLength: max } };
}

/** Of a text that may be left out. */
export function textNote(text: string, max = NAME_BYTES_MAX): FieldNote {
  return { text, request: { maxLength: max } };
}

export function tagNote(text: string): FieldNote {
  return { text, request: { maxLength: TAG_LENGTH_MAX, pattern: TAG_PATTERN } };
}

/** Of a namespace that may be left out. */
export function namespaceNote(text: string): FieldNote {
  const request = { maxLength: NAMESPACE_BYTES_MAX, pattern: "^[^~:\\s]*$" };
  return { text, request, accepted: { pattern: NAMESPACE_PATTERN } };
}

export const ID_OF = { required: "reply" } as const;
export const CREATED: FieldNote = { text: "When it was made.", required: "reply" };

/** Of the fields by which lists of /v1 are paged. */
export function pageNotesV1(what: string): Readonly<Record<"pivot" | "limit", FieldNote>> {
  return {
    pivot: {
      text: `The first ${what} to list, or the next one after it; from the start if empty.`,
    },
    limit: {
      text: `How many at most, up to ${QUEUES_LIST_LIMIT_MAX}; 0 means ${LIST_LIMIT_DEFAULT}.`,
      request: { minimum: 0, maximum: QUEUES_LIST_LIMIT_MAX },
    },
  };
}

/** The same under /v2. */
export const PAGE_NOTES = {
  limit: {
    text: `How many at most, up to ${LIST_LIMIT_DEFAULT}; 0 means as many.`,
    request: { minimum: 0, maximum: LIST_LIMIT_DEFAULT },
  },
  cursor: CURSOR,
} as const satisfies Readonly<Record<string, FieldNote>>;

export { NEXT_CURSOR };

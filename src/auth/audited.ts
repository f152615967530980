// What the audit says of changes of namespaces, users, keys, roles and bindings. An entry is in the namespace that
// the change is about, so that who may read the audit there sees it; what is about the server is in `_system`.

import { MILLISECOND } from "../clock.ts";
import type { AuditChange, Deed, Note } from "./audit.ts";
import { SYSTEM_NAMESPACE } from "./permissions.ts";
import type { By } from "./service.ts";

/** The beginning of a note of what is about a namespace; "" for all. */
export function deedIn({ deed }: By, namespace: string): { deed: Deed; namespace: string } {
  return { deed, namespace: namespace || SYSTEM_NAMESPACE };
}

/** The same of what is about the server. */
export function server(by: By): { deed: Deed; namespace: string } {
  return deedIn(by, SYSTEM_NAMESPACE);
}

/** The fields that are another, one by one also of those that have some of their own. */
export function differences(before: object, after: object, path = ""): readonly AuditChange[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].flatMap((name): readonly AuditChange[] => {
    const [from, to] = [before, after].map(
      (each) => (each as Readonly<Record<string, unknown>>)[name],
    );
    const field = `${path}${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`;
    if (isRecord(from) || isRecord(to)) {
      return differences(from ?? {}, to ?? {}, `${field}.`);
    }
    const [was, is] = [textOf(from), textOf(to)];
    if (was === is) return [];
    return [{ field, ...(was !== "" && { from: was }), ...(is !== "" && { to: is }) }];
  });
}

function isRecord(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// What is not there, and what stands for nothing, is "".
function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.join(" ");
  return value === undefined || value === 0 ? "" : String(value);
}

/** When a key ends, as what has become another. */
export function endOf(expiresAt: number): AuditChange {
  return { field: "expires_at", to: new Date(expiresAt / MILLISECOND).toISOString() };
}

/** A note for each namespace that has lost a key or a binding. */
export function lossesOf(
  by: By,
  { target, from }: { readonly target: string; readonly from: object },
  lost: readonly {
    readonly namespace: string;
    readonly id?: string;
    readonly digest?: string;
  }[],
): readonly Note[] {
  const namespaces = new Set(lost.map(({ namespace }) => namespace || SYSTEM_NAMESPACE));
  return [...namespaces].map((namespace) => {
    const here = lost.filter((each) => (each.namespace || SYSTEM_NAMESPACE) === namespace);
    const ids = here.filter(({ digest }) => digest !== undefined).map(({ id }) => id);
    const keys = { keys: ids.length === 0 ? "" : `${ids.length}: ${ids.join(" ")}` };
    return { ...deedIn(by, namespace), target, changes: differences({ ...from, ...keys }, {}) };
  });
}

/** A note of what was changed; none if that is nothing. */
export function ifAny<N extends Note>(note: N): readonly N[] {
  return note.changes === undefined || note.changes.length === 0 ? [] : [note];
}

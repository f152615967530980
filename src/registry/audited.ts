// What the audit says of changes of queues: the settings that are another than before, and of a queue that is made
// those that have not their default. What changes none of them leaves no note.

import { isDeepStrictEqual } from "node:util";
import type { AuditChange, Deed, Note } from "../auth/audit.ts";
import { nameOf } from "./names.ts";
import type { QueueRecord } from "./records.ts";
import { DEFAULT_SETTINGS, fieldOf, SETTINGS, type Settings, showInWords } from "./settings.ts";

/** The note of a change, if it was asked for by somebody: from what a queue was to what it is. */
export function notesOf(
  deed: Deed | undefined,
  { old, made }: { readonly old?: QueueRecord; readonly made?: QueueRecord },
): readonly Note[] {
  const record = made ?? old;
  if (deed === undefined || record === undefined) return [];
  const changes = made === undefined ? [] : changesOf(old, made);
  if (old !== undefined && made !== undefined && changes.length === 0) return [];
  const { name, namespace } = record;
  return [{ deed, namespace, target: nameOf(name), changes }];
}

function changesOf(old: QueueRecord | undefined, made: QueueRecord): readonly AuditChange[] {
  const before = old ?? DEFAULT_SETTINGS;
  const was = old && showInWords(old);
  const is = showInWords(made);
  return (Object.keys(SETTINGS) as (keyof Settings)[]).flatMap((key) => {
    if (isDeepStrictEqual(before[key], made[key])) return [];
    const from = was === undefined ? {} : { from: String(was[key]) };
    return { field: fieldOf(key, SETTINGS[key]), ...from, to: String(is[key]) };
  });
}

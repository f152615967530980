// What has to be done so that there are the queues of a list, each with the settings that it names: which are
// made, which are changed, and which are as they should be. What a queue that is there has and the list
// does not name stays, and queues that are not in the list are left alone. Everything is checked against
// the queues as they will be, so that the order of the list does not matter. Pure; nothing is done here.

import { isDeepStrictEqual } from "node:util";
import { invalidField, QueueError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { checkDeadQueue, type DeadQueues } from "./dead-queues.ts";
import { fullName } from "./names.ts";
import type { QueueRecord } from "./records.ts";
import {
  checkSettings,
  fieldOf,
  type NewQueue,
  SETTINGS,
  type Settings,
  showInWords,
  withLongest,
} from "./settings.ts";

/** A queue of the list. */
export interface WantedQueue {
  readonly name: string;
  /** The settings that are named. */
  readonly named: Partial<Settings>;
  /** Those, and the defaults of the others. */
  readonly settings: Settings;
}

/** What is done for one queue. */
export interface QueueDiff {
  readonly queueName: string;
  readonly action: "created" | "updated" | "unchanged";
  readonly changes: readonly SettingDiff[];
}

/** A setting that gets another value; both as texts. */
export interface SettingDiff {
  readonly setting: string;
  /** Not set of a queue that is made. */
  readonly from?: string;
  readonly to: string;
}

/** What is to be done. */
export interface Apply {
  readonly creates: readonly NewQueue[];
  readonly updates: readonly { readonly old: QueueRecord; readonly change: Partial<Settings> }[];
  /** In the order of the list. */
  readonly diffs: readonly QueueDiff[];
}

/** Works it out for a namespace; throws a QueueError that names the queue by its index in the list. */
export function planOf(
  namespace: string,
  wanted: readonly WantedQueue[],
  find: (name: string) => QueueRecord | undefined,
  deadQueues: DeadQueues,
  limits: Limits,
): Apply {
  const later = new Map<string, Settings>();
  const changed = wanted.map(({ name, named, settings }, i): Partial<Settings> => {
    const old = find(name) ?? settings;
    return within(`queues[${i}]`, () => withLongest(named, old));
  });
  for (const [i, { name, settings }] of wanted.entries()) {
    if (later.has(name)) {
      const field = `queues[${i}].queue_name`;
      throw invalidField(field, `${field} is invalid; '${name}' is in the list already`);
    }
    const old = find(name);
    later.set(name, old === undefined ? settings : { ...old, ...changed[i] });
  }
  const afterwards = overlay(deadQueues, later);
  const creates: NewQueue[] = [];
  const updates: { readonly old: QueueRecord; readonly change: Partial<Settings> }[] = [];
  const diffs = wanted.map(({ name, settings }, i): QueueDiff => {
    const old = find(name);
    const change = changed[i]!;
    const changes = diffOf(change, settings, old);
    if (old !== undefined && changes.length === 0) {
      return { queueName: name, action: "unchanged", changes };
    }
    within(`queues[${i}]`, () => {
      const { deadQueue } = later.get(name)!;
      checkDeadQueue({ name, deadQueue }, afterwards);
      checkSettings(later.get(name)!, limits);
    });
    if (old === undefined)
      creates.push({ ...settings, name: fullName(namespace, name), namespace });
    else updates.push({ old, change });
    return { queueName: name, action: old === undefined ? "created" : "updated", changes };
  });
  return { creates, updates, diffs };
}

/** Does something with a part of a request: errors name their field within it. */
export function within<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof QueueError) || error.field === undefined) throw error;
    const { kind, message, code, details, detail, field } = error;
    throw new QueueError(kind, message, { code, details, detail, field: `${path}.${field}` });
  }
}

// The queues as they will be.
function overlay(before: DeadQueues, later: ReadonlyMap<string, Settings>): DeadQueues {
  const users = new Map<string, string>();
  for (const [name, { deadQueue }] of later) if (deadQueue !== "") users.set(deadQueue, name);
  return {
    of: (name) => later.get(name)?.deadQueue ?? before.of(name),
    userOf: (name) => users.get(name) ?? before.userOf(name, (user) => !later.has(user)),
  };
}

function diffOf(
  named: Partial<Settings>,
  settings: Settings,
  old: QueueRecord | undefined,
): readonly SettingDiff[] {
  const shown = showInWords({ ...settings, ...named });
  const before = old && showInWords(old);
  return (Object.keys(named) as (keyof Settings)[]).flatMap((key) => {
    if (old !== undefined && isDeepStrictEqual(old[key], named[key])) return [];
    const from = before === undefined ? {} : { from: textOf(before[key]) };
    return { setting: fieldOf(key, SETTINGS[key]), ...from, to: textOf(shown[key]) };
  });
}

function textOf(value: unknown): string {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

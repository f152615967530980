// The settings of a queue, one row each. From the rows come the record that is kept of a queue, what
// of it a client says and is answered, the keys of the configuration file, the rules that the queue's
// loop goes by, and the document of the API. A new setting is a row here, a field of QueueInfo in
// proto/, and what uses it. A check throws a QueueError (400) with the text that clients rely on.

import { DurationError, formatDuration, parseDuration } from "../duration.ts";
import { invalidField } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { checkDeadQueueName, DEAD_QUEUE_NAME_BYTES_MAX } from "./names.ts";

/** Characters of the duration of a queue. */
export const QUEUE_TIMEOUT_LENGTH_MAX = 15;

/** The expire_timeout of a queue that never takes an item away because of its age: a hundred years. */
const NEVER = "876000h0m0s";

interface AnyRow {
  /** What it means, for the document of the API; `{max}` stands for the most that is allowed. */
  readonly text: string;
  /** 0 and "" are no value: a new queue must be given one, and an update without one keeps what was. */
  readonly isNeeded: boolean;
  /** Whether the queue's loop goes by it. */
  readonly isRule: boolean;
}

/** A duration: microseconds in a record, a text elsewhere. */
interface DurationRow extends AnyRow {
  readonly kind: "duration";
  /** How error texts name it. */
  readonly called: string;
  readonly examples: string;
  /** Where the file says nothing, and of records that are older than the setting. */
  readonly default: string;
  /** What the file calls the default. */
  readonly word?: string;
}

interface CountRow extends AnyRow {
  readonly kind: "count";
  readonly called: string;
  readonly default: number;
  readonly min: number;
  readonly max: number;
  /** The limit of the server that stands for `max` in the API. */
  readonly limit?: keyof Limits;
}

interface TextRow extends AnyRow {
  readonly kind: "text";
  readonly called: string;
  readonly default: string;
  readonly bytesMax: number;
}

/** The name of another queue, or none. That it fits this one, the registry checks. */
interface NameRow extends AnyRow {
  readonly kind: "name";
  readonly default: string;
  readonly bytesMax: number;
  readonly check: (name: string) => void;
}

export type SettingRow = DurationRow | CountRow | TextRow | NameRow;

/** By the name in records and in Protobuf; the order is that in which values are checked. */
export const SETTINGS = {
  deadQueue: {
    kind: "name",
    default: "",
    bytesMax: DEAD_QUEUE_NAME_BYTES_MAX,
    check: checkDeadQueueName,
    isNeeded: false,
    isRule: true,
    text: "The queue for items that fail too often or expire; none if empty. It must exist, and have no dead queue. At most {max} bytes.",
  },
  reference: {
    kind: "text",
    called: "reference field",
    default: "",
    bytesMax: 2_000,
    isNeeded: false,
    isRule: false,
    text: "Anything that its owner wants to note, up to {max} bytes.",
  },
  maxAttempts: {
    kind: "count",
    called: "max attempts",
    default: 0,
    min: 0,
    max: 65_536,
    isNeeded: false,
    isRule: true,
    text: "How often an item may be leased; 0 sets no limit.",
  },
  requestedPartitions: {
    kind: "count",
    called: "partitions",
    default: 1,
    min: 1,
    max: 65_536,
    limit: "partitions",
    isNeeded: true,
    isRule: false,
    text: "How many partitions the queue is to have, up to {max}. An update without it keeps the number.",
  },
  leaseTimeout: {
    kind: "duration",
    called: "lease timeout",
    examples: "8m, 15m or 1h",
    default: "1m",
    isNeeded: true,
    isRule: true,
    text: "How long a lease lasts; not longer than expire_timeout.",
  },
  expireTimeout: {
    kind: "duration",
    called: "expire timeout",
    examples: "60m, 2h or 24h",
    default: NEVER,
    word: "never",
    isNeeded: true,
    isRule: true,
    text: "How long an item may live; 876000h, a hundred years, is as good as ever.",
  },
} as const satisfies Readonly<Record<string, SettingRow>>;

type Rows = typeof SETTINGS;
type Key = keyof Rows;
type RuleKey = { [K in Key]: Rows[K]["isRule"] extends true ? K : never }[Key];

/** As records have them: durations in microseconds. */
export type Settings = {
  readonly [K in Key]: Rows[K]["kind"] extends "text" | "name" ? string : number;
};

/** As they travel and stand in the file: durations are texts. */
export type GivenSettings = {
  readonly [K in Key]: Rows[K]["kind"] extends "count" ? number : string;
};

/** What a client says when it creates or updates a queue; 0 and "" stand for not given. */
export interface QueueSettings extends Settings {
  readonly name: string;
}

/** A queue that is to be made. */
export interface NewQueue extends QueueSettings {
  readonly namespace: string;
  /** The storage of each partition, in place of the shares by affinity. */
  readonly storages?: readonly string[];
}

type Values = Readonly<Record<Key, number | string>>;

export const SETTING_ROWS = Object.entries(SETTINGS) as readonly [Key, SettingRow][];
const RULES = SETTING_ROWS.flatMap(([key, { isRule }]) => (isRule ? [key] : []));

/** The name of a setting, or of what else is in camel case, with another mark between its words. */
export function withMarks(name: string, mark: "-" | "_"): string {
  return name.replace(/[A-Z]/g, (letter) => mark + letter.toLowerCase());
}

/** One value for each setting. */
function each(value: (key: Key, row: SettingRow) => number | string): Values {
  return Object.fromEntries(SETTING_ROWS.map(([key, row]) => [key, value(key, row)])) as Values;
}

/** The rules of a queue, as its record states them: always of one shape, for its loop reads them often. */
export function rulesOf(record: Settings): Pick<Settings, RuleKey> {
  return Object.fromEntries(RULES.map((key) => [key, record[key]])) as Pick<Settings, RuleKey>;
}

/** What was said as a record has it; checks what is needed to read durations, and nothing else. */
export function readSettings(given: GivenSettings): Settings {
  const read: Record<string, number | string> = {};
  for (const [key, row] of SETTING_ROWS) checkLength(withMarks(key, "_"), row, given[key]);
  // From the last one on: it is part of /v1 which of two wrong durations is told.
  for (const [key, row] of SETTING_ROWS.toReversed())
    read[key] = readValue(withMarks(key, "_"), row, given[key]);
  return read as Settings;
}

/** What a record says as it travels. */
export function showSettings(record: Settings): GivenSettings {
  return each((key, { kind }) =>
    kind === "duration" ? formatDuration(record[key] as number) : record[key],
  ) as GivenSettings;
}

/** The same with the word of a setting, where it has one for its default, in place of a very long time. */
export function showInWords(record: Settings): GivenSettings {
  const shown = showSettings(record);
  return each((key, row) => {
    const isWord = row.kind === "duration" && row.word !== undefined;
    return isWord && record[key] === DEFAULTS[key] ? row.word : shown[key];
  }) as GivenSettings;
}

/** A change of a queue's settings: what it does not name stays. */
export type SettingsChange = Partial<Settings> & { readonly name: string };

/** What a client of /v1 says as a record has it; of settings that /v1 does not know the defaults. */
export function readV1(said: Partial<GivenSettings>): Settings {
  return readSettings({ ...GIVEN_DEFAULTS, ...said });
}

/**
 * What a client of /v1 changes by what it has said: 0 and "" are no value where one is needed, and one
 * elsewhere. What /v1 does not know stays.
 */
export function changeOfV1(
  { name, ...read }: QueueSettings,
  said: Partial<GivenSettings>,
): SettingsChange {
  const settings: Settings = read;
  const named = SETTING_ROWS.filter(
    ([key, { isNeeded }]) => key in said && (!isNeeded || settings[key]),
  );
  return { ...Object.fromEntries(named.map(([key]) => [key, settings[key]])), name };
}

/** As a client of /v2 says them: undefined is what it does not name. */
export type NamedSettings = { readonly [K in Key]: GivenSettings[K] | undefined };

/** What they come to, with the defaults of those that are not named. */
export function readNamed(named: NamedSettings): Settings {
  const given = each((key, row) => {
    const value = named[key] ?? row.default;
    return row.kind === "duration" && value === row.word ? row.default : value;
  });
  return readSettings(given as GivenSettings);
}

/** What they change: those that are named. */
export function readChange(named: NamedSettings): Partial<Settings> {
  const settings = readNamed(named);
  const keys = SETTING_ROWS.flatMap(([key]) => (named[key] === undefined ? [] : [key]));
  return Object.fromEntries(keys.map((key) => [key, settings[key]]));
}

/** A record with the defaults of settings that are newer than it is. */
export function withDefaults<R extends Settings>(record: R): R {
  return { ...DEFAULTS, ...record };
}

const GIVEN_DEFAULTS = each((_, row) => row.default) as GivenSettings;
const DEFAULTS = each((key, row) => readValue(key, row, row.default));

/** Refuses one value that stands in the file, as far as it can be told there. */
export function checkGiven(key: string, row: SettingRow, given: number | string): void {
  checkLength(key, row, given);
  readValue(key, row, given);
  if (row.kind === "name") row.check(given as string);
}

function checkLength(field: string, row: SettingRow, given: number | string): void {
  if (row.kind !== "duration" || Buffer.byteLength(given as string) <= QUEUE_TIMEOUT_LENGTH_MAX) {
    return;
  }
  throw invalidField(
    field,
    `${row.called} is invalid; cannot be greater than '${QUEUE_TIMEOUT_LENGTH_MAX}' characters`,
  );
}

// Durations of queues are whole microseconds; what is less than one counts as none.
function readValue(field: string, row: SettingRow, given: number | string): number | string {
  if (row.kind !== "duration") return given;
  const { called, examples } = row;
  const duration = readDuration(given as string, { field, called, examples });
  return duration < 0 ? Math.floor(duration) : Math.trunc(duration);
}

/** A field that holds a duration: how error texts name it, and what they give as examples. */
export interface DurationField {
  readonly field: string;
  readonly called: string;
  readonly examples: string;
}

/** Reads a duration, in microseconds; 0 for one that was not given. */
export function readDuration(text: string, { field, called, examples }: DurationField): number {
  if (text === "") return 0;
  try {
    return parseDuration(text);
  } catch (error) {
    if (!(error instanceof DurationError)) throw error;
    throw invalidField(
      field,
      `${called} is invalid; ${error.message} - expected format: ${examples}`,
    );
  }
}

/** Refuses values that a queue cannot have, in the order that clients rely on. */
export function checkSettings(settings: Settings, limits: Limits): void {
  for (const [key, row] of SETTING_ROWS) {
    const problem = problemOf(row, settings[key], limits);
    if (problem !== undefined) throw invalidField(withMarks(key, "_"), problem);
  }
  checkOrder(settings);
}

function problemOf(row: SettingRow, value: number | string, limits: Limits): string | undefined {
  switch (row.kind) {
    case "name":
      row.check(value as string);
      return undefined;
    case "text":
      if (Buffer.byteLength(value as string) <= row.bytesMax) return undefined;
      return `${row.called} is invalid; cannot be greater than '${row.bytesMax}' characters`;
    case "count": {
      const max = maxOf(row, limits);
      if (+value > max) return `${row.called} is invalid; cannot be greater than ${max}`;
      if (+value >= row.min) return undefined;
      const least = row.min === 0 ? "negative number" : `less than ${row.min}`;
      return `${row.called} is invalid; cannot be ${least}`;
    }
    case "duration":
      if (+value >= 1) return undefined;
      return `${row.called} is invalid; cannot be ${+value < 0 ? "negative" : "empty"}`;
  }
}

/** The most that a count may be, or the bytes of a text or a name. */
export function maxOf(row: Exclude<SettingRow, DurationRow>, limits: Limits): number {
  if (row.kind !== "count") return row.bytesMax;
  return row.limit === undefined ? row.max : limits[row.limit];
}

/** An item must not expire before its first lease could end. */
export function checkOrder({ leaseTimeout, expireTimeout }: Settings): void {
  if (leaseTimeout <= expireTimeout) return;
  throw invalidField(
    "lease_timeout",
    `lease timeout is too long; ${formatDuration(leaseTimeout)} cannot be greater than the expire timeout ${formatDuration(expireTimeout)}`,
  );
}

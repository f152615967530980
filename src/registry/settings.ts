// The settings of a queue, one row each. From the rows come the record that is kept of a queue, what
// of it a client says and is answered, the keys of the configuration file, the rules that the queue's
// loop goes by, and the document of the API. A new setting is a row here, a field of QueueInfo in
// proto/, and what uses it. A check throws a QueueError (400) with the text that clients rely on.

import { HOUR } from "../clock.ts";
import { DURATION_PATTERN, DurationError, formatDuration, parseDuration } from "../duration.ts";
import { invalidField } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { checkDeadQueueName, DEAD_QUEUE_NAME_BYTES_MAX, fullName } from "./names.ts";

/** Characters of the duration of a queue. */
export const QUEUE_TIMEOUT_LENGTH_MAX = 15;

/** The expire_timeout of a queue that never takes an item away because of its age: a hundred years. */
const NEVER = "876000h0m0s";

/** The word for it under /v2. */
const NEVER_WORD = "never";

/** The longest that a retry may be told to wait, and that what has ended may be kept. */
const RETRY_MAX = 8_760 * HOUR;
const KEEP_MAX = 8_760 * HOUR;

interface AnyRow {
  /** What it means, for the document of the API; `{max}` stands for the most that is allowed. */
  readonly text: string;
  /** 0 and "" are no value: a new queue must be given one, and an update without one keeps what was. */
  readonly isNeeded: boolean;
  /** Whether the queue's loop goes by it. */
  readonly isRule: boolean;
  /** Whether /v1 knows nothing of it; it then has its default, and what /v2 has said stays. */
  readonly isNew?: boolean;
  /** How requests of /v2 name it, if not by its name. */
  readonly field?: string;
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
  /** Microseconds, both of them; if it is not given, it must be more than nothing. */
  readonly min?: number;
  readonly max?: number;
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

/** A number that need not be whole. */
interface FactorRow extends AnyRow {
  readonly kind: "factor";
  readonly called: string;
  readonly default: number;
  readonly min: number;
  readonly max: number;
}

/** One of some words. */
interface ChoiceRow extends AnyRow {
  readonly kind: "choice";
  readonly called: string;
  readonly default: string;
  readonly values: readonly string[];
}

interface FlagRow extends AnyRow {
  readonly kind: "flag";
  readonly default: boolean;
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

export type SettingRow =
  | DurationRow
  | CountRow
  | FactorRow
  | ChoiceRow
  | FlagRow
  | TextRow
  | NameRow;

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
    word: NEVER_WORD,
    isNeeded: true,
    isRule: true,
    text: "How long an item may live; 876000h, a hundred years, is as good as ever.",
  },
  retryDelay: {
    kind: "duration",
    field: "retry.delay",
    called: "retry delay",
    examples: "1s, 30s or 5m",
    default: "0s",
    min: 0,
    max: RETRY_MAX,
    isNeeded: false,
    isRule: true,
    isNew: true,
    text: "How long the first retry of an item waits; 0s for at once.",
  },
  retryFactor: {
    kind: "factor",
    field: "retry.factor",
    called: "retry factor",
    default: 2,
    min: 1,
    max: 100,
    isNeeded: false,
    isRule: true,
    isNew: true,
    text: "By what each later wait is longer than the one before, from 1 to {max}.",
  },
  retryMaxDelay: {
    kind: "duration",
    field: "retry.max_delay",
    called: "retry max delay",
    examples: "10m, 1h or 24h",
    default: "1h",
    min: 0,
    max: RETRY_MAX,
    isNeeded: false,
    isRule: true,
    isNew: true,
    text: "The longest wait before a retry.",
  },
  retryJitter: {
    kind: "factor",
    field: "retry.jitter",
    called: "retry jitter",
    default: 0.2,
    min: 0,
    max: 1,
    isNeeded: false,
    isRule: true,
    isNew: true,
    text: "What part of a wait is left to chance, from 0 to {max}, so that what failed together is not tried again together.",
  },
  onLeaseEnd: {
    kind: "choice",
    called: "on lease end",
    default: "retry_now",
    values: ["retry_now", "retry_delayed", "reject"],
    isNeeded: false,
    isRule: true,
    isNew: true,
    text: "What becomes of an item whose lease ends by itself: retry_now, retry_delayed (after the wait of its retry policy) or reject.",
  },
  keepCompleted: {
    kind: "duration",
    called: "keep completed",
    examples: "1h, 24h or 168h",
    default: "0s",
    min: 0,
    max: KEEP_MAX,
    isNeeded: false,
    isRule: true,
    isNew: true,
    text: "How long items are kept to be looked at that have ended; 0s for not at all.",
  },
  keepMax: {
    kind: "count",
    called: "keep max",
    default: 10_000,
    min: 1,
    max: 1_000_000,
    isNeeded: false,
    isRule: true,
    isNew: true,
    text: "How many items that have ended are kept in each partition at most.",
  },
  keepPayload: {
    kind: "flag",
    default: false,
    isNeeded: false,
    isRule: true,
    isNew: true,
    text: "Whether their payloads are kept as well, up to 64 KiB each.",
  },
} as const satisfies Readonly<Record<string, SettingRow>>;

type Rows = typeof SETTINGS;
type Key = keyof Rows;
type RuleKey = { [K in Key]: Rows[K]["isRule"] extends true ? K : never }[Key];

/** As records have them: durations in microseconds. */
export type Settings = {
  readonly [K in Key]: Rows[K] extends { readonly values: readonly (infer Value)[] }
    ? Value
    : Rows[K]["kind"] extends "text" | "name"
      ? string
      : Rows[K]["kind"] extends "flag"
        ? boolean
        : number;
};

/** As they travel and stand in the file: durations are texts. */
export type GivenSettings = {
  readonly [K in Key]: Rows[K]["kind"] extends "count" | "factor"
    ? number
    : Rows[K]["kind"] extends "flag"
      ? boolean
      : string;
};

/** A value of any setting. */
export type SettingValue = number | string | boolean;

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

type Values = Readonly<Record<Key, SettingValue>>;

export const SETTING_ROWS = Object.entries(SETTINGS) as readonly [Key, SettingRow][];
const RULES = SETTING_ROWS.flatMap(([key, { isRule }]) => (isRule ? [key] : []));

/** The name of a setting, or of what else is in camel case, with another mark between its words. */
export function withMarks(name: string, mark: "-" | "_"): string {
  return name.replace(/[A-Z]/g, (letter) => mark + letter.toLowerCase());
}

/** How a request names a setting. */
export function fieldOf(key: string, row: SettingRow): string {
  return row.field ?? withMarks(key, "_");
}

/** One value for each setting. */
function each(value: (key: Key, row: SettingRow) => SettingValue): Values {
  return Object.fromEntries(SETTING_ROWS.map(([key, row]) => [key, value(key, row)])) as Values;
}

/**
 * The rules of a queue, as its record states them, with the full name of its dead queue: always of one shape, for its
 * loop reads them often.
 */
export function rulesOf(
  record: Settings & { readonly namespace: string },
): Pick<Settings, RuleKey> {
  const rules = Object.fromEntries(RULES.map((key) => [key, record[key]]));
  if (record.deadQueue !== "") rules.deadQueue = fullName(record.namespace, record.deadQueue);
  return rules as Pick<Settings, RuleKey>;
}

/** What was said as a record has it; checks what is needed to read durations, and nothing else. */
export function readSettings(given: GivenSettings): Settings {
  const read: Record<string, SettingValue> = {};
  for (const [key, row] of SETTING_ROWS) checkLength(fieldOf(key, row), row, given[key]);
  // From the last one on: it is part of /v1 which of two wrong durations is told.
  for (const [key, row] of SETTING_ROWS.toReversed())
    read[key] = readValue(fieldOf(key, row), row, given[key]);
  return read as unknown as Settings;
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
  const settings = readSettings(given as GivenSettings);
  if (named.retryMaxDelay === undefined) return withLongest(settings, settings);
  if (named.retryDelay !== undefined) checkWaits("retry.delay", settings);
  return settings;
}

/** What they change: those that are named. */
export function readChange(named: NamedSettings): Partial<Settings> {
  const settings = readNamed(named);
  const keys = SETTING_ROWS.flatMap(([key]) => (named[key] === undefined ? [] : [key]));
  return Object.fromEntries(keys.map((key) => [key, settings[key]]));
}

/**
 * A change with the longest wait that it needs: a first wait that is longer than the one that is there raises that,
 * if none is given with it. A longest wait that is shorter than the first one that is there is refused.
 */
export function withLongest<C extends Partial<Settings>>(
  change: C,
  old: Pick<Settings, "retryDelay" | "retryMaxDelay">,
): C {
  const { retryDelay, retryMaxDelay = old.retryMaxDelay } = change;
  if (retryDelay !== undefined) {
    return retryDelay > retryMaxDelay ? { ...change, retryMaxDelay: retryDelay } : change;
  }
  if (change.retryMaxDelay !== undefined) {
    checkWaits("retry.max_delay", { retryDelay: old.retryDelay, retryMaxDelay });
  }
  return change;
}

/** Refuses a first wait that is longer than the longest; what is no wait at all is refused elsewhere. */
export function checkWaits(
  field: string,
  { retryDelay, retryMaxDelay }: Pick<Settings, "retryDelay" | "retryMaxDelay">,
): void {
  if (retryDelay <= retryMaxDelay || retryMaxDelay < 0) return;
  const delay = formatDuration(retryDelay);
  const max = formatDuration(retryMaxDelay);
  throw invalidField(
    field,
    `${field} is invalid; the delay ${delay} is longer than the max delay ${max}`,
  );
}

/** A record with the defaults of settings that are newer than it is. */
export function withDefaults<R extends Settings>(record: R): R {
  return { ...DEFAULTS, ...record };
}

const GIVEN_DEFAULTS = each((_, row) => row.default) as GivenSettings;
const DEFAULTS = each((key, row) => readValue(key, row, row.default));

/** What a queue has of which nothing is said. */
export const DEFAULT_SETTINGS = DEFAULTS as unknown as Settings;

/** Refuses one value that stands in the file, as far as it can be told there. */
export function checkGiven(key: string, row: SettingRow, given: SettingValue): void {
  checkLength(key, row, given);
  const value = readValue(key, row, given);
  if (row.kind === "name") row.check(given as string);
  const problem = row.isNew === true ? problemOf(row, value) : undefined;
  if (problem !== undefined) throw invalidField(key, problem);
}

/** Reads and checks one value by itself, which stands in a field of its own name. */
export function readSetting(field: string, row: SettingRow, given: SettingValue): SettingValue {
  checkLength(field, row, given);
  const value = readValue(field, row, given);
  const problem = problemOf(row, value);
  if (problem !== undefined) throw invalidField(field, problem);
  return value;
}

function checkLength(field: string, row: SettingRow, given: SettingValue): void {
  if (row.kind !== "duration" || Buffer.byteLength(given as string) <= QUEUE_TIMEOUT_LENGTH_MAX) {
    return;
  }
  throw invalidField(
    field,
    `${row.called} is invalid; cannot be greater than '${QUEUE_TIMEOUT_LENGTH_MAX}' characters`,
  );
}

// Durations of queues are whole microseconds; what is less than one counts as none.
function readValue(field: string, row: SettingRow, given: SettingValue): SettingValue {
  if (row.kind !== "duration") return given;
  const { called, examples } = row;
  // To older settings an empty one is one of no time, and refused as that.
  if (row.isNew === true && given === "") {
    throw invalidField(field, `${called} is invalid; cannot be empty`);
  }
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

/** Reads how long something may live, in microseconds: a duration above 0, or the word for never. */
export function readLifetime(text: string, field: string): number {
  const given = text === NEVER_WORD ? NEVER : text;
  const examples = `60m, 24h or ${NEVER_WORD}`;
  const lifetime = Math.trunc(readDuration(given, { field, called: field, examples }));
  if (lifetime >= 1) return lifetime;
  throw invalidField(field, `${field} is invalid; '${text}' is not more than nothing`);
}

/** What it looks like, as a pattern for the API's document. */
export const LIFETIME_PATTERN = `^${NEVER_WORD}$|${DURATION_PATTERN}`;

/** Refuses values that a queue cannot have, in the order that clients rely on. */
export function checkSettings(settings: Settings, limits: Limits): void {
  for (const [key, row] of SETTING_ROWS) {
    const problem = problemOf(row, settings[key], limits);
    if (problem !== undefined) throw invalidField(fieldOf(key, row), problem);
  }
  checkOrder(settings);
}

function problemOf(row: SettingRow, value: SettingValue, limits?: Limits): string | undefined {
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
    case "factor":
      if (+value >= row.min && +value <= row.max) return undefined;
      return `${row.called} is invalid; '${value}' is not between ${row.min} and ${row.max}`;
    case "choice":
      if (row.values.includes(value as string)) return undefined;
      return `${row.called} is invalid; '${value}' is not one of ${row.values.join(", ")}`;
    case "flag":
      return undefined;
    case "duration": {
      const { called, min = 1, max = Number.POSITIVE_INFINITY } = row;
      if (+value > max)
        return `${called} is invalid; cannot be greater than ${formatDuration(max)}`;
      if (+value >= min) return undefined;
      return `${called} is invalid; cannot be ${+value < 0 ? "negative" : "empty"}`;
    }
  }
}

/** The most that a count may be, or the bytes of a text or a name. */
export function maxOf(
  row: CountRow | FactorRow | TextRow | NameRow,
  limits: Limits | undefined,
): number {
  if (row.kind === "factor") return row.max;
  if (row.kind !== "count") return row.bytesMax;
  return row.limit === undefined || limits === undefined ? row.max : limits[row.limit];
}

/** An item must not expire before its first lease could end. */
export function checkOrder({ leaseTimeout, expireTimeout }: Settings): void {
  if (leaseTimeout <= expireTimeout) return;
  throw invalidField(
    "lease_timeout",
    `lease timeout is too long; ${formatDuration(leaseTimeout)} cannot be greater than the expire timeout ${formatDuration(expireTimeout)}`,
  );
}

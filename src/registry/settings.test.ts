// The table of settings, held against the fields that carry them, and what it makes of old records.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ScalarType } from "@bufbuild/protobuf";
import { QueueInfoSchema } from "../codec/gen/querator/v1/queues_pb.ts";
import {
  QueueInfoSchema as InfoV2,
  QueuesCreateRequestSchema,
  QueuesUpdateRequestSchema,
} from "../codec/gen/querator/v2/queues_pb.ts";
import { DEFAULT_LIMITS } from "../limits.ts";
import {
  changeOfV1,
  checkSettings,
  fieldOf,
  readChange,
  readNamed,
  readSettings,
  readV1,
  rulesOf,
  SETTING_ROWS,
  type SettingRow,
  type Settings,
  showSettings,
  withDefaults,
} from "./settings.ts";

const TYPES: Readonly<Record<SettingRow["kind"], ScalarType>> = {
  count: ScalarType.INT32,
  factor: ScalarType.DOUBLE,
  flag: ScalarType.BOOL,
  duration: ScalarType.STRING,
  text: ScalarType.STRING,
  name: ScalarType.STRING,
  choice: ScalarType.STRING,
};

const DEFAULTS = withDefaults({} as Settings);

test("every setting is a field of what holds settings, of the type of its kind", () => {
  const messages = [QueueInfoSchema, InfoV2, QueuesCreateRequestSchema, QueuesUpdateRequestSchema];
  for (const { field, typeName } of messages) {
    for (const [key, row] of SETTING_ROWS) {
      if (row.isNew === true && typeName === QueueInfoSchema.typeName) continue;
      const fields = new Map(Object.values(field).map((each) => [each.jsonName, each]));
      const [name, inner] = fieldOf(key, row).split(".") as [string, string?];
      const outer = fields.get(name);
      const found =
        inner === undefined
          ? outer
          : outer?.message?.fields.find(({ jsonName }) => jsonName === inner);
      assert.equal(found?.scalar, TYPES[row.kind], `${typeName}.${key}`);
    }
  }
});

test("settings travel both ways", () => {
  const shown = showSettings(DEFAULTS);
  assert.deepEqual([shown.leaseTimeout, shown.expireTimeout], ["1m0s", "876000h0m0s"]);
  assert.deepEqual(readSettings(shown), DEFAULTS);
});

test("a record that is older than a setting has its default", () => {
  const { reference: _, ...old } = { ...DEFAULTS, maxAttempts: 3 };
  assert.deepEqual(withDefaults(old as Settings), { ...DEFAULTS, maxAttempts: 3 });
});

test("an update keeps what is not given only where a value is needed", () => {
  const none = readSettings({ ...showSettings(DEFAULTS), leaseTimeout: "", expireTimeout: "" });
  const old = { ...DEFAULTS, maxAttempts: 3, reference: "r", requestedPartitions: 2 };
  const said = showSettings(DEFAULTS);
  const change = changeOfV1({ ...none, requestedPartitions: 0, name: "q" }, said);
  assert.deepEqual({ ...old, ...change }, { ...DEFAULTS, requestedPartitions: 2, name: "q" });
});

test("under /v2 what is not named has its default, or is not changed", () => {
  const nothing = Object.fromEntries(SETTING_ROWS.map(([key]) => [key, undefined]));
  const named = nothing as Parameters<typeof readNamed>[0];
  assert.deepEqual(readNamed(named), DEFAULTS);
  assert.deepEqual(readChange(named), {});
  const some = { ...named, maxAttempts: 0, leaseTimeout: "", expireTimeout: "never" };
  assert.deepEqual(readChange(some), {
    maxAttempts: 0,
    leaseTimeout: 0,
    expireTimeout: DEFAULTS.expireTimeout,
  });
});

test("the rules of queues are of one shape, in whatever order records have them", () => {
  const backwards = Object.fromEntries(Object.entries(DEFAULTS).toReversed()) as Settings;
  const rules = (settings: Settings) => rulesOf({ ...settings, namespace: "_system" });
  assert.deepEqual(Object.entries(rules(backwards)), Object.entries(rules(DEFAULTS)));
});

test("defaults pass the checks, and the server's limit bounds partitions", () => {
  const limits = { ...DEFAULT_LIMITS, partitions: 7 };
  checkSettings(DEFAULTS, limits);
  assert.throws(() => checkSettings({ ...DEFAULTS, requestedPartitions: 8 }, limits), {
    message: "partitions is invalid; cannot be greater than 7",
  });
});

test("a client of /v1 changes nothing that /v1 does not know", () => {
  const { reference: _, ...known } = showSettings(DEFAULTS);
  const settings = { ...readV1(known), maxAttempts: 3, name: "q" };
  const change = changeOfV1(settings, known);
  assert.equal("reference" in change, false);
  assert.equal(change.maxAttempts, 3);
  assert.equal(readV1(known).reference, "");
});

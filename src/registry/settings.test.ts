// The table of settings, held against the fields that carry them, and what it makes of old records.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ScalarType } from "@bufbuild/protobuf";
import { QueueInfoSchema } from "../codec/gen/querator/v1/queues_pb.ts";
import { DEFAULT_LIMITS } from "../limits.ts";
import {
  checkSettings,
  mergeSettings,
  readSettings,
  rulesOf,
  SETTING_ROWS,
  type Settings,
  showSettings,
  withDefaults,
  withMarks,
} from "./settings.ts";

const DEFAULTS = withDefaults({} as Settings);

test("every setting is a field of QueueInfo, of the type of its kind", () => {
  for (const [key, { kind }] of SETTING_ROWS) {
    const field = QueueInfoSchema.field[key];
    assert.equal(field?.scalar, kind === "count" ? ScalarType.INT32 : ScalarType.STRING, key);
    assert.equal(field.jsonName, withMarks(key, "_"));
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
  assert.deepEqual(mergeSettings(old, { ...none, requestedPartitions: 0 }), {
    ...DEFAULTS,
    requestedPartitions: 2,
  });
});

test("the rules of queues are of one shape, in whatever order records have them", () => {
  const backwards = Object.fromEntries(Object.entries(DEFAULTS).toReversed()) as Settings;
  assert.deepEqual(Object.entries(rulesOf(backwards)), Object.entries(rulesOf(DEFAULTS)));
});

test("defaults pass the checks, and the server's limit bounds partitions", () => {
  const limits = { ...DEFAULT_LIMITS, partitions: 7 };
  checkSettings(DEFAULTS, limits);
  assert.throws(() => checkSettings({ ...DEFAULTS, requestedPartitions: 8 }, limits), {
    message: "partitions is invalid; cannot be greater than 7",
  });
});

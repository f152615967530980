// The files of TLS are looked at from time to time: what they hold anew is used, and what cannot be used is told of once.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { Authority, contents, NO_OPENSSL } from "../../test/support/certificates.ts";
import { SECOND, VirtualClock } from "../clock.ts";
import type { Logger } from "../log.ts";
import { Certificates } from "./certificates.ts";

test("files that change are used without being asked to, once they fit together", {
  skip: NO_OPENSSL,
}, async (t) => {
  const authority = new Authority(t);
  const pair = authority.sign("server");
  const next = contents(authority.sign("next"));
  const errors: object[] = [];
  const log = { info() {}, warn() {}, error: (fields: object) => void errors.push(fields) };
  const clock = new VirtualClock();
  const config = {
    ...pair,
    minVersion: "1.2",
    clientCa: undefined,
    clientAuth: "required",
  } as const;
  const certificates = new Certificates({ config, clock, log: log as unknown as Logger });
  const used: Uint8Array[] = [];
  certificates.follow(async ({ cert }) => void used.push(cert));
  t.after(() => certificates.stop());
  const look = async (): Promise<void> => {
    clock.advance(5 * SECOND);
    // All that a look does, for none of it waits for anything outside.
    for (let i = 0; i < 20; i++) await Promise.resolve();
  };

  await look();
  assert.deepEqual([used, errors], [[], []]);
  writeFileSync(pair.cert, next.cert);
  await look();
  assert.deepEqual([used, errors], [[], []], "the key may come yet");
  for (let i = 0; i < 3; i++) await look();
  assert.deepEqual([used.length, errors.length], [0, 1], "it did not, which is told once");
  writeFileSync(pair.key, next.key);
  await look();
  assert.deepEqual(used, [next.cert]);
  assert.deepEqual([Buffer.from(certificates.material.key), errors.length], [next.key, 1]);
});

// Whether the server is well: its records can be read, and its partitions work.

import type { Health } from "../api/pages.ts";
import { plainError } from "../errors.ts";
import type { Failing } from "../registry/homes.ts";
import type { Queues } from "../registry/queues.ts";
import type { Storage } from "../storage/storage.ts";
import { VERSION } from "../version.ts";
import type { ServerMode } from "./mode.ts";

const HEALTH_MS = 5_000;

/** What is looked at, as far as it is open. */
export interface HealthParts {
  readonly queues: Queues | undefined;
  readonly mode: ServerMode;
}

/** Fails if records cannot be read or no partition works; warns if some partitions do not. */
export async function checkHealth(
  records: Storage | undefined,
  parts: HealthParts,
): Promise<Health> {
  const { queues, mode } = parts;
  let status: "pass" | "warn" | "fail";
  let output: string;
  try {
    if (mode.name === "stopping") throw plainError("shutting_down");
    if (mode.reason !== undefined) throw new Error(`on standby: ${mode.reason}`);
    [status, output] = judge(await within(HEALTH_MS, queues!.failing()));
    await within(HEALTH_MS, records!.check()).catch((cause: unknown) => {
      throw new Error("storage check failed", { cause });
    });
  } catch (error) {
    [status, output] = ["fail", (error as Error).message];
  }
  const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const check = { componentType: "datastore", status, time, ...(output === "" ? {} : { output }) };
  const body = JSON.stringify({ status, version: VERSION, checks: { "queues:storage": [check] } });
  return { pass: status !== "fail", status, body };
}

function judge(failing: Failing): ["pass" | "warn" | "fail", string] {
  const { partitions, total, storages, troubles } = failing;
  if (partitions === 0) return [troubles.length === 0 ? "pass" : "warn", troubles.join("; ")];
  const output = `${partitions} of ${total} partitions are failing, in ${storages.join(", ")}`;
  return [partitions === total ? "fail" : "warn", [output, ...troubles].join("; ")];
}

/** Rejects if the work takes longer. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no end after ${ms} ms`)), ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

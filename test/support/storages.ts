// Where a server of a test keeps its data, by the name of the driver: always a place of the test's
// own, which goes with it. For tests that say the same of every storage.

import type { TestContext } from "node:test";
import type { ServerOptions } from "../../src/config/config.ts";
import { testSchema } from "./postgres.ts";
import { temporaryDirectory } from "./server.ts";

export type Driver = "memory" | "sqlite" | "postgres";

/** The options of a server that keeps its data in a fresh place; a second one finds it there. */
export async function freshPlace(t: TestContext, driver: Driver): Promise<ServerOptions> {
  switch (driver) {
    case "memory":
      return { memory: true };
    case "sqlite":
      return { dataDir: temporaryDirectory(t) };
    case "postgres":
      return { postgres: await testSchema(t) };
  }
}

/** Where a queue may live, with how many threads: what every one of them must do alike. */
export const PLACES = [
  ["memory", "memory", 1],
  ["sqlite", "sqlite", 1],
  ["sqlite with several threads", "sqlite", 3],
  ["postgres", "postgres", 1],
] as const;

// The quick form of crash.ts: a few deaths of each kind.

import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { Api } from "../support/api.ts";
import { freshSeed, Random } from "../support/random.ts";
import { makeScratch, removeScratch } from "../support/scratch.ts";
import { ServerProcess } from "../support/server-process.ts";
import { accessMode } from "./access-mode.ts";
import { databaseMode, failOver, killOverPostgres } from "./database-modes.ts";
import type { DiskFault } from "./disk-faults.ts";
import { failingDisk } from "./disk-mode.ts";
import { keysMode } from "./keys-mode.ts";
import { killMode } from "./kill-mode.ts";
import { BLIND_CUTS, cutUnderLoad } from "./power-mode.ts";
import { NoCompiler, PowerCut } from "./powercut.ts";
import { redriveApartMode, redriveMode } from "./redrive-mode.ts";
import { termMode } from "./term-mode.ts";

const seed = freshSeed();
const common = { seed, lifeMs: 400, paceMs: 20, mounts: false, progress };

const ONCE = { times: 1, skip: 0, error: "EIO", drops: true, keeps: 0 } as const;
const FAULTS: readonly Partial<DiskFault>[] = [
  { ...ONCE, calls: ["sync"], files: ["log"] },
  { ...ONCE, calls: ["write"], files: ["log"], error: "ENOSPC" },
  { ...ONCE, calls: ["sync"], files: ["log"], times: 2, drops: false },
];

// Says only where data was left that shows a failure.
function progress(text: string): void {
  if (text.includes("is kept in")) process.stderr.write(`${text}\n`);
}

// The power cut needs a C compiler.
async function unlessNoCompiler(t: TestContext, play: () => Promise<void>): Promise<void> {
  try {
    await play();
  } catch (error) {
    if (!(error instanceof NoCompiler)) throw error;
    t.skip(error.message);
  }
}

describe("a real server under load", { concurrency: true }, () => {
  test("loses nothing when it is killed", async () => {
    const { violations } = await killMode({ ...common, kills: 2 });
    assert.deepEqual(violations.slice(0, 5), [], `node test/crash/crash.ts --seed ${seed}`);
  });

  test("loses and doubles nothing that is redriven when it is killed", async () => {
    const { violations } = await redriveMode({ ...common, kills: 3 });
    assert.deepEqual(violations.slice(0, 5), [], `crash.ts --mode redrive --seed ${seed}`);
  });

  test("loses and doubles nothing that is redriven to another storage when it is killed", async () => {
    const { violations } = await redriveApartMode({ ...common, kills: 3 });
    assert.deepEqual(violations.slice(0, 5), [], `crash.ts --mode redrive-apart --seed ${seed}`);
  });

  test("keeps unique keys, cancels, results and what follows a complete when it is killed", async () => {
    const { violations } = await keysMode({ ...common, kills: 1 });
    assert.deepEqual(violations.slice(0, 5), [], `crash.ts --mode keys --seed ${seed}`);
  });

  test("lets nobody in again whose key is gone, and everybody whose key was made, when it is killed", async () => {
    const { violations } = await accessMode({ ...common, kills: 2 });
    assert.deepEqual(violations.slice(0, 5), [], `crash.ts --mode access --seed ${seed}`);
  });

  test("answers or closes everything when it is stopped, and loses nothing", async () => {
    const { violations } = await termMode({ ...common, kills: 1 });
    assert.deepEqual(violations.slice(0, 5), [], `node test/crash/crash.ts --seed ${seed}`);
  });

  test("loses nothing when the power is cut", (t) =>
    unlessNoCompiler(t, async () => {
      const { violations } = await cutUnderLoad({ ...common, kills: 1, ignoresSync: false });
      assert.deepEqual(violations.slice(0, 5), [], `crash.ts --mode power --seed ${seed}`);
    }));

  test("syncs every commit after one before it that synced now and then was killed", (t) =>
    unlessNoCompiler(t, async () => {
      const directory = makeScratch();
      const dataDir = join(directory, "data");
      let server: ServerProcess | undefined;
      const start = async (env: Readonly<Record<string, string>>): Promise<Api> => {
        server = new ServerProcess({ dataDir, env });
        await server.ready;
        return new Api(server.port);
      };
      try {
        const power = new PowerCut({ directory, dataDir, random: new Random(seed) });
        const before = await start({ QUERATOR_SYNC: "interval" });
        await before.ok("queues.create", {
          queue_name: "jobs",
          lease_timeout: "1m",
          expire_timeout: "1h",
          requested_partitions: 1,
        });
        await server!.kill();
        power.prepare();
        const after = await start({ ...power.env(), QUERATOR_SYNC: "full" });
        await after.ok("queue.produce", {
          queue_name: "jobs",
          request_timeout: "10s",
          items: [{ utf8: "kept" }],
        });
        await server!.kill();
        power.cut("nothing");
        const last = await start({});
        const { items = [] } = await last.ok("storage/items.list", {
          queue_name: "jobs",
          limit: 10,
        });
        assert.deepEqual(
          items.map(({ payload }: { readonly payload: string }) => atob(payload)),
          ["kept"],
        );
      } finally {
        await server?.kill();
        removeScratch(directory);
      }
    }));

  for (const sync of ["full", "interval"] as const) {
    test(`works again after calls of its disk have failed, and loses nothing it must not (sync: ${sync})`, (t) =>
      unlessNoCompiler(t, async () => {
        const options = { ...common, kills: FAULTS.length, sync, faults: FAULTS };
        const { violations } = await failingDisk(options);
        assert.deepEqual(violations.slice(0, 5), [], `crash.ts --mode disk --seed ${seed}`);
      }));
  }

  test("would lose something when the power is cut if it did not sync", (t) =>
    unlessNoCompiler(t, async () => {
      const options = { ...common, kills: BLIND_CUTS, ignoresSync: true };
      assert.notDeepEqual((await cutUnderLoad(options)).violations, []);
    }));
});

describe("a real server over PostgreSQL under load", { concurrency: true }, () => {
  const repeat = `node test/crash/crash.ts --storage postgres --mode all --seed ${seed}`;

  test("loses nothing when it is killed", async () => {
    const { violations } = await killOverPostgres({ ...common, kills: 1 });
    assert.deepEqual(violations.slice(0, 5), [], repeat);
  });

  test("loses nothing when the database is killed, and goes on by itself", async () => {
    const { violations } = await databaseMode({ ...common, kills: 2 });
    assert.deepEqual(violations.slice(0, 5), [], repeat);
  });

  test("loses nothing when a synchronous standby takes over", async () => {
    const { violations } = await failOver({ ...common, kills: 1, isSynchronous: true });
    assert.deepEqual(violations.slice(0, 5), [], repeat);
  });

  test("would lose something if the standby were not synchronous", async () => {
    const { violations } = await failOver({ ...common, kills: 1, isSynchronous: false });
    assert.notDeepEqual(violations, []);
  });
});

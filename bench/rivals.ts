// Other queues over PostgreSQL, for the load generator: the bare `SKIP LOCKED` queue that people
// write themselves, pg-boss and graphile-worker, each with the settings that were best for it here
// and with its calls for batches. All wait for durable commits, as the server does by default.

import { Logger, makeWorkerUtils, type Runner, run } from "graphile-worker";
import pg from "pg";
import PgBoss from "pg-boss";
import type { Consumer, Leased, Producer, Target } from "./target.ts";

// Of 8, 16, 32 and 64, which were tried on two cores: what was fastest for each.
const CONNECTIONS = { bareSingle: 64, bareBatch: 16, pgBoss: 16, graphile: 8 } as const;
const POLL_MS = 2;

export const RIVALS = {
  "skip-locked": skipLocked,
  "skip-locked, one transaction": skipLockedInTransaction,
  "pg-boss": pgBoss,
  "graphile-worker": graphileWorker,
} as const satisfies Record<string, (url: string, batch: number) => Promise<Target>>;

export type RivalName = keyof typeof RIVALS;

const close = (): void => undefined;

const wait = (): Promise<"none"> =>
  new Promise((resolve) => setTimeout(() => resolve("none"), POLL_MS));

// --- a table of one's own ---

async function openTable(url: string, batch: number): Promise<pg.Pool> {
  const max = batch === 1 ? CONNECTIONS.bareSingle : CONNECTIONS.bareBatch;
  const pool = new pg.Pool({ connectionString: url, max });
  await pool.query(`
    DROP TABLE IF EXISTS jobs;
    CREATE TABLE jobs (
      id bigserial PRIMARY KEY,
      queue text NOT NULL,
      leased_until timestamptz NOT NULL DEFAULT '-infinity',
      attempts int NOT NULL DEFAULT 0,
      payload text NOT NULL
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0,
      autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0)`);
  return pool;
}

interface Job {
  readonly id: string;
  readonly payload: string;
}

function intoTable(pool: pg.Pool): Producer {
  return {
    async produce(queue, payloads) {
      const text = "INSERT INTO jobs (queue, payload) SELECT $1, unnest($2::text[])";
      await pool.query({ name: "produce", text, values: [queue, payloads] });
      return true;
    },
    close,
  };
}

const REMOVE = "DELETE FROM jobs WHERE id = ANY($1::bigint[])";
const byId = (a: Job, b: Job): number => Number(a.id) - Number(b.id);

// A lease is a mark with a time in it, as ours is.
async function skipLocked(url: string, batch: number): Promise<Target> {
  const pool = await openTable(url, batch);
  const text = `
    UPDATE jobs SET leased_until = now() + interval '5 minutes', attempts = attempts + 1
    WHERE id = ANY(ARRAY(
      SELECT id FROM jobs WHERE queue = $1 AND leased_until < now()
      ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING id, payload`;
  return {
    completesLate: false,
    async createQueue() {},
    async producer() {
      return intoTable(pool);
    },
    async consumer(queue) {
      return {
        async lease() {
          const { rows } = await pool.query<Job>({ name: "lease", text, values: [queue, batch] });
          if (rows.length === 0) return wait();
          rows.sort(byId);
          return {
            heads: rows.map(({ payload }) => payload),
            async complete() {
              const values = [rows.map(({ id }) => id)];
              const { rowCount } = await pool.query({ name: "remove", text: REMOVE, values });
              return rowCount === rows.length;
            },
          };
        },
        close,
      };
    },
    close: () => pool.end(),
  };
}

// The consumer holds a transaction open while it works: one commit in place of two, but a
// connection for each worker, and a lease that ends with it.
async function skipLockedInTransaction(url: string, batch: number): Promise<Target> {
  const pool = await openTable(url, batch);
  const text = `SELECT id, payload FROM jobs WHERE queue = $1
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED`;
  return {
    completesLate: false,
    async createQueue() {},
    async producer() {
      return intoTable(pool);
    },
    async consumer(queue) {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      const lease = async (): Promise<Leased | "none"> => {
        await client.query("BEGIN");
        const { rows } = await client.query<Job>({ name: "lease", text, values: [queue, batch] });
        if (rows.length === 0) {
          await client.query("COMMIT");
          return wait();
        }
        return {
          heads: rows.map(({ payload }) => payload),
          async complete() {
            await client.query({ name: "remove", text: REMOVE, values: [rows.map((r) => r.id)] });
            await client.query("COMMIT");
            return true;
          },
        };
      };
      return { lease, close: () => void client.end() };
    },
    close: () => pool.end(),
  };
}

// --- pg-boss ---

async function pgBoss(url: string, batch: number): Promise<Target> {
  const boss = new PgBoss({ connectionString: url, max: CONNECTIONS.pgBoss, schedule: false });
  boss.on("error", (error: Error) => process.stderr.write(`pg-boss: ${error.message}\n`));
  await boss.start();
  return {
    completesLate: false,
    createQueue: (name) => boss.createQueue(name),
    async producer() {
      return {
        async produce(name, payloads) {
          const jobs = payloads.map((payload) => ({ name, data: { payload } }));
          if (jobs.length === 1) await boss.send(jobs[0]!);
          else await boss.insert(jobs);
          return true;
        },
        close,
      };
    },
    async consumer(queue) {
      return {
        async lease() {
          // Order by priority is of no use here, and costs an index.
          const how = { batchSize: batch, priority: false };
          const jobs = await boss.fetch<{ payload: string }>(queue, how);
          if (jobs.length === 0) return wait();
          const ids = jobs.map(({ id }) => id);
          return {
            heads: jobs.map(({ data }) => data.payload),
            async complete() {
              await boss.complete(queue, ids);
              return true;
            },
          };
        },
        close,
      };
    },
    close: () => boss.stop({ graceful: false, close: true, wait: true }),
  };
}

// --- graphile-worker ---

interface Running {
  readonly payload: string;
  readonly done: () => void;
}

// Its jobs come to a function; here they wait in it until a consumer of the load generator takes and
// completes them. It fetches and completes many jobs in one statement by itself.
async function graphileWorker(url: string, batch: number): Promise<Target> {
  const running: Running[] = [];
  const pgPool = new pg.Pool({ connectionString: url, max: CONNECTIONS.graphile });
  const logger = new Logger(() => () => undefined);
  const adds = await makeWorkerUtils({ pgPool, logger });
  await adds.migrate();
  const runners: Runner[] = [];
  const start = async (queue: string): Promise<void> => {
    const runner = await run({
      pgPool,
      logger,
      noHandleSignals: true,
      taskList: {
        [queue]: (data) =>
          new Promise<void>((done) => {
            running.push({ payload: (data as { payload: string }).payload, done });
          }),
      },
      preset: {
        worker: {
          concurrentJobs: batch === 1 ? 64 : 1_000,
          pollInterval: 200,
          localQueue: { size: batch === 1 ? 128 : 2_000 },
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
        },
      },
    });
    runners.push(runner);
  };
  const consume = (): Consumer => ({
    async lease() {
      if (running.length === 0) return wait();
      const mine = running.splice(0, batch);
      return {
        heads: mine.map(({ payload }) => payload),
        async complete() {
          for (const { done } of mine) done();
          return true;
        },
      };
    },
    close,
  });
  return {
    completesLate: true,
    createQueue: start,
    async producer() {
      return {
        async produce(identifier, payloads) {
          const [payload] = payloads;
          if (payloads.length === 1) await adds.addJob(identifier, { payload });
          else
            await adds.addJobs(
              payloads.map((each) => ({ identifier, payload: { payload: each } })),
            );
          return true;
        },
        close,
      };
    },
    async consumer() {
      return consume();
    },
    async close() {
      for (const runner of runners) await runner.stop();
      await adds.release();
      await pgPool.end();
    },
  };
}

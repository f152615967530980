// A whole run of the fuzzer: several servers side by side, each with a warm-up and then batches until
// the time is over; at the end a server holds no more memory than after the warm-up, once everything
// was deleted and its garbage collected.

import { setTimeout as sleep } from "node:timers/promises";
import { type Holdings, megabytes, usedBytes } from "../support/holdings.ts";
import type { ProofResult } from "../support/program.ts";
import { Random } from "../support/random.ts";
import { ServerProcess, type StorageKind } from "../support/server-process.ts";
import { allEndpoints } from "./endpoints.ts";
import { Findings } from "./findings.ts";
import { FuzzSession, type SessionOptions } from "./fuzz-session.ts";

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
  /** The end of the path of the only endpoint to fuzz. */
  readonly endpoint?: string;
  readonly progress: (text: string) => void;
}

/** Servers that are fuzzed at the same time: much of it is waiting. */
const LANES = ["memory", "memory", "sqlite"] as const;
const WARM_UP = 0.3;

// What may be added after the warm-up: caches, compiled code, pages of SQLite, fragments.
const HEAP_FACTOR = 1.5;
const HEAP_SLACK = 40_000_000;
const RSS_FACTOR = 2;
const RSS_SLACK = 300_000_000;
// How long deleted queues may take until their rows are gone.
const SWEEP_MS = 200;

/** Fuzzes for as long as it is told; answers what is wrong. */
export async function fuzz(options: FuzzOptions): Promise<ProofResult> {
  const all = await allEndpoints();
  const { endpoint = "" } = options;
  const endpoints = all.filter(({ path }) => path.endsWith(endpoint));
  if (endpoints.length === 0)
    throw new Error(`there is no endpoint whose path ends in ${endpoint}`);
  const findings = new Findings();
  const memory = await Promise.all(
    LANES.map(async (storage, lane) => {
      const session = { endpoints, all, random: new Random(options.seed + lane), findings };
      return `${storage} ${await fuzzServer(storage, options, session)}`;
    }),
  );
  for (const path of findings.neverAccepted) {
    findings.found({ kind: `${path} never accepts anything`, detail: "the fuzzer is blind" }, []);
  }
  const figures = `${findings.figures}, memory held ${memory.join(", ")}`;
  return { failures: findings.report, figures };
}

// Answers what the server held, for the summary.
async function fuzzServer(
  storage: StorageKind,
  { seconds, progress }: FuzzOptions,
  options: SessionOptions,
): Promise<string> {
  const server = await ServerProcess.start({ storage, isObserved: true });
  const session = new FuzzSession(server, options);
  const start = performance.now();
  const { findings } = options;
  try {
    await session.renew();
    let warm: Holdings | undefined;
    for (let told = 0; ; ) {
      const elapsed = (performance.now() - start) / 1000;
      if (warm === undefined && elapsed > seconds * WARM_UP) warm = await atRest(server, session);
      if (elapsed > seconds) break;
      if (!(await session.batch())) return "unknown, it has broken off";
      if (elapsed - told > 5) {
        told = elapsed;
        const found = `${findings.list.length} findings, ${megabytes(server.rss)}`;
        progress(`${storage}: ${Math.round(elapsed)} s, ${findings.inputs} inputs, ${found}`);
      }
    }
    const end = await atRest(server, session);
    judgeMemory(storage, warm ?? end, end, findings);
    return `${megabytes(usedBytes(warm ?? end))} warm, ${megabytes(usedBytes(end))} at the end`;
  } catch (error) {
    const detail = `${(error as Error).message}; the server: ${server.end ?? "is there"}`;
    findings.found({ kind: `the run on ${storage} broke off`, detail }, []);
    return "unknown";
  } finally {
    session.close();
    await server.dispose();
  }
}

async function atRest(server: ServerProcess, session: FuzzSession): Promise<Holdings> {
  await session.renew().catch(() => undefined);
  await sleep(SWEEP_MS);
  return server.holdings();
}

function judgeMemory(storage: string, warm: Holdings, end: Holdings, findings: Findings): void {
  const grows =
    usedBytes(end) > usedBytes(warm) * HEAP_FACTOR + HEAP_SLACK ||
    end.rss > warm.rss * RSS_FACTOR + RSS_SLACK;
  if (!grows) return;
  const figures = `${JSON.stringify(warm)} after the warm-up, ${JSON.stringify(end)} at the end`;
  findings.found({ kind: `memory of the server grows, on ${storage}`, detail: figures }, []);
}

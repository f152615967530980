// A load test of a server: producers put numbered items into a queue of its own, consumers lease
// and complete them, and every item is waited for, so that one that is lost or comes twice is told.
// It touches no queue that was there before, and takes its own away at the end.

import { randomBytes } from "node:crypto";
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import type { LeasedItem } from "@querator/client";
import type { Command } from "commander";
import { type Clock, MILLISECOND, SECOND } from "../clock.ts";
import { durationOption, whole } from "./arguments.ts";
import { CommandError } from "./failure.ts";
import { type Column, jsonText } from "./output.ts";
import { Progress } from "./progress.ts";
import { type Session, withSession } from "./session.ts";
import { count } from "./text.ts";

// How long items that were produced are waited for at the end.
const DRAIN_MS_MAX = 30_000;
const BAR_COLUMNS = 40;
const PERCENTILES = [50, 90, 99, 99.9] as const;

interface BenchOptions {
  readonly duration: number;
  readonly producers: number;
  readonly consumers: number;
  readonly batchSize: number;
  readonly payloadBytes: number;
  readonly partitions: number;
  readonly unfinished: number;
  readonly queue?: string;
}

export function addBenchCommand(program: Command): void {
  program
    .command("bench")
    .description("put load on a server and measure it")
    .addOption(durationOption("--duration <time>", "how long items are produced", "10s"))
    .option("--producers <n>", "callers that produce", whole(1, 10_000), 16)
    .option("--consumers <n>", "callers that lease and complete", whole(1, 10_000), 16)
    .option("-b, --batch-size <n>", "items of one call", whole(1, 1_000), 1)
    .option("--payload-bytes <n>", "size of a payload", whole(0, 4_000_000), 100)
    .option("--partitions <n>", "partitions of the queue", whole(1), 1)
    .option("--unfinished <n>", "unfinished items at which producers pause", whole(1), 1_000)
    .option("--queue <name>", "the queue to make; one with a random name if it is left out")
    .addHelpText(
      "after",
      `
The queue must not be there yet; it is deleted at the end. Calls that are made at the same time
travel together, as in any program that uses the client. Latencies are those that callers see; end
to end is from the call of produce to the end of complete. Ends with 1 if an item is lost or comes
twice.

Example:
  querator bench --duration 30s -b 10`,
    )
    .action(withSession(bench));
}

/** What is measured, in microseconds. */
class Latencies {
  readonly produce = createHistogram();
  readonly lease = createHistogram();
  readonly complete = createHistogram();
  readonly endToEnd = createHistogram();
}

class Run {
  readonly latencies = new Latencies();
  completed = 0;
  twice = 0;
  /** When each unfinished item was produced, by its number. */
  readonly #unfinished = new Map<number, number>();
  #produced = 0;
  #isProducing = true;
  #room = Promise.withResolvers<void>();
  readonly #drained = new AbortController();
  readonly #session: Session;
  readonly #queue: string;
  readonly #options: BenchOptions;

  constructor(session: Session, queue: string, options: BenchOptions) {
    this.#session = session;
    this.#queue = queue;
    this.#options = options;
  }

  get lost(): number {
    return this.#unfinished.size;
  }

  /** Runs the load to its end; answers how long it took, in seconds. */
  async go(progress: Progress): Promise<number> {
    const { clock, sleep } = this.#session;
    const { producers, consumers, duration } = this.#options;
    const from = clock.steady();
    const until = from + duration * MILLISECOND;
    const failed = Promise.withResolvers<never>();
    const guard = (work: Promise<void>): Promise<void> => {
      work.catch(failed.reject);
      return work;
    };
    failed.promise.catch(() => undefined);
    const consuming = Array.from({ length: consumers }, () => guard(this.#consume()));
    const producing = Array.from({ length: producers }, () => guard(this.#produce()));
    try {
      while (clock.steady() < until) {
        await Promise.race([
          sleep(Math.min(100, (until - clock.steady()) / MILLISECOND)),
          failed.promise,
        ]);
        progress.update(this.completed, undefined, (clock.steady() - from) / (until - from));
      }
      this.#isProducing = false;
      this.#room.resolve();
      await Promise.race([Promise.all(producing), failed.promise]);
      const drainUntil = clock.steady() + DRAIN_MS_MAX * MILLISECOND;
      while (this.#unfinished.size > 0 && clock.steady() < drainUntil) {
        await Promise.race([sleep(5), failed.promise]);
      }
      return (clock.steady() - from) / SECOND;
    } finally {
      this.#isProducing = false;
      this.#room.resolve();
      this.#drained.abort(new Error("all is done"));
      await Promise.allSettled([...producing, ...consuming]);
    }
  }

  async #produce(): Promise<void> {
    const { client, clock, signal } = this.#session;
    const { batchSize, payloadBytes, unfinished } = this.#options;
    const payload = "x".repeat(payloadBytes);
    while (this.#isProducing && !signal.aborted) {
      if (this.#unfinished.size >= unfinished) {
        await this.#room.promise;
        continue;
      }
      const at = clock.steady();
      const items = Array.from({ length: batchSize }, () => {
        this.#unfinished.set(++this.#produced, at);
        return { payload, reference: String(this.#produced) };
      });
      await client.produce(this.#queue, items, { signal });
      record(this.latencies.produce, clock, at);
    }
  }

  async #consume(): Promise<void> {
    const { client, clock, signal } = this.#session;
    const { batchSize } = this.#options;
    const end = AbortSignal.any([signal, this.#drained.signal]);
    while (!end.aborted) {
      const from = clock.steady();
      let items: LeasedItem[];
      try {
        items = await client.lease(this.#queue, { batchSize, signal: end });
      } catch (error) {
        if (this.#drained.signal.aborted) return;
        throw error;
      }
      if (items.length === 0) continue;
      const leased = clock.steady();
      record(this.latencies.lease, clock, from);
      await client.complete(this.#queue, items, { signal });
      record(this.latencies.complete, clock, leased);
      for (const { reference } of items) this.#finish(Number(reference));
    }
  }

  #finish(number: number): void {
    const at = this.#unfinished.get(number);
    if (at === undefined) {
      this.twice++;
      return;
    }
    this.#unfinished.delete(number);
    this.completed++;
    record(this.latencies.endToEnd, this.#session.clock, at);
    if (this.#unfinished.size < this.#options.unfinished) {
      this.#room.resolve();
      this.#room = Promise.withResolvers();
    }
  }
}

function record(histogram: RecordableHistogram, clock: Clock, from: number): void {
  histogram.record(Math.max(1, Math.round(clock.steady() - from)));
}

async function bench(session: Session, options: BenchOptions): Promise<void> {
  const { client, out, signal, clock } = session;
  const queue = options.queue ?? `bench-${randomBytes(4).toString("hex")}`;
  await client.queues.create(
    {
      queueName: queue,
      leaseTimeout: "5m",
      expireTimeout: "24h",
      requestedPartitions: options.partitions,
    },
    { signal },
  );
  const run = new Run(session, queue, options);
  const progress = new Progress(clock, "items");
  let seconds: number;
  try {
    seconds = await run.go(progress);
  } finally {
    progress.end();
    // Without the signal: also when the bench was interrupted.
    await client.queues.delete(queue).catch((error: Error) => {
      out.message(`Warning: queue '${queue}' is left behind: ${error.message}`);
    });
  }
  await report(session, run, seconds);
  if (run.lost > 0 || run.twice > 0) {
    throw new CommandError(`${count(run.lost)} items were lost and ${count(run.twice)} came twice`);
  }
}

type Line = readonly [name: string, histogram: RecordableHistogram];

const COLUMNS: readonly Column<Line>[] = [
  { title: "LATENCY", value: ([name]) => name },
  { title: "CALLS", value: ([, { count: calls }]) => count(calls), isRight: true },
  { title: "MEAN", value: ([, { mean }]) => ms(mean), isRight: true },
  ...PERCENTILES.map((percentile) => ({
    title: `P${percentile}`,
    value: ([, histogram]: Line) => ms(histogram.percentile(percentile)),
    isRight: true,
  })),
  { title: "MAX", value: ([, { max }]) => ms(max), isRight: true },
];

async function report({ out }: Session, run: Run, seconds: number): Promise<void> {
  const { produce, lease, complete, endToEnd } = run.latencies;
  const perSecond = Math.round(run.completed / seconds);
  if (out.format !== "table") {
    const result = {
      items: run.completed,
      seconds,
      items_per_second: perSecond,
      lost: run.lost,
      twice: run.twice,
      latencies_ms: Object.fromEntries(
        Object.entries({ produce, lease, complete, end_to_end: endToEnd }).map(
          ([name, histogram]) => [name, summary(histogram)],
        ),
      ),
    };
    await out.write(jsonText(result, out.format));
    return;
  }
  const lines: Line[] = [
    ["produce", produce],
    ["lease", lease],
    ["complete", complete],
    ["end to end", endToEnd],
  ];
  const rate = `${count(perSecond)} a second`;
  const head = `${count(run.completed)} items in ${seconds.toFixed(1)}s, ${rate}`;
  const bars = bucketsOf(endToEnd);
  const most = Math.max(1, ...bars.map(({ calls }) => calls));
  await out.write(
    `${[
      out.style("bold", head),
      "",
      ...out.lines(lines, COLUMNS),
      "",
      out.style("bold", "END TO END"),
      ...bars.map(({ below_ms, calls }) => {
        const bar = "█".repeat(Math.ceil((calls / most) * BAR_COLUMNS));
        const below = `< ${ms(below_ms * 1_000)}`.padStart(10);
        return `${below}  ${count(calls).padStart(9)}  ${bar}`.trimEnd();
      }),
    ].join("\n")}\n`,
  );
}

function ms(micros: number): string {
  if (!Number.isFinite(micros)) return "-";
  const value = micros / 1_000;
  return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : Math.round(value)} ms`;
}

function summary(histogram: RecordableHistogram): object {
  const percentiles = PERCENTILES.map((percentile) => [
    `p${percentile}`,
    histogram.percentile(percentile) / 1_000,
  ]);
  const { mean, max } = histogram;
  return {
    calls: histogram.count,
    mean: Number.isFinite(mean) ? mean / 1_000 : 0,
    ...Object.fromEntries(percentiles),
    max: max / 1_000,
    buckets: bucketsOf(histogram),
  };
}

/** How many calls took less than each power of two, and no less than the one before. */
function bucketsOf(
  histogram: RecordableHistogram,
): { readonly below_ms: number; readonly calls: number }[] {
  if (histogram.count === 0) return [];
  const buckets: { below_ms: number; calls: number }[] = [];
  let before = 0;
  for (
    let below = 2 ** Math.floor(Math.log2(histogram.min)) * 2;
    before < histogram.count;
    below *= 2
  ) {
    const calls = countBelow(histogram, below) - before;
    before += calls;
    buckets.push({ below_ms: below / 1_000, calls });
  }
  return buckets;
}

// The histogram tells what is below a percentile, at its own steps; what is asked here is the other
// way round, and is found by halving.
function countBelow(histogram: RecordableHistogram, micros: number): number {
  if (histogram.max < micros) return histogram.count;
  let least = 0;
  let most = histogram.count;
  while (least < most) {
    const middle = Math.ceil((least + most) / 2);
    if (histogram.percentile((middle / histogram.count) * 100) < micros) least = middle;
    else most = middle - 1;
  }
  return least;
}

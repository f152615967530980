// The load of bench/client.ts, a process of its own: callers that produce one item each, and as many that
// consume one each. Each item has a number, so that one that is lost or doubled is seen. Takes its options
// as JSON in the first argument, prints one JSON line.

import { SUBJECTS, type SubjectName } from "./client-subjects.ts";

export interface ClientLoadOptions {
  readonly subject: SubjectName;
  /** Where the server listens. */
  readonly url: string;
  readonly producers: number;
  readonly consumers: number;
  readonly seconds: number;
  /** Unfinished items at which producers pause. */
  readonly cap: number;
  readonly payloadBytes: number;
}

export interface ClientLoadResult {
  readonly completed: number;
  readonly itemsPerSecond: number;
  readonly lost: number;
  readonly twice: number;
  readonly cpuMs: number;
}

const options = JSON.parse(process.argv[2]!) as ClientLoadOptions;
const { url, consumers } = options;
const queue = `bench-client-${process.pid}`;
const subject = await SUBJECTS[options.subject]({ url, queue, consumers });
const bulk = "bulk" in subject ? (subject.bulk ?? 1) : 1;

const padding = "x".repeat(options.payloadBytes);
const seen = new Set<string>();
let produced = 0;
let completed = 0;
let twice = 0;
let isProducing = true;
// Of those who pause.
let resume: PromiseWithResolvers<void> | undefined;
const done = new AbortController();

async function produce(): Promise<void> {
  while (isProducing) {
    if (produced - completed >= options.cap) {
      resume ??= Promise.withResolvers();
      await resume.promise;
      continue;
    }
    const references: string[] = [];
    for (let i = 0; i < bulk; i++) references.push(String(++produced));
    await subject.produce(references, padding);
  }
}

function goOn(): void {
  resume?.resolve();
  resume = undefined;
}

function take(reference: string): void {
  if (seen.has(reference)) twice++;
  seen.add(reference);
}

function count(): void {
  completed++;
  if (produced - completed < options.cap) goOn();
  if (!isProducing && completed === produced) done.abort();
}

const cpuFrom = process.cpuUsage();
const from = performance.now();
const consuming = subject.consume(take, count, done.signal);
// Whoever produces in bulk stands for as many callers as its items, and twice as many do, so that one bulk
// travels while the next is made.
const callers = bulk === 1 ? options.producers : Math.ceil(options.producers / bulk) * 2;
const producers = Array.from({ length: callers }, produce);
setTimeout(() => {
  isProducing = false;
  goOn();
}, options.seconds * 1_000);
await Promise.all(producers);
if (completed === produced) done.abort();
await consuming;
const seconds = (performance.now() - from) / 1_000;
const cpu = process.cpuUsage(cpuFrom);
const result: ClientLoadResult = {
  completed,
  itemsPerSecond: Math.round(completed / seconds),
  lost: produced - seen.size,
  twice,
  cpuMs: Math.round((cpu.user + cpu.system) / 1_000),
};
await subject.close();
process.stdout.write(`${JSON.stringify(result)}\n`);

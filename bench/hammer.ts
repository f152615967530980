// A tenant that has no manners, a process of its own: it produces from many connections as fast as it is answered,
// whatever it is told. Takes its options as JSON in the first argument, goes on until its input ends, and prints one
// JSON line.

import { setPriority } from "node:os";
import { HttpClient } from "./http-client.ts";

export interface HammerOptions {
  readonly url: string;
  readonly key: string;
  readonly queue: string;
  readonly connections: number;
  /** Items a request. */
  readonly batch: number;
}

export interface HammerResult {
  /** Requests that were let in, and those that were refused with 429. */
  readonly taken: number;
  readonly refused: number;
  /** What was answered otherwise. */
  readonly failed: number;
}

// It would run elsewhere: so it leaves the cores to the server, and to who is measured.
setPriority(19);
const { url, key, queue, connections, batch } = JSON.parse(process.argv[2]!) as HammerOptions;
const items = Array.from({ length: batch }, () => `{"utf8":"${"x".repeat(100)}"}`).join(",");
const body = `{"queue_name":"${queue}","items":[${items}]}`;
const counts = { taken: 0, refused: 0, failed: 0 };
let isOver = false;

async function hammer(): Promise<void> {
  const client = await HttpClient.open(new URL(url), key);
  while (!isOver) {
    const { status } = await client.post("/v2/queue.produce", body);
    if (status === 200) counts.taken++;
    else if (status === 429) counts.refused++;
    else counts.failed++;
  }
  client.close();
}

process.stdin.resume().once("end", () => {
  isOver = true;
});
await Promise.all(Array.from({ length: connections }, hammer));
process.stdout.write(`${JSON.stringify(counts satisfies HammerResult)}\n`);

// The well-behaved client: it produces an item, leases it and completes it, over and over, one
// request at a time, now and then on a fresh connection. Every request must be answered correctly
// and in time, whatever others do to the server meanwhile; how long each took is noted by phase.

import { Api } from "./api.ts";

export interface Latency {
  readonly requests: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface GoodClientOptions {
  readonly port: number;
  readonly queue: string;
  /** Within what time every request must be answered. */
  readonly boundMs: number;
  /** More headers of every request, each with its line end. */
  readonly headers?: string;
}

// Cycles on one connection.
const CYCLES = 20;

/** Works from when it is made until it is stopped. */
export class GoodClient {
  readonly failures: string[] = [];
  readonly #options: GoodClientOptions;
  #phase = "start";
  readonly #tookMs = new Map<string, number[]>();
  #going = true;
  #number = 0;
  readonly #done: Promise<void>;

  constructor(options: GoodClientOptions) {
    this.#options = options;
    this.#done = this.#run();
  }

  /** Whatever is measured from now on belongs to this phase. */
  enter(phase: string): void {
    this.#phase = phase;
  }

  latency(phase: string): Latency {
    const took = [...(this.#tookMs.get(phase) ?? [])].sort((a, b) => a - b);
    const at = (part: number): number => took[Math.floor(took.length * part)] ?? 0;
    return { requests: took.length, p50: at(0.5), p99: at(0.99), max: took.at(-1) ?? 0 };
  }

  async stop(): Promise<void> {
    this.#going = false;
    await this.#done;
  }

  async #run(): Promise<void> {
    while (this.#going) {
      const { port, boundMs, headers = "" } = this.#options;
      const api = new Api(port, { waitMs: boundMs, headers });
      for (let i = 0; i < CYCLES && this.#going; i++) {
        const phase = this.#phase;
        try {
          await this.#cycle(api);
        } catch (error) {
          if (this.failures.length < 20)
            this.failures.push(`${phase}: ${(error as Error).message}`);
          await new Promise((resolve) => setTimeout(resolve, 50));
          break;
        }
      }
      api.close();
    }
  }

  async #cycle(api: Api): Promise<void> {
    const { queue } = this.#options;
    const utf8 = `number ${++this.#number}`;
    const common = { queue_name: queue, request_timeout: "10s" };
    await this.#timed(api, "queue.produce", { ...common, items: [{ utf8 }] });
    const lease = { ...common, client_id: `good-${this.#number}`, batch_size: 1000 };
    const { items, partition = 0 } = await this.#timed(api, "queue.lease", lease);
    const payloads = (items as { bytes: string }[]).map(({ bytes }) =>
      Buffer.from(bytes, "base64").toString(),
    );
    // After a failed cycle its item is still there.
    if (!payloads.includes(utf8)) throw new Error(`${utf8} produced, leased ${payloads.join()}`);
    const ids = (items as { id: string }[]).map(({ id }) => id);
    await this.#timed(api, "queue.complete", { ...common, partition, ids });
  }

  // biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
  async #timed(api: Api, path: string, request: object): Promise<any> {
    const phase = this.#phase;
    const from = performance.now();
    const reply = await api.ok(path, request);
    const took = this.#tookMs.get(phase) ?? [];
    took.push(performance.now() - from);
    this.#tookMs.set(phase, took);
    return reply;
  }
}

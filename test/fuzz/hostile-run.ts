// A whole run of the hostile clients: one attack after the other on one real server, while a
// well-behaved client works on. During each attack the server's memory stays below a bound; after
// it nothing is left of it: no connection, no waiting lease, no timer, no memory.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Api } from "../support/api.ts";
import { GoodClient, type Latency } from "../support/good-client.ts";
import { type Holdings, leftBehind, megabytes } from "../support/holdings.ts";
import type { ProofResult } from "../support/program.ts";
import { ServerProcess, type StorageKind } from "../support/server-process.ts";
import { type AttackReport, sleep, TARGET } from "./attack.ts";
import type { Command, Notice } from "./attackers.ts";
import { ATTACKS } from "./attacks.ts";

export interface HostileOptions {
  readonly seed: number;
  /** Small numbers, small limits, and no waiting for the server to lose patience. */
  readonly quick: boolean;
  /** How long each attack goes on at its full strength, at least. */
  readonly secondsEach: number;
  /** Parts of the names of the only attacks to make. */
  readonly only?: readonly string[];
  readonly storage: StorageKind;
  /** Whether the server asks for keys: the good client has one, attackers have none and may do as much all the same. */
  readonly asksForKeys?: boolean;
  readonly progress: (text: string) => void;
}

const BOUND_MS = 10_000;
const GONE_MS = 15_000;
// The quick form runs beside other tests.
const QUICK_LATENCY_FACTOR = 4;
const GOOD = "good";
const ADMIN = `qtr-test-${"A".repeat(43)}`;
const SHOWN = `Authorization: Bearer ${ADMIN}\r\n`;

// In the quick form limits are small, so that little is needed to reach them.
const QUICK_LIMITS = {
  "request-bytes": 16 * 1024 * 1024,
  "ready-bytes": 32 * 1024 * 1024,
  "lease-reply-bytes": 1024 * 1024,
  "waiting-leases": 1_000,
} as const;
const REQUEST_BYTES = { quick: QUICK_LIMITS["request-bytes"], long: 256 * 1024 * 1024 } as const;

// How far memory may rise during an attack: some times what requests may hold (as text, as parsed
// items, as what the garbage collector has not seen yet), and what any traffic takes.
const RISE_FACTOR = 6;
const RISE_SLACK = 400_000_000;
/** What may be left once the garbage is gone. */
const SLACK = { bytes: 30_000_000, timers: 5, sockets: 1 } as const;

/** Makes the attacks one after the other; answers what is wrong. */
export async function hostile(options: HostileOptions): Promise<ProofResult> {
  const { only = [""] } = options;
  const names = Object.keys(ATTACKS).filter((name) => {
    const isPossible = options.asksForKeys === true || ATTACKS[name]!.needsKeys !== true;
    return isPossible && only.some((part) => name.includes(part));
  });
  if (names.length === 0) throw new Error(`there is no attack called ${only.join()}`);
  const failures: string[] = [];
  const rows: { name: string; latency: Latency; peak: number }[] = [];
  let calm: Latency | undefined;
  for (let next = 0; next < names.length; ) {
    // A new server where the last one has suffered.
    const siege = await Siege.begin(options, failures).catch((error: Error) => {
      failures.push(`a server could not be made ready: ${error.message}`);
    });
    if (siege === undefined) break;
    calm ??= siege.calm;
    for (; next < names.length && siege.stands; next++) {
      const name = names[next]!;
      const row = await siege.attack(name);
      rows.push({ name, ...row });
      options.progress(
        `${name}: ${show(row.latency)}, at most ${megabytes(row.peak)}; ${row.seen}`,
      );
    }
    await siege.end();
  }
  return { failures, figures: calm === undefined ? "no figures" : figures(calm, rows) };
}

function show({ requests, p50, p99, max }: Latency): string {
  return `${requests} requests, p50 ${p50.toFixed(1)} p99 ${p99.toFixed(1)} max ${max.toFixed(0)} ms`;
}

function figures(
  calm: Latency,
  rows: readonly { name: string; latency: Latency; peak: number }[],
): string {
  if (rows.length === 0) return "no attack was made";
  const worst = rows.reduce((a, b) => (a.latency.p99 > b.latency.p99 ? a : b));
  const largest = rows.reduce((a, b) => (a.peak > b.peak ? a : b));
  const requests = rows.reduce((sum, { latency }) => sum + latency.requests, 0);
  return [
    `${rows.length} attacks, ${requests} requests of the good client`,
    `calm p50 ${calm.p50.toFixed(1)} p99 ${calm.p99.toFixed(1)} ms`,
    `worst p99 ${worst.latency.p99.toFixed(1)} ms (${worst.name})`,
    `at most ${megabytes(largest.peak)} (${largest.name})`,
  ].join(", ");
}

interface Attacked {
  readonly latency: Latency;
  readonly peak: number;
  readonly seen: string;
}

/** A server, its attackers, and the good client between them. */
class Siege {
  readonly #options: HostileOptions;
  readonly #failures: string[];
  readonly #server: ServerProcess;
  readonly #attackers: ChildProcess;
  readonly #api: Api;
  readonly #headers: string;
  // Made once its queue is there.
  #good!: GoodClient;
  #before!: Holdings;
  #rssBefore = 0;
  #harmed = false;

  private constructor(options: HostileOptions, failures: string[], server: ServerProcess) {
    this.#options = options;
    this.#failures = failures;
    this.#server = server;
    this.#attackers = fork(fileURLToPath(new URL("./attackers.ts", import.meta.url)));
    this.#headers = options.asksForKeys === true ? SHOWN : "";
    this.#api = new Api(server.port, { headers: this.#headers });
  }

  static async begin(options: HostileOptions, failures: string[]): Promise<Siege> {
    const limits = options.quick ? QUICK_LIMITS : {};
    const server = await ServerProcess.start({
      storage: options.storage,
      limits,
      isObserved: true,
      ...(options.asksForKeys === true && {
        env: { QUERATOR_AUTH: "keys", QUERATOR_BOOTSTRAP_KEY: ADMIN },
      }),
    });
    const siege = new Siege(options, failures, server);
    try {
      await siege.#calmDown();
      return siege;
    } catch (error) {
      await siege.end();
      throw error;
    }
  }

  /** Whether the server is fit for the next attack: the last one has found nothing wrong. */
  get stands(): boolean {
    return !this.#harmed;
  }

  get calm(): Latency {
    return this.#good.latency("calm");
  }

  async #calmDown(): Promise<void> {
    if (this.#options.asksForKeys === true) {
      const binding = { namespace: "_system", role_name: "Admin", user_id: "anonymous" };
      await this.#api.ok("v2/bindings.create", binding);
    }
    await createQueue(this.#api, GOOD);
    const { port } = this.#server;
    this.#good = new GoodClient({
      port,
      queue: GOOD,
      boundMs: BOUND_MS,
      headers: this.#headers,
    });
    this.#good.enter("warm-up");
    await sleep(this.#options.quick ? 150 : 3_000);
    this.#good.enter("calm");
    await sleep(this.#options.quick ? 250 : 5_000);
    this.#good.enter("between");
    await createQueue(this.#api, TARGET);
    await this.#api.ok("queues.delete", { queue_name: TARGET });
    this.#before = await this.#server.holdings();
    this.#rssBefore = this.#server.rss;
  }

  async attack(name: string): Promise<Attacked> {
    const { quick, secondsEach, seed } = this.#options;
    const held = quick ? 0 : (ATTACKS[name]!.holdSeconds ?? 0);
    const failures: string[] = [];
    const goodFailures = this.#good.failures.length;
    let peak = 0;
    const sampler = setInterval(() => {
      peak = Math.max(peak, this.#server.rss);
    }, 20);
    let report: AttackReport | undefined;
    try {
      await createQueue(this.#api, TARGET);
      this.#good.enter(name);
      await this.#tell({ begin: name, port: this.#server.port, seed, quick });
      await sleep(Math.max(secondsEach, held) * 1_000);
      const notice = await this.#tell({ end: true });
      if ("ended" in notice) report = notice.ended;
      this.#good.enter("between");
      await this.#expectNothingLeft(failures);
    } catch (error) {
      failures.push((error as Error).message);
    }
    clearInterval(sampler);
    const end = this.#server.end;
    if (end !== undefined) {
      failures.push(`the server ended: ${end}`, ...this.#server.errors.slice(0, 5));
    }
    const bound = this.#rssBefore + this.#rise;
    if (peak > bound) failures.push(`memory rose to ${megabytes(peak)}, bound ${megabytes(bound)}`);
    const latency = this.#good.latency(name);
    const p99MsMax = (ATTACKS[name]!.p99MsMax ?? BOUND_MS) * (quick ? QUICK_LATENCY_FACTOR : 1);
    if (latency.p99 > p99MsMax) {
      failures.push(`the good client's p99 is ${latency.p99.toFixed(0)} ms, bound ${p99MsMax} ms`);
    }
    failures.push(...(report?.failures ?? []), ...this.#good.failures.slice(goodFailures));
    this.#harmed = failures.length > 0;
    this.#failures.push(...failures.map((failure) => `${name}: ${failure}`));
    const seen = Object.entries(report?.counts ?? {}).map(([what, n]) => `${what} ${n}`);
    return { latency, peak, seen: seen.join(", ") };
  }

  get #rise(): number {
    const requestBytes = REQUEST_BYTES[this.#options.quick ? "quick" : "long"];
    return RISE_FACTOR * requestBytes + RISE_SLACK;
  }

  async #expectNothingLeft(failures: string[]): Promise<void> {
    // The good client itself may just be waiting.
    await this.#expectWaiting(TARGET, 0, failures);
    await this.#expectWaiting(GOOD, 1, failures);
    await this.#api.ok("queues.delete", { queue_name: TARGET, force: true });
    const giveUpAt = Date.now() + GONE_MS;
    for (;;) {
      const left = leftBehind(this.#before, await this.#server.holdings(), SLACK);
      if (left.length === 0) return;
      if (Date.now() > giveUpAt) {
        failures.push(`left behind: ${left.join(", ")}`);
        return;
      }
      await sleep(50);
    }
  }

  async #expectWaiting(queue_name: string, most: number, failures: string[]): Promise<void> {
    const giveUpAt = Date.now() + GONE_MS;
    for (;;) {
      const { logicalQueues } = await this.#api.ok("queue.stats", { queue_name });
      const { lease_waiting: waiting = 0 } = logicalQueues[0];
      if (waiting <= most) return;
      if (Date.now() > giveUpAt) {
        failures.push(`${waiting} leases still wait in '${queue_name}'`);
        return;
      }
      await sleep(20);
    }
  }

  async #tell(command: Command): Promise<Notice> {
    const answered = once(this.#attackers, "message", { signal: AbortSignal.timeout(300_000) });
    this.#attackers.send(command);
    const [notice] = (await answered) as [Notice];
    return notice;
  }

  async end(): Promise<void> {
    await this.#good?.stop();
    this.#attackers.kill("SIGKILL");
    this.#api.close();
    await this.#server.dispose();
  }
}

async function createQueue(api: Api, queue_name: string): Promise<void> {
  const settings = { lease_timeout: "5m", expire_timeout: "24h", requested_partitions: 1 };
  await api.ok("queues.create", { queue_name, ...settings });
}

// One server, fuzzed for a while, batch by batch: inputs side by side, or one after the other with a
// look at what those that are refused have done; then messages in all formats, whose answers must
// agree. A world that is worn is replaced by a fresh one.

import { setTimeout as sleep } from "node:timers/promises";
import type { JsonValue } from "@bufbuild/protobuf";
import { Api } from "../support/api.ts";
import { PipeClient } from "../support/pipe-client.ts";
import type { Random } from "../support/random.ts";
import type { ServerProcess } from "../support/server-process.ts";
import { agree } from "./agreement.ts";
import type { Endpoint } from "./endpoints.ts";
import type { Findings } from "./findings.ts";
import type { Input } from "./input.ts";
import { type Fault, isFault, type Judged, judge } from "./judge.ts";
import { makeInput, makePortable } from "./make-input.ts";
import { Refusals } from "./refusals.ts";
import { Sender } from "./sender.ts";
import { shrink } from "./shrink.ts";
import { BASE_QUEUES, type Focus, type Named, PASSING_QUEUES } from "./valid-message.ts";
import { freshWorld, isWorn, readState } from "./visible-state.ts";

const BATCH = 32;
const WIDTH = 16;
const MESSAGES = 6;
// One batch in so many is sent side by side.
const CROWDS = 4;
const SEEN_MAX = 60;
// Each takes long; a server that is silent so often is not worth more.
const SILENCES_MAX = 4;

export interface SessionOptions {
  readonly endpoints: readonly Endpoint[];
  /** Those whose messages may be sent to the others. */
  readonly all: readonly Endpoint[];
  readonly random: Random;
  readonly findings: Findings;
}

/** The fuzzing of one server. */
export class FuzzSession {
  readonly #server: ServerProcess;
  readonly #options: SessionOptions;
  readonly #api: Api;
  readonly #sender: Sender;
  readonly #client: PipeClient;
  readonly #refusals: Refusals;
  #seen: Focus[] = [];
  #names: Named[] = [];
  #silences = 0;

  constructor(server: ServerProcess, options: SessionOptions) {
    this.#server = server;
    this.#options = options;
    this.#api = new Api(server.port);
    this.#sender = new Sender(server.port);
    this.#client = new PipeClient(server.port);
    this.#refusals = new Refusals(this.#client, options.findings);
  }

  /** Throws away what is there and begins anew. */
  async renew(): Promise<void> {
    this.#seen = [...(await freshWorld(this.#api))];
    this.#names = [];
  }

  /** Sends one batch; answers whether the server is still there, and answers. */
  async batch(): Promise<boolean> {
    const { random, findings, endpoints, all } = this.#options;
    const world = {
      queues: [...BASE_QUEUES, ...PASSING_QUEUES],
      seen: this.#seen,
      names: this.#names,
    };
    const source = { endpoints, all, world, random };
    const inputs = Array.from({ length: BATCH }, () => makeInput(source));
    try {
      // Side by side they meet each other; one after the other it can be seen what each has done.
      if (random.oneIn(CROWDS)) await this.#explore(inputs);
      else await this.#refusals.check(inputs, (some) => this.#explore(some));
      const connections = { sender: this.#sender, client: this.#client };
      for (let i = 0; i < MESSAGES; i++) {
        const endpoint = random.pick(endpoints);
        const entries = makePortable(endpoint, world, random);
        const { fault, inputs: sent } = await agree(connections, endpoint, entries);
        findings.agreements++;
        if (fault !== undefined) findings.found(fault, sent);
      }
      if (isWorn(await readState(this.#client))) await this.renew();
    } catch (error) {
      // What the fuzzer itself asks must always be answered well.
      const gone = this.#server.end;
      const kind = gone === undefined ? "a plain request failed" : `the server ended: ${gone}`;
      findings.found({ kind, detail: (error as Error).message }, inputs);
      if (gone !== undefined) return false;
      await this.#rescue();
    }
    this.#readErrors(inputs);
    return this.#silences < SILENCES_MAX;
  }

  async #explore(inputs: readonly Input[]): Promise<readonly (Judged | undefined)[]> {
    const { findings } = this.#options;
    const outcomes = await this.#sender.sendAll(inputs, WIDTH);
    const all: (Judged | undefined)[] = [];
    for (const [i, input] of inputs.entries()) {
      const outcome = outcomes[i];
      const judged = outcome === undefined ? undefined : judge(input, outcome);
      if (judged === undefined) {
        findings.givenUp++;
      } else if (isFault(judged)) {
        await this.#report(judged, input);
      } else {
        findings.tried(input, judged.status);
        if (judged.status === 200) this.#harvest(input, judged.body);
      }
      all.push(judged === undefined || isFault(judged) ? undefined : judged);
    }
    return all;
  }

  async #report(fault: Fault, input: Input): Promise<void> {
    this.#options.findings.tried(input, 0);
    if (this.#server.end !== undefined) throw new Error(fault.detail);
    const { findings } = this.#options;
    if (fault.kind.startsWith("no reply")) this.#silences++;
    if (findings.isKnown(fault)) return;
    findings.found(fault, [await shrink(this.#sender, input, fault.kind), input]);
  }

  // Ids that replies have shown can be named in requests.
  #harvest({ endpoint }: Input, body: JsonValue | undefined): void {
    const {
      queue_name: queue = "jobs",
      partition = 0,
      items,
      groups,
      id,
    } = (body ?? {}) as {
      queue_name?: string;
      partition?: number;
      items?: readonly { id?: string }[];
      groups?: readonly { fingerprint?: string }[];
      id?: string;
    };
    if (Array.isArray(groups)) {
      for (const { fingerprint = "" } of groups.slice(0, 3))
        this.#learn("fingerprint", fingerprint);
    } else if (endpoint.path === "/v2/queue.redrive" && id !== undefined) {
      this.#learn("redrive", id, queue);
    }
    const ids = (Array.isArray(items) ? items : []).flatMap((item) => item.id ?? []).slice(0, 5);
    if (ids.length === 0) return;
    this.#seen.push({ queue, partition, ids });
    if (this.#seen.length > SEEN_MAX) this.#seen.splice(0, this.#seen.length - SEEN_MAX);
  }

  #learn(kind: Named["kind"], name: string, queue = "dead"): void {
    this.#names.push({ kind, queue, name });
    if (this.#names.length > SEEN_MAX) this.#names.splice(0, this.#names.length - SEEN_MAX);
  }

  // An error in the server's log is a defect, whatever the client was told.
  #readErrors(inputs: readonly Input[]): void {
    const errors = this.#server.errors.splice(0);
    for (const line of errors.slice(0, 5)) {
      const kind = `the server logs: ${line.replace(/"time":"[^"]*",?/, "").replaceAll(/\d+/g, "#")}`;
      this.#options.findings.found({ kind, detail: line }, inputs);
    }
  }

  // A partition may be failing for good: everything is deleted, and the rest of the run goes on.
  async #rescue(): Promise<void> {
    await sleep(100);
    await this.renew().catch(() => undefined);
  }

  close(): void {
    this.#sender.close();
    this.#client.close();
    this.#api.close();
  }
}

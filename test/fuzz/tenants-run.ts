// A fuzzer among tenants: whatever can be thought of is sent to a server that asks for keys, with the key of one tenant,
// with none, with wrong ones, and with one that is taken away meanwhile. Nothing that comes back is broken or tells
// of another tenant, what belongs to others stays as it is, and who shows no key that counts is never answered 200.

import { setTimeout as sleep } from "node:timers/promises";
import { Api } from "../support/api.ts";
import type { ProofResult } from "../support/program.ts";
import type { Random } from "../support/random.ts";
import { Random as Seeded } from "../support/random.ts";
import type { Outcome } from "../support/raw-connection.ts";
import { ServerProcess } from "../support/server-process.ts";
import { allEndpoints, type Endpoint } from "./endpoints.ts";
import { Findings } from "./findings.ts";
import { headerOf, type Input } from "./input.ts";
import { isFault, judge } from "./judge.ts";
import { makeInput } from "./make-input.ts";
import { Sender } from "./sender.ts";
import { BASE_QUEUES, type Focus, PASSING_QUEUES } from "./valid-message.ts";
import { freshWorld } from "./visible-state.ts";

export interface TenantsOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly progress: (text: string) => void;
}

const ADMIN = `qtr-test-${"A".repeat(43)}`;
const UNKNOWN = `qtr-test-${"z".repeat(43)}`;
// Of a length that base64 needs no padding for.
const CANARY = "canary-of-b!";
const CANARIES = [CANARY, Buffer.from(CANARY).toString("base64")];
const BATCH = 48;
const WIDTH = 16;

/** Who sends an input; of `gone` it is known that it counts no more, of `going` nothing is. */
type Who = "tenant" | "nobody" | "unknown" | "malformed" | "gone" | "going" | "reaching";

interface Tenant {
  readonly namespace: string;
  readonly user: string;
  readonly key: string;
  readonly seen: readonly Focus[];
  /** Ids of what belongs to it beside queues. */
  readonly ids: readonly string[];
}

const as = (key: string, namespace = ""): string =>
  `Authorization: Bearer ${key}\r\n${namespace === "" ? "" : `X-Querator-Namespace: ${namespace}\r\n`}`;

/** Fuzzes for as long as it is told; answers what is wrong. */
export async function fuzzTenants(options: TenantsOptions): Promise<ProofResult> {
  const env = { QUERATOR_AUTH: "keys", QUERATOR_BOOTSTRAP_KEY: ADMIN };
  const server = await ServerProcess.start({ storage: "memory", env });
  const run = new TenantsRun(server, new Seeded(options.seed), await allEndpoints());
  try {
    const start = performance.now();
    await run.prepare();
    for (let told = 0; ; ) {
      const elapsed = (performance.now() - start) / 1000;
      if (elapsed > options.seconds || server.end !== undefined) break;
      await run.batch();
      if (elapsed - told > 5) {
        told = elapsed;
        options.progress(`${Math.round(elapsed)} s, ${run.findings.inputs} inputs`);
      }
    }
    return { failures: run.findings.report, figures: run.figures };
  } finally {
    run.close();
    await server.dispose();
  }
}

class TenantsRun {
  readonly findings = new Findings();
  readonly #server: ServerProcess;
  readonly #random: Random;
  readonly #endpoints: readonly Endpoint[];
  readonly #sender: Sender;
  readonly #apis = new Map<string, Api>();
  readonly #counts: Record<Who, { sent: number; taken: number }> = {
    tenant: { sent: 0, taken: 0 },
    nobody: { sent: 0, taken: 0 },
    unknown: { sent: 0, taken: 0 },
    malformed: { sent: 0, taken: 0 },
    gone: { sent: 0, taken: 0 },
    going: { sent: 0, taken: 0 },
    reaching: { sent: 0, taken: 0 },
  };
  #users = 0;
  #a!: Tenant;
  #b!: Tenant;

  constructor(server: ServerProcess, random: Random, endpoints: readonly Endpoint[]) {
    this.#server = server;
    this.#random = random;
    this.#endpoints = endpoints;
    this.#sender = new Sender(server.port);
  }

  get figures(): string {
    const each = Object.entries(this.#counts).map(
      ([who, { sent, taken }]) => `${who} ${taken} of ${sent} taken`,
    );
    return `${this.findings.inputs} inputs: ${each.join(", ")}`;
  }

  close(): void {
    this.#sender.close();
    for (const api of this.#apis.values()) api.close();
  }

  async prepare(): Promise<void> {
    for (const name of ["a", "b"]) await this.#admin().ok("v2/namespaces.create", { name });
    this.#b = await this.#makeTenant("b");
    const items = Array.from({ length: 5 }, () => ({
      utf8: `${CANARY} payload`,
      reference: `${CANARY} reference`,
      headers: { note: CANARY },
    }));
    await this.#admin("b").ok("v2/queue.produce", { queue_name: "jobs", items });
    const role = { namespace: "b", name: CANARY, permissions: ["queue.lease"] };
    await this.#admin().ok("v2/roles.create", role);
    this.#a = await this.#makeTenant("a");
  }

  #admin(namespace = ""): Api {
    const api =
      this.#apis.get(namespace) ?? new Api(this.#server.port, { headers: as(ADMIN, namespace) });
    this.#apis.set(namespace, api);
    return api;
  }

  async #makeTenant(namespace: string): Promise<Tenant> {
    const username = `owner-${++this.#users}`;
    const { id: user } = await this.#admin().ok("v2/users.create", { username });
    const binding = { namespace, role_name: "NamespaceOwner", user_id: user };
    const bound = await this.#admin().ok("v2/bindings.create", binding);
    const { key, info } = await this.#admin().ok("v2/keys.create", { user_id: user, namespace });
    const seen = await freshWorld(this.#admin(namespace));
    return { namespace, user, key, seen, ids: [user, info.id, bound.id] };
  }

  /** One batch, and a look at what it has done to others. */
  async batch(): Promise<void> {
    if (!(await this.#isFit())) this.#a = await this.#makeTenant("a");
    const made = await this.#admin().ok("v2/keys.create", {
      user_id: this.#a.user,
      namespace: "a",
    });
    const before = await this.#stateOfOthers();
    const half = BATCH / 2;
    const inputs = Array.from({ length: BATCH }, () => this.#makeInput());
    const sending = this.#send(inputs.slice(0, half), made.key, false);
    await sleep(this.#random.below(10));
    const revoked = this.#admin()
      .ok("v2/keys.revoke", { id: made.info.id })
      .catch((error: Error) => {
        // The tenant may take away what is its own.
        if (!error.message.includes("key_not_found")) throw error;
      });
    await Promise.all([sending, revoked]);
    await this.#send(inputs.slice(half), made.key, true);
    const after = await this.#stateOfOthers();
    if (after !== before) {
      const detail = `${before}\nand then\n${after}`;
      this.findings.found({ kind: "a tenant changes what is another's", detail }, inputs);
    }
    for (const line of this.#server.errors.splice(0).slice(0, 5)) {
      this.findings.found({ kind: "the server logs an error", detail: line }, inputs);
    }
  }

  // A tenant may take its own key away, or all its queues.
  async #isFit(): Promise<boolean> {
    const api = new Api(this.#server.port, { headers: as(this.#a.key) });
    const { status, body } = await api.call("v2/queues.list", {});
    api.close();
    const names = new Set(body.queues?.map((each: { queue_name: string }) => each.queue_name));
    return status === 200 && names.size < 200 && BASE_QUEUES.every((name) => names.has(name));
  }

  #makeInput(): Input {
    const { seen, ids } = this.#random.oneIn(3) ? this.#b : this.#a;
    const access = [...this.#b.ids, ...ids].map((id) => ({
      queue: "jobs",
      partition: 0,
      ids: [id],
    }));
    const world = {
      queues: [...BASE_QUEUES, ...PASSING_QUEUES],
      seen: [...seen, ...access],
      names: [],
    };
    const endpoints = this.#endpoints;
    return makeInput({ endpoints, all: endpoints, world, random: this.#random });
  }

  async #send(plain: readonly Input[], key: string, isGone: boolean): Promise<void> {
    const sent = plain.map((input) => this.#signed(input, key, isGone));
    const outcomes = await this.#sender.sendAll(
      sent.map(({ input }) => input),
      WIDTH,
    );
    for (const [i, { input, who }] of sent.entries()) {
      const outcome = outcomes[i];
      if (outcome !== undefined) this.#judge(input, who, outcome);
    }
  }

  #signed(input: Input, key: string, isGone: boolean): { input: Input; who: Who } {
    // What is hardly HTTP goes as it is.
    if (input.raw !== undefined) return { input, who: "nobody" };
    const headers = input.headers.filter(([name]) => !/^(authorization|x-querator-)/i.test(name));
    const dice = this.#random.below(20);
    const going = isGone ? "gone" : "going";
    const [who, value]: [Who, string] =
      dice < 9
        ? ["tenant", `Bearer ${this.#a.key}`]
        : dice < 12
          ? ["reaching", `Bearer ${this.#a.key}`]
          : dice < 13
            ? ["nobody", ""]
            : dice < 14
              ? ["unknown", `Bearer ${UNKNOWN}`]
              : dice < 15
                ? ["malformed", this.#random.pick([this.#a.key, `Basic ${this.#a.key}`, "Bearer"])]
                : [going, `Bearer ${key}`];
    const more: [string, string][] = value === "" ? [] : [["Authorization", value]];
    const there = this.#random.pick(["b", "_system", "none"]);
    if (who === "reaching") more.push(["X-Querator-Namespace", there]);
    return { input: { ...input, headers: [...headers, ...more] }, who };
  }

  #judge(input: Input, who: Who, outcome: Outcome): void {
    const judged = judge(input, outcome);
    if (isFault(judged)) {
      this.findings.found(judged, [input]);
      return;
    }
    this.findings.tried(input, judged.status);
    const count = this.#counts[who];
    count.sent++;
    if (judged.status === 200) count.taken++;
    const text = outcome.kind === "reply" ? outcome.reply.body.toString("latin1") : "";
    // What a request says itself may be said of it.
    const said = input.body.toString("latin1");
    if (CANARIES.some((canary) => text.includes(canary) && !said.includes(canary))) {
      const detail = `${who} is told ${text.slice(0, 500)}`;
      this.findings.found({ kind: `what is another's is told by ${input.path}`, detail }, [input]);
    }
    const isCall = input.method === "POST" && input.raw === undefined;
    const counts = who === "tenant" || who === "going" || who === "reaching";
    if (isCall && !counts && judged.status === 200) {
      const detail = `${who}, ${headerOf(input, "authorization")}: ${text.slice(0, 300)}`;
      this.findings.found({ kind: `${input.path} is done for ${who}`, detail }, [input]);
    }
  }

  // All that belongs to the other tenant, and to the server.
  async #stateOfOthers(): Promise<string> {
    const b = this.#admin("b");
    const own = new Set(this.#a.ids);
    const parts: unknown[] = [];
    for (const queue_name of BASE_QUEUES) {
      parts.push(await b.ok("v2/items.list", { queue_name, payload: true }));
      parts.push(await b.ok("v2/queues.info", { queue_name }));
    }
    for (const [path, request] of [
      ["queues.list", {}],
      ["roles.list", { namespace: "b" }],
      ["bindings.list", { namespace: "b" }],
      ["roles.list", { namespace: "_system" }],
      ["bindings.list", { namespace: "_system" }],
      ["namespaces.list", {}],
      ["users.list", {}],
      ["keys.list", {}],
    ] as const) {
      parts.push(await b.ok(`v2/${path}`, request));
    }
    return JSON.stringify(parts, (name, value) =>
      /_age$|^(last_used_at|expected_at)$/.test(name) || own.has(value?.id) ? undefined : value,
    );
  }
}

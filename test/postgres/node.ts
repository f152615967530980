// A server in a process of its own that keeps its data in PostgreSQL, as a user starts it.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { BASE_ENVIRONMENT } from "../support/environment.ts";

const COMMAND = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));

export interface Health {
  readonly status: string;
  readonly checks: { readonly "queues:storage": readonly { readonly output?: string }[] };
}

export class ServerNode {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  address = "";
  readonly #waiting: { readonly text: string; readonly resolve: () => void }[] = [];

  constructor(
    t: TestContext,
    postgres: string,
    args: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
  ) {
    const all = ["server", "--address", "127.0.0.1:0", "--log-format", "json", ...args];
    this.child = spawn(process.execPath, [COMMAND, ...all], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...BASE_ENVIRONMENT, QUERATOR_POSTGRES: postgres, ...env },
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      createInterface({ input: stream }).on("line", (line) => this.#take(line));
    }
    t.after(() => this.end("SIGKILL"));
  }

  #take(line: string): void {
    this.lines.push(line);
    this.address = /"address":"([^"]+)"/.exec(line)?.[1] ?? this.address;
    for (const { text, resolve } of this.#waiting) if (line.includes(text)) resolve();
  }

  /** Resolves when a line of its log, from now on or from `since` lines on, has this text. */
  said(text: string, since = 0): Promise<void> {
    if (this.lines.slice(since).some((line) => line.includes(text))) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ text, resolve });
      this.child.once("close", () => reject(new Error(`ended: ${this.lines.join("\n")}`)));
    });
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const closed = once(this.child, "close");
    this.child.kill(signal);
    await closed;
  }

  async call(path: string, body: object): Promise<{ status: number; body: string }> {
    const reply = await fetch(`${this.address}/v1/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "Content-Type": "application/json" },
    });
    return { status: reply.status, body: await reply.text() };
  }

  createQueue(name: string): Promise<{ status: number; body: string }> {
    return this.call("queues.create", {
      queue_name: name,
      lease_timeout: "1m",
      expire_timeout: "24h",
      requested_partitions: 1,
    });
  }

  produce(queue: string, utf8: string): Promise<{ status: number; body: string }> {
    const items = [{ utf8 }];
    return this.call("queue.produce", { queue_name: queue, request_timeout: "5s", items });
  }

  /** The payloads that wait, up to 10. */
  async lease(queue: string): Promise<string[]> {
    const { status, body } = await this.call("queue.lease", {
      queue_name: queue,
      request_timeout: "5s",
      batch_size: 10,
      client_id: "c",
    });
    if (status !== 200) throw new Error(body);
    const { items } = JSON.parse(body) as { items: { bytes: string }[] };
    return items.map(({ bytes }) => Buffer.from(bytes, "base64").toString());
  }

  async health(): Promise<[status: number, output: string]> {
    const reply = await fetch(`${this.address}/health`);
    const { checks } = (await reply.json()) as Health;
    return [reply.status, checks["queues:storage"][0]!.output ?? ""];
  }
}

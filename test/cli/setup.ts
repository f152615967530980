// The real command as a user runs it, a process of its own, against a server of the test's own.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { ServerOptions } from "../../src/config/config.ts";
import { BASE_ENVIRONMENT } from "../support/environment.ts";
import { setup as setupServer, type TestServer } from "../support/server.ts";

export const COMMAND = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));

export interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** What comes on stdin, which is empty if it is left out. */
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
}

export class Cli {
  readonly server: TestServer;
  readonly #t: TestContext;

  constructor(t: TestContext, server: TestServer) {
    this.#t = t;
    this.server = server;
  }

  get endpoint(): string {
    return this.server.server.address;
  }

  /** Starts a command; it is gone when the test ends. */
  start(args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    const child = spawn(process.execPath, [COMMAND, ...args], {
      env: { ...BASE_ENVIRONMENT, QUERATOR_ENDPOINT: this.endpoint, ...env },
    });
    this.#t.after(() => child.kill("SIGKILL"));
    return child;
  }

  /** Runs a command to its end. */
  async run(args: readonly string[], { input = "", env = {} }: RunOptions = {}): Promise<Result> {
    const child = this.start(args, env);
    child.stdin!.on("error", () => undefined); // one that reads nothing may be gone before
    child.stdin!.end(input);
    return finish(child);
  }

  /** Runs a command that must succeed; answers its stdout. */
  async ok(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, options);
    if (code !== 0) throw new Error(`querator ${args.join(" ")}: ${code} ${stderr}`);
    return stdout;
  }

  /** The same, with the JSON that it prints. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into output of every shape
  async json(...args: string[]): Promise<any> {
    return JSON.parse(await this.ok([...args, "--output", "json"]));
  }
}

/** What a command says until it ends. */
export async function finish(child: ChildProcess): Promise<Result> {
  let stdout = "";
  let stderr = "";
  child.stdout!.on("data", (chunk) => (stdout += chunk));
  child.stderr!.on("data", (chunk) => (stderr += chunk));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}

/** Resolves when a stream has said something that fits; answers all that it has said. */
export async function said(stream: Readable, pattern: RegExp): Promise<string> {
  let text = "";
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    if (pattern.test(text)) return text;
  }
  throw new Error(`it ended without ${pattern}: ${text}`);
}

/** A command line with a server in memory, and the queue `jobs`. */
export async function setup(t: TestContext, options: ServerOptions = {}): Promise<Cli> {
  const server = await setupServer(t, options);
  await server.createQueue("jobs");
  return new Cli(t, server);
}

/** What a program that writes NDJSON has written. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into output of every shape
export function ndjson(text: string): any[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

// What every command that talks to a server has: a client for the endpoint that was named, an
// output, a signal that ends it, and the time. A session ends with its command, whatever happens;
// it is the one place where what went wrong with a queue's name is answered with a name that is
// meant.

import { readFileSync } from "node:fs";
import {
  type ClientOptions,
  QueratorClient,
  QueratorError,
  QueueNotFoundError,
} from "@querator/client";
import type { Command } from "commander";
import { distance } from "fastest-levenshtein";
import { type Clock, MILLISECOND, SystemClock } from "../clock.ts";
import { printable } from "../printable.ts";
import { type CallerOptions, callerOf } from "./caller.ts";
import { CommandError, EXIT, Interrupted, usage } from "./failure.ts";
import { headersOf } from "./headers.ts";
import { type Format, Output } from "./output.ts";
import { DEFAULT_ENDPOINT } from "./root.ts";
import { onEndSignal } from "./signals.ts";

// They change nothing, so it does not matter whether a request was done whose answer is lost.
const READING = [
  "list",
  "info",
  "stats",
  "export",
  "tail",
  "top",
  "events",
  "get",
  "wait",
  "explain",
  "dump",
];

/** The options that all commands share, before or after the command's name. */
export interface SharedOptions extends CallerOptions {
  readonly endpoint?: string;
  readonly header?: readonly string[];
  readonly caFile?: string;
  readonly clientCert?: string;
  readonly clientKey?: string;
  readonly output: Format;
}

export interface Session {
  readonly client: QueratorClient;
  readonly out: Output;
  /** Aborted when the command is to end. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** Waits; rejects when the command is to end, or as another signal says. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/** The action of a command that talks to a server. */
export function withSession<Args extends unknown[]>(
  run: (session: Session, ...args: Args) => Promise<void>,
): (...args: [...Args, Command]) => Promise<void> {
  return async (...all) => {
    const command = all.pop() as Command;
    const options = command.optsWithGlobals<SharedOptions>();
    const { endpoint, header, output } = options;
    const stop = new AbortController();
    const clock = new SystemClock();
    const client = connect({
      endpoint,
      ...callerOf(options),
      headers: headersOf(header),
      tls: tlsOf(options),
    });
    const forgetSignals = onEndSignal(clock, {
      first: (name) => stop.abort(new Interrupted(name)),
      again: (name) => process.exit(new Interrupted(name).exitCode),
    });
    const session: Session = {
      client,
      out: new Output(output),
      signal: stop.signal,
      clock,
      sleep: (ms, signal = stop.signal) => sleep(clock, ms, signal),
    };
    try {
      await run(session, ...(all as unknown as Args));
    } catch (error) {
      if (error instanceof QueueNotFoundError) throw await noSuchQueue(client, error);
      throw isBroken(error) && READING.includes(command.name()) ? brokenReading(error) : error;
    } finally {
      forgetSignals();
      await client.close();
    }
  };
}

function isBroken(error: unknown): error is QueratorError {
  return error instanceof QueratorError && error.code === "network" && error.uncertain;
}

function brokenReading(error: QueratorError): CommandError {
  const text = printable(error.message);
  return new CommandError(text, EXIT.unreachable, "The connection broke; try it again", error);
}

export interface ConnectOptions {
  /** One or several with commas between them. */
  readonly endpoint: string | undefined;
  readonly key?: string | undefined;
  readonly namespace?: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls?: ClientOptions["tls"];
  /** Requests for one call as long as nothing has answered, so that somebody who waits is soon told; 4 by default. */
  readonly attemptsMaxAtFirst?: number;
}

/**
 * A client for an endpoint, or for several of which one works; one without a scheme is taken for http. Once
 * one has answered, calls are repeated for as long as their time lasts.
 */
export function connect(options: ConnectOptions): QueratorClient {
  const { endpoint, key, namespace, headers, attemptsMaxAtFirst = 4 } = options;
  const urls = (endpoint || DEFAULT_ENDPOINT).split(",").map((each) => urlOf(each.trim()));
  if (key && !/^[\x21-\x7e]+$/.test(key)) {
    throw usage("the key is invalid; it must be of printable ASCII characters, without spaces");
  }
  if (key && Object.keys(headers).some((name) => name.toLowerCase() === "authorization")) {
    throw usage(
      "give either a key or a header 'Authorization', not both; both are the same header",
    );
  }
  return new QueratorClient({
    urls,
    key: key || undefined,
    namespace: namespace || undefined,
    headers,
    tls: options.tls,
    retry: { attemptsMaxAtFirst },
  });
}

/** What the files of these options hold. */
export function tlsOf({
  caFile,
  clientCert,
  clientKey,
}: Pick<SharedOptions, "caFile" | "clientCert" | "clientKey">): ClientOptions["tls"] {
  if (!caFile && !clientCert && !clientKey) return undefined;
  if (!clientCert !== !clientKey) throw usage("give both --client-cert and --client-key, or none");
  return {
    ca: readPem(caFile, "--ca-file"),
    cert: readPem(clientCert, "--client-cert"),
    key: readPem(clientKey, "--client-key"),
  };
}

function readPem(path: string | undefined, option: string): Buffer | undefined {
  if (!path) return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    throw usage(`${option}: cannot read the file: ${printable((error as Error).message)}`);
  }
}

function urlOf(text: string): string {
  if (/^unix:(\/\/)?\/[^/]/.test(text)) return text;
  // Else the first name in it would be taken for that of a machine.
  if (text.startsWith("/")) {
    throw usage(
      `endpoint '${printable(text)}' is a path; of a Unix socket use unix:${printable(text)}`,
    );
  }
  const url = text.includes("://") ? text : `http://${text}`;
  if (!URL.canParse(url) || !/^https?:/.test(url)) {
    throw usage(`endpoint '${printable(text)}' is invalid; use a URL such as ${DEFAULT_ENDPOINT}`);
  }
  const { username, password } = new URL(url);
  if (username !== "" || password !== "") {
    throw usage(
      "the endpoint must not hold a name or password; give them with --header 'Authorization: Basic ...', or a key with QUERATOR_KEY",
    );
  }
  return url;
}

function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const abort = (): void => {
      cancel();
      reject(signal.reason);
    };
    const cancel = clock.wakeAfter(ms * MILLISECOND, () => {
      signal.removeEventListener("abort", abort);
      resolve();
    });
    signal.addEventListener("abort", abort, { once: true });
  });
}

async function noSuchQueue(client: QueratorClient, error: QueueNotFoundError): Promise<Error> {
  const name = /named '(.*)'$/s.exec(error.message)?.[1];
  if (name === undefined) return error;
  let near: string | undefined;
  try {
    near = await nearest(client, name);
  } catch {
    // A user who may not list queues gets no suggestion.
  }
  const text = printable(`no such queue '${name}'`);
  return near === undefined
    ? new CommandError(text, EXIT.notFound, "'querator list' shows those that there are", error)
    : new CommandError(
        `${text}; did you mean '${printable(near)}'?`,
        EXIT.notFound,
        undefined,
        error,
      );
}

// The queue whose name is most like this one, if any is.
async function nearest(client: QueratorClient, name: string): Promise<string | undefined> {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(name.length / 3)) + 1;
  let looked = 0;
  for await (const { queueName } of client.queues.list({ timeout: "2s" })) {
    const far = distance(name.toLowerCase(), queueName.toLowerCase());
    if (far < least) [best, least] = [queueName, far];
    if (++looked === 10_000) break;
  }
  return best;
}

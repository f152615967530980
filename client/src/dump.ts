// What a server holds and does at this moment, for who looks for what is wrong. It is for people: what is told may change
// with any version, and so it is answered as the server tells it.

import { type CallOptions, checkForm, once } from "./call.ts";
import type { Connection } from "./connection.ts";

export interface DumpOptions extends CallOptions {
  /** Of how many queues at most; 20 by default. */
  readonly limit?: number | undefined;
}

/** What `client.dump` answers, with the fields of `/v2/debug.dump`. */
export interface ServerDump {
  readonly server: Readonly<Record<string, unknown>>;
  readonly threads: readonly Readonly<Record<string, unknown>>[];
  /** Those that something is wrong with first, and then those that hold most. */
  readonly queues: readonly Readonly<Record<string, unknown>>[];
  /** How many queues there are beside those. */
  readonly queuesLeftOut: number;
}

interface WireDump {
  readonly server?: ServerDump["server"];
  readonly threads?: ServerDump["threads"];
  readonly queues?: ServerDump["queues"];
  readonly queues_left_out?: number;
}

/** Asks for it. */
export async function dump(
  connection: Connection,
  { limit, ...options }: DumpOptions,
): Promise<ServerDump> {
  const request = limit === undefined ? {} : { limit };
  const reply = await once<WireDump>(connection, "debug.dump", request, options, true);
  checkForm(reply.server !== undefined, reply);
  const { server, threads = [], queues = [], queues_left_out: queuesLeftOut = 0 } = reply;
  return { server: server!, threads, queues, queuesLeftOut: Number(queuesLeftOut) };
}

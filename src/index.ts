// Querator inside a program: the same server that the command line starts.

import "./supported.ts"; // before all others
import type { ServerOptions } from "./config/config.ts";
import type { RunningServer, ServerHooks } from "./server/server.ts";

export type { ServerOptions } from "./config/config.ts";
export { ConfigError } from "./config/section.ts";
export { type ErrorCode, type ErrorKind, QueueError } from "./errors.ts";
export type { Limits } from "./limits.ts";
export type { RunningServer, ServerHooks } from "./server/server.ts";
export { VERSION } from "./version.ts";

/**
 * Starts a server; resolves when it accepts requests.
 * Rejects with a ConfigError for a wrong option, and with an error whose message is meant for the
 * user when the address or the data directory cannot be used.
 */
export async function startServer(
  options: ServerOptions = {},
  hooks: ServerHooks = {},
): Promise<RunningServer> {
  // Loaded here: where the server does not run, its modules could not even be linked.
  const server = await import("./server/server.ts");
  return server.startServer(options, hooks);
}

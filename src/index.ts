// Querator inside a program: the same server that the command line starts.

export type { ServerOptions } from "./config.ts";
export { ConfigError } from "./config-section.ts";
export { type ErrorKind, QueueError } from "./errors.ts";
export type { Limits } from "./limits.ts";
export { type RunningServer, type ServerHooks, startServer } from "./server.ts";
export { VERSION } from "./version.ts";

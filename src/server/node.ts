// The HTTP of one thread: the endpoints over the queues as this thread reaches them, the pages, and the
// server that answers both. The first thread and all others are put together here.

import { makeDevEndpoints } from "../api/dev.ts";
import { makeStreams } from "../api/events.ts";
import { makePages, type PagesSource } from "../api/pages.ts";
import { makeEndpoints } from "../api/routes.ts";
import type { Service } from "../api/service.ts";
import type { AuthService } from "../auth/service.ts";
import { type ClockChange, SystemClock } from "../clock.ts";
import type { Address, Config } from "../config/config.ts";
import type { AccessRules } from "../http/access.ts";
import { formatSize } from "../http/body.ts";
import type { Authority } from "../http/edge.ts";
import { type HttpOptions, HttpServer } from "../http/server.ts";
import type { Listeners } from "../observe/listeners.ts";
import { SpanSender } from "../observe/spans.ts";

export interface NodeOptions
  extends Service,
    Pick<HttpOptions, "log" | "meters">,
    Pick<PagesSource, "health" | "metrics"> {
  readonly config: Config;
  /** Changes the clock of every thread; answers what time it is then. Only asked with `--dev`. */
  readonly changeClock: (change: ClockChange) => Promise<number>;
  /** Those who listen to events through this thread. */
  readonly listeners: () => Listeners;
}

/** Makes the HTTP server of a thread; it does not listen yet. */
export function makeHttp({
  config,
  log,
  health,
  metrics,
  changeClock,
  listeners,
  ...service
}: NodeOptions): HttpServer {
  const { queues } = service;
  const endpoints = new Map([
    ...makeEndpoints(service),
    ...(config.dev ? makeDevEndpoints({ queues, changeClock }) : []),
  ]);
  const { tls } = config;
  // What is told takes the time that it takes, whatever a virtual clock says.
  const slow = config.otlp && new SpanSender(config.otlp, new SystemClock(), log);
  const http = new HttpServer({
    endpoints,
    slow,
    pages: makePages({ endpoints, formatSize, health, metrics }),
    streams: makeStreams({ listeners, checkRunning: service.checkRunning }),
    ...commonOptions({ log, ...service }, config),
    access: { ...accessOf(config, config), isSecure: tls !== undefined },
  });
  if (slow !== undefined) http.once("close", () => void slow.close());
  return http;
}

/**
 * Makes the HTTP server for those who run this one: a few pages and nothing else, without TLS, for what asks for them
 * has no certificate, and stands beside the server.
 */
export function makeAdminHttp(options: NodeOptions): HttpServer {
  const { config, health, metrics } = options;
  const endpoints = new Map();
  const pages = makePages({ endpoints, formatSize, health, metrics });
  return new HttpServer({
    endpoints,
    pages: new Map([...pages].filter(([, { isOfAdmin }]) => isOfAdmin === true)),
    ...commonOptions(options, config),
    access: accessOf(config, config.admin!),
  });
}

function commonOptions(
  { log, limits, auth, meters }: Pick<NodeOptions, "log" | "limits" | "auth" | "meters">,
  { keepAlive }: Config,
): Pick<HttpOptions, "log" | "limits" | "keepAlive" | "auth" | "meters"> {
  return { log, limits, meters, keepAlive, auth: auth.isOn ? authorityOf(auth) : undefined };
}

// No name leads to a Unix socket, so it need not be known there.
function accessOf(
  { allowedOrigins: origins, allowedHosts: hosts }: Config,
  { host, socket }: Address,
): AccessRules {
  return { origins, hosts, listensOn: socket === undefined ? host : "" };
}

// Who there is may be read anew while the server runs.
function authorityOf(auth: AuthService): Authority {
  return {
    principalOf: (authorization, certificate) => auth.state.principalOf(authorization, certificate),
    isTaken: (principal) => auth.state.isTaken(principal),
    accountOf: (namespace) => auth.state.accountOf(namespace),
  };
}

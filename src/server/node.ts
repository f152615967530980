// The HTTP of one thread: the endpoints over the queues as this thread reaches them, the pages, and the
// server that answers both. The first thread and all others are put together here.

import { makeDevEndpoints } from "../api/dev.ts";
import { makeStreams } from "../api/events.ts";
import { makePages, type PagesSource } from "../api/pages.ts";
import { makeEndpoints } from "../api/routes.ts";
import type { Service } from "../api/service.ts";
import type { AuthService } from "../auth/service.ts";
import type { ClockChange } from "../clock.ts";
import type { Address, Config } from "../config/config.ts";
import type { AccessRules } from "../http/access.ts";
import { formatSize } from "../http/body.ts";
import type { Authority, Pages } from "../http/edge.ts";
import { type HttpOptions, HttpServer } from "../http/server.ts";
import type { Listeners } from "../observe/listeners.ts";
import { UiPages } from "./ui.ts";

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
  const pages = makePages({ endpoints, formatSize, health, metrics });
  return new HttpServer({
    endpoints,
    pages: config.admin === undefined ? withUi(pages, config) : pages,
    streams: makeStreams({ listeners, checkRunning: service.checkRunning }),
    ...commonOptions({ log, ...service }, config),
    access: {
      ...accessOf(config, config),
      isSecure: tls !== undefined,
      readOnly: config.ui === "read-only" ? "pages" : undefined,
    },
  });
}

/**
 * Makes the HTTP server for those who run this one: the pages for them, and with the dashboard that and all of /v2. Without
 * TLS, for what asks for some of it has no certificate, and stands beside the server.
 */
export function makeAdminHttp(options: NodeOptions): HttpServer {
  const { config, log, health, metrics, listeners, changeClock: _, ...service } = options;
  const isThere = ([path]: readonly [string, unknown]): boolean =>
    config.ui !== "off" && path.startsWith("/v2/");
  const endpoints = new Map([...makeEndpoints(service)].filter(isThere));
  const streams = makeStreams({ listeners, checkRunning: service.checkRunning });
  const pages = makePages({ endpoints, formatSize, health, metrics });
  const ofAdmin = new Map([...pages].filter(([, { isOfAdmin }]) => isOfAdmin === true));
  return new HttpServer({
    endpoints,
    pages: withUi(ofAdmin, config),
    streams: new Map([...streams].filter(isThere)),
    ...commonOptions({ log, ...service }, config),
    access: {
      ...accessOf(config, config.admin!),
      readOnly: config.ui === "read-only" ? "all" : undefined,
    },
  });
}

// The dashboard is at one address only.
function withUi(pages: Pages, { ui, auth }: Config): Pages {
  if (ui === "off") return pages;
  const own = new UiPages({ isReadOnly: ui === "read-only", hasKeys: auth.isOn });
  return { get: (path) => own.get(path) ?? pages.get(path) };
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

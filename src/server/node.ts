// The HTTP of one thread: the endpoints over the queues as this thread reaches them, the pages, and the
// server that answers both. The first thread and all others are put together here.

import { makeDevEndpoints } from "../api/dev.ts";
import { makePages, type PagesSource } from "../api/pages.ts";
import { makeEndpoints } from "../api/routes.ts";
import type { Service } from "../api/service.ts";
import type { AuthService } from "../auth/service.ts";
import type { ClockChange } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { formatSize } from "../http/body.ts";
import type { Authority } from "../http/edge.ts";
import { type HttpOptions, HttpServer } from "../http/server.ts";

export interface NodeOptions
  extends Service,
    Pick<HttpOptions, "log">,
    Pick<PagesSource, "health"> {
  readonly config: Config;
  /** Changes the clock of every thread; answers what time it is then. Only asked with `--dev`. */
  readonly changeClock: (change: ClockChange) => Promise<number>;
}

/** Makes the HTTP server of a thread; it does not listen yet. */
export function makeHttp({
  config,
  log,
  health,
  changeClock,
  ...service
}: NodeOptions): HttpServer {
  const { queues, limits, auth } = service;
  const endpoints = new Map([
    ...makeEndpoints(service),
    ...(config.dev ? makeDevEndpoints({ queues, changeClock }) : []),
  ]);
  const { host, keepAlive, allowedOrigins: origins, allowedHosts: hosts } = config;
  return new HttpServer({
    endpoints,
    pages: makePages({ endpoints, formatSize, health }),
    limits,
    log,
    keepAlive,
    auth: auth.isOn ? authorityOf(auth) : undefined,
    access: { origins, hosts, listensOn: host },
  });
}

// Who there is may be read anew while the server runs.
function authorityOf(auth: AuthService): Authority {
  return {
    principalOf: (authorization) => auth.state.principalOf(authorization),
    isTaken: (principal) => auth.state.isTaken(principal),
  };
}

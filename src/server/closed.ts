// A server that others can reach asks who they are, unless it was said that it need not.

import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/section.ts";
import { isLoopback } from "../http/access.ts";

/** Throws a ConfigError if everybody on the network could do everything, and nobody has said that they may. */
export function checkClosed({ host, auth }: Config): void {
  // Who may use a Unix socket is said by its mode; its host is `localhost`.
  if (auth.isOn || auth.isSaid || isLoopback(host)) return;
  const where = host === "" ? "all interfaces" : `'${host}'`;
  throw new ConfigError(
    `address: ${where} can be reached from other machines, and nobody has to show a key; use --auth keys, or --auth none if everybody may do everything`,
  );
}

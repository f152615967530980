// A server that others can reach asks who they are, unless it was said that it need not.

import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/section.ts";
import { isLoopback } from "../http/access.ts";
import type { Logger } from "../log.ts";

/** Throws a ConfigError if everybody on the network could do everything, and nobody has said that they may. */
export function checkClosed({ auth, ...config }: Config): void {
  // Who may use a Unix socket is said by its mode; its host is `localhost`.
  if (auth.isOn || auth.isSaid) return;
  const open = doorsOf(config).find(([, host]) => !isLoopback(host));
  if (open === undefined) return;
  const where = open[1] === "" ? "all interfaces" : `'${open[1]}'`;
  throw new ConfigError(
    `${open[0]}: ${where} can be reached from other machines, and nobody has to show a key; use --auth keys, or --auth none if everybody may do everything`,
  );
}

/** Says that everybody may do everything, where that may not be meant; `wasClosed` if the data is of a server with keys. */
export function tellOpen({ auth, ...config }: Config, wasClosed: boolean, log: Logger): void {
  if (auth.isOn) return;
  if (doorsOf(config).some(([, host]) => !isLoopback(host))) {
    log.warn("everybody who reaches this server may do everything, without a key");
  } else if (wasClosed) {
    log.warn(
      "nobody has to show a key, as an earlier start had it; --auth keys asks for one again",
    );
  }
}

// Where something can be changed, by the option that says so.
function doorsOf({
  host,
  admin,
  ui,
}: Pick<Config, "host" | "admin" | "ui">): readonly (readonly [option: string, host: string])[] {
  const hasCalls = admin !== undefined && ui !== "off";
  return [["address", host], ...(hasCalls ? [["admin-address", admin.host] as const] : [])];
}

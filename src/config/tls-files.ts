// What the files of TLS hold, for a server that speaks it and for who only looks whether one could. An error names the
// option whose file is wrong.

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { type Clock, HOUR, MILLISECOND } from "../clock.ts";
import type { TlsConfig } from "./listening.ts";

// Somebody still has time to do something about a certificate that ends.
const SOON = 14 * 24 * HOUR;

/** What the files hold: no more and no less than what TLS is spoken with. */
export interface TlsFiles {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly clientCa: Buffer | undefined;
}

/** Reads them. Throws an error whose message is for the user. */
export function readTlsFiles({ cert, key, clientCa }: TlsConfig): TlsFiles {
  return {
    cert: readFile(cert, "tls-cert"),
    key: readFile(key, "tls-key"),
    clientCa: clientCa === undefined ? undefined : readFile(clientCa, "tls-client-ca"),
  };
}

function readFile(path: string, option: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Error(`${option}: cannot read the file: ${(cause as Error).message}`, { cause });
  }
}

/** Throws an error, with a message for the user, if TLS cannot be spoken with them. */
export function checkTlsFiles({ cert, key, clientCa }: TlsFiles, config: TlsConfig): void {
  // Each by itself first, so that the error names the one that is wrong.
  tryOut({ cert }, `tls-cert: '${config.cert}' holds no certificate in PEM form`);
  tryOut({ key }, `tls-key: '${config.key}' holds no key in PEM form without a passphrase`);
  tryOut({ cert, key }, `tls-key: '${config.key}' is not the key of '${config.cert}'`);
  if (clientCa !== undefined) {
    const text = `tls-client-ca: '${config.clientCa}' holds no certificates in PEM form`;
    // Of none at all the system's own authorities would be taken, and none be let in.
    if (!clientCa.includes("-----BEGIN ")) throw new Error(text);
    tryOut({ ca: clientCa }, text);
  }
}

function tryOut(part: { cert?: Buffer; key?: Buffer; ca?: Buffer }, text: string): void {
  try {
    createSecureContext(part);
    if (part.ca !== undefined) new X509Certificate(part.ca);
  } catch (cause) {
    throw new Error(text, { cause });
  }
}

/** When a certificate ends. */
export function endOf(cert: Uint8Array): Date {
  return new X509Certificate(cert).validToDate;
}

/** Whether something should be done about a certificate that ends then. */
export function endsSoon(end: Date, clock: Pick<Clock, "now">): boolean {
  return end.getTime() * MILLISECOND - clock.now() <= SOON;
}

// The files of TLS: read and checked at the start, and again when somebody says so or when they hold something else.
// They are looked at, and not watched: what replaces them may rename, link or write, on any file system. What
// cannot be used is told, and what was read before goes on.

import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { type CancelTimer, type Clock, HOUR, MILLISECOND, SECOND, SystemClock } from "../clock.ts";
import type { TlsConfig } from "../config/config.ts";
import type { TlsMaterial } from "../http/secure.ts";
import type { Logger } from "../log.ts";

const LOOK = 5 * SECOND;
// Somebody still has time to do something about a certificate that ends.
const SOON = 14 * 24 * HOUR;
const TICKET_KEY_BYTES = 48;

export interface CertificatesOptions {
  readonly config: TlsConfig;
  /** Has real time, for certificates live in it. */
  readonly clock: Clock;
  readonly log: Logger;
}

/** What the files hold: no more and no less than what TLS is spoken with. */
interface Files {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly clientCa: Buffer | undefined;
}

export class Certificates {
  readonly #options: CertificatesOptions;
  #material: TlsMaterial;
  /** The digest of what is in use. */
  #inUse: string;
  /** Why what was found last could not be used; "" if it could. */
  #trouble = { reason: "", isTold: false };
  #cancel: CancelTimer | undefined;
  #use: ((material: TlsMaterial) => Promise<void>) | undefined;
  // One look at a time.
  #looking: Promise<void> = Promise.resolve();

  /** Reads them. Throws an error whose message is for the user. */
  constructor(options: CertificatesOptions) {
    this.#options = options;
    const files = readFiles(options.config);
    this.#material = materialOf(files, options.config);
    this.#inUse = digestOf(files);
    this.#tellEnd();
  }

  get material(): TlsMaterial {
    return this.#material;
  }

  /** When the certificate ends, as people read it. */
  get until(): string {
    return new X509Certificate(this.#material.cert).validToDate.toISOString().slice(0, 10);
  }

  /** Looks at them from now on; `use` is given what they hold when that is something else. */
  follow(use: (material: TlsMaterial) => Promise<void>): void {
    this.#use = use;
    this.#later();
  }

  #later(): void {
    this.#cancel = this.#options.clock.wakeAfter(LOOK, () => {
      void this.#inTurn(false).then(() => {
        if (this.#cancel !== undefined) this.#later();
      });
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** Reads them now, as somebody has said that they are others. What cannot be used is logged, and changes nothing. */
  reload(): Promise<void> {
    return this.#inTurn(true);
  }

  #inTurn(isAsked: boolean): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look(isAsked));
    return this.#looking;
  }

  async #look(isAsked: boolean): Promise<void> {
    const { config, log } = this.#options;
    try {
      const files = readFiles(config);
      const digest = digestOf(files);
      if (digest !== this.#inUse) {
        const material = materialOf(files, config);
        await this.#use?.(material);
        this.#material = material;
        this.#inUse = digest;
        log.info({ until: this.until }, "the files of TLS were read anew");
        this.#tellEnd();
      } else if (isAsked) log.info({ until: this.until }, "the files of TLS are as they were");
      this.#trouble = { reason: "", isTold: false };
    } catch (error) {
      this.#tellTrouble((error as Error).message, isAsked);
    }
  }

  // One of two files may have been written, and the other not yet: it is told once, if it stays like that.
  #tellTrouble(reason: string, isAsked: boolean): void {
    const { log } = this.#options;
    const stays = reason === this.#trouble.reason;
    if (isAsked || (stays && !this.#trouble.isTold)) {
      log.error({ reason }, "the files of TLS cannot be used; what was read before goes on");
    }
    this.#trouble = { reason, isTold: isAsked || stays };
  }

  #tellEnd(): void {
    const { clock, log } = this.#options;
    const { validToDate } = new X509Certificate(this.#material.cert);
    const left = validToDate.getTime() * MILLISECOND - clock.now();
    if (left > SOON) return;
    const text = left > 0 ? "the certificate ends soon" : "the certificate has ended";
    log.warn({ until: validToDate.toISOString() }, text);
  }
}

/** What there is to know of files of TLS that no server reads yet. Throws as a start with them would. */
export function readCertificate(config: TlsConfig): {
  /** The day on which the certificate ends. */
  readonly until: string;
  readonly endsSoon: boolean;
} {
  const { validToDate } = new X509Certificate(materialOf(readFiles(config), config).cert);
  const left = validToDate.getTime() * MILLISECOND - new SystemClock().now();
  return { until: validToDate.toISOString().slice(0, 10), endsSoon: left <= SOON };
}

function readFiles({ cert, key, clientCa }: TlsConfig): Files {
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

function digestOf({ cert, key, clientCa }: Files): string {
  const hash = createHash("sha256");
  for (const each of [cert, key, clientCa ?? Buffer.alloc(0)]) {
    hash.update(`${each.length}:`).update(each);
  }
  return hash.digest("base64");
}

// Each file is tried by itself first, so that the error names the one that is wrong.
function materialOf(files: Files, config: TlsConfig): TlsMaterial {
  const { cert, key, clientCa } = files;
  const { minVersion, clientAuth } = config;
  tryOut({ cert }, `tls-cert: '${config.cert}' holds no certificate in PEM form`);
  tryOut({ key }, `tls-key: '${config.key}' holds no key in PEM form without a passphrase`);
  tryOut({ cert, key }, `tls-key: '${config.key}' is not the key of '${config.cert}'`);
  if (clientCa !== undefined) {
    const text = `tls-client-ca: '${config.clientCa}' holds no certificates in PEM form`;
    // Of none at all the system's own authorities would be taken, and none be let in.
    if (!clientCa.includes("-----BEGIN ")) throw new Error(text);
    tryOut({ ca: clientCa }, text);
  }
  return { cert, key, minVersion, clientCa, clientAuth, ticketKeys: randomBytes(TICKET_KEY_BYTES) };
}

function tryOut(part: { cert?: Buffer; key?: Buffer; ca?: Buffer }, text: string): void {
  try {
    createSecureContext(part);
    if (part.ca !== undefined) new X509Certificate(part.ca);
  } catch (cause) {
    throw new Error(text, { cause });
  }
}

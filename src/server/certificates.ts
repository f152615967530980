// The files of TLS: read and checked at the start, and again when somebody says so or when they hold something else.
// They are looked at, and not watched: what replaces them may rename, link or write, on any file system. What
// cannot be used is told, and what was read before goes on.

import { createHash, randomBytes } from "node:crypto";
import { type CancelTimer, type Clock, MILLISECOND, SECOND } from "../clock.ts";
import type { TlsConfig } from "../config/config.ts";
import {
  checkTlsFiles,
  endOf,
  endsSoon,
  readTlsFiles,
  type TlsFiles,
} from "../config/tls-files.ts";
import type { TlsMaterial } from "../http/secure.ts";
import type { Logger } from "../log.ts";

const LOOK = 5 * SECOND;
const TICKET_KEY_BYTES = 48;

export interface CertificatesOptions {
  readonly config: TlsConfig;
  /** Has real time, for certificates live in it. */
  readonly clock: Clock;
  readonly log: Logger;
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
    const files = readTlsFiles(options.config);
    this.#material = materialOf(files, options.config);
    this.#inUse = digestOf(files);
    this.#tellEnd();
  }

  get material(): TlsMaterial {
    return this.#material;
  }

  /** When the certificate ends, as people read it. */
  get until(): string {
    return endOf(this.#material.cert).toISOString().slice(0, 10);
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
      const files = readTlsFiles(config);
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
    const end = endOf(this.#material.cert);
    if (!endsSoon(end, clock)) return;
    const hasEnded = end.getTime() * MILLISECOND <= clock.now();
    const text = hasEnded ? "the certificate has ended" : "the certificate ends soon";
    log.warn({ until: end.toISOString() }, text);
  }
}

function digestOf({ cert, key, clientCa }: TlsFiles): string {
  const hash = createHash("sha256");
  for (const each of [cert, key, clientCa ?? Buffer.alloc(0)]) {
    hash.update(`${each.length}:`).update(each);
  }
  return hash.digest("base64");
}

function materialOf(files: TlsFiles, config: TlsConfig): TlsMaterial {
  checkTlsFiles(files, config);
  const { minVersion, clientAuth } = config;
  return { ...files, minVersion, clientAuth, ticketKeys: randomBytes(TICKET_KEY_BYTES) };
}

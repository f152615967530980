// Certificates for tests, made by openssl: an authority, and what it signs. Keys are of elliptic curves, which are made at
// once.

import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { temporaryDirectory } from "./server.ts";

/** What tests are skipped for where there is none. */
export const NO_OPENSSL =
  spawnSync("openssl", ["version"]).status === 0 ? false : "there is no openssl here";

/** The files of a certificate and its key. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** An authority in a directory of its own. */
export class Authority {
  readonly dir: string;
  readonly ca: string;

  constructor(t: TestContext) {
    this.dir = temporaryDirectory(t);
    this.ca = join(this.dir, "ca.crt");
    const files = ["-keyout", "ca.key", "-out", "ca.crt"];
    this.#openssl("req", "-x509", ...KEY, ...files, "-subj", "/CN=ca", "-days", "30");
  }

  #openssl(...args: string[]): void {
    execFileSync("openssl", args, { cwd: this.dir, stdio: "pipe" });
  }

  /** Signs a certificate for a subject: of a server on this machine, or of a client. */
  sign(name: string, subject = `/CN=${name}`, days = "30"): Pair {
    const [cert, key] = [join(this.dir, `${name}.crt`), join(this.dir, `${name}.key`)];
    this.#openssl("req", ...KEY, "-keyout", key, "-out", `${name}.csr`, "-subj", subject);
    writeFileSync(join(this.dir, "ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost");
    const authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    const files = ["-in", `${name}.csr`, "-out", cert, "-extfile", "ext", "-days", days];
    this.#openssl("x509", "-req", ...files, ...authority);
    return { cert, key };
  }
}

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** What two files hold. */
export function contents({ cert, key }: Pair): { readonly cert: Buffer; readonly key: Buffer } {
  return { cert: readFileSync(cert), key: readFileSync(key) };
}

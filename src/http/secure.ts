// TLS in front of both readers: a connection is taken in once its client has shaken hands, and is then read like any
// other. What the files hold may be replaced while the server runs: connections that are there keep
// what they began with, new ones get the new.

import type { Socket } from "node:net";
import { createServer, type SecureContextOptions, type TLSSocket } from "node:tls";
import type { ClientCertificate } from "../auth/principal.ts";
import { MILLISECOND, MINUTE, SystemClock } from "../clock.ts";
import type { Logger } from "../log.ts";

/** What TLS is spoken with; it goes from thread to thread as it is. */
export interface TlsMaterial {
  readonly cert: Uint8Array;
  readonly key: Uint8Array;
  readonly minVersion: "1.2" | "1.3";
  /** Authorities whose certificates clients show, if they show any. */
  readonly clientCa: Uint8Array | undefined;
  /** Whether a client without a certificate is let in. */
  readonly clientAuth: "required" | "optional";
  /**
   * With which sessions are sealed that clients may go on with: the same on all threads, and others when anything of
   * this is, so that no session outlives the authority that its client was let in by.
   */
  readonly ticketKeys: Uint8Array;
}

// A client that does not shake hands is cut off, as one that does not send its request is.
const HANDSHAKE_MS = 10_000;

// The log says at most this often that certificates are shown that do not hold.
const TELL_AGAIN = MINUTE;

/** Takes connections in that speak TLS. */
export class SecureDoor {
  readonly #server: ReturnType<typeof createServer>;
  // All connections below those that are taken in, and those that shake hands.
  readonly #open = new Set<Socket>();
  // Where they come from, for when they are closed already.
  readonly #from = new WeakMap<Socket, string>();
  readonly #log: Logger;
  readonly #clock = new SystemClock();
  // When, in steady time, the log was told last of certificates that do not hold, and how many there were since.
  #toldAt = Number.NEGATIVE_INFINITY;
  #untold = 0;

  /** `take` is given each connection that may come in. */
  constructor(
    material: TlsMaterial,
    take: (socket: TLSSocket) => void,
    { log, handshakeMs = HANDSHAKE_MS }: { readonly log: Logger; readonly handshakeMs?: number },
  ) {
    this.#log = log;
    const { clientCa, clientAuth } = material;
    this.#server = createServer({
      ...contextOf(material),
      // Who offers nothing else than HTTP/2 is told, before it sends any (docs/decisions/0062).
      ALPNProtocols: ["http/1.1"],
      handshakeTimeout: handshakeMs,
      requestCert: clientCa !== undefined,
      rejectUnauthorized: clientAuth === "required",
    });
    this.#server.on("secureConnection", (socket) => {
      // One that is shown must hold, also where none need be.
      if (clientCa !== undefined && !socket.authorized && isShown(socket)) {
        this.#tellRefused(socket);
        socket.destroy();
      } else take(socket);
    });
    // The client has gone, or speaks something else: node closes the connection. But not of one that takes too long.
    this.#server.on("tlsClientError", (error: NodeJS.ErrnoException, socket) => {
      if (error.code === "ERR_SSL_HTTP_REQUEST") sayHttps(socket);
      else if (error.code === "ERR_TLS_HANDSHAKE_TIMEOUT") socket.destroy();
      // Where one is required, and the one that was shown does not hold.
      else if (reasonOf(socket) !== undefined) this.#tellRefused(socket);
    });
  }

  // Its client sees no more than that the connection is closed.
  #tellRefused(socket: TLSSocket): void {
    this.#untold++;
    const now = this.#clock.steady();
    if (now - this.#toldAt < TELL_AGAIN) return;
    const from = this.#from.get(belowOf(socket)!);
    this.#log.warn(
      { ...(from !== undefined && { from }), reason: reasonOf(socket), certificates: this.#untold },
      "a client has shown a certificate that does not hold, and was not let in",
    );
    this.#toldAt = now;
    this.#untold = 0;
  }

  /** Speaks with something else from now on. Throws if that cannot be used. */
  replace(material: TlsMaterial): void {
    this.#server.setSecureContext(contextOf(material));
  }

  accept(socket: Socket): void {
    this.#open.add(socket);
    this.#from.set(socket, socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, "") ?? "unix");
    socket.once("close", () => this.#open.delete(socket));
    this.#server.emit("connection", socket);
  }

  /** Closes all connections at once, also those that have not shaken hands. */
  destroy(): void {
    for (const socket of this.#open) socket.destroy();
  }
}

function contextOf(material: TlsMaterial): SecureContextOptions & { ticketKeys: Buffer } {
  const { cert, key, minVersion, clientCa, ticketKeys } = material;
  return {
    cert: Buffer.from(cert),
    key: Buffer.from(key),
    minVersion: `TLSv${minVersion}`,
    ...(clientCa === undefined ? {} : { ca: Buffer.from(clientCa) }),
    ticketKeys: Buffer.from(ticketKeys),
  };
}

const USE_HTTPS = JSON.stringify({
  type: "/docs#invalid_request",
  title: "Invalid request",
  status: 400,
  code: "invalid_request",
  detail: "TLS is spoken here; use https:// in place of http://",
});

const TO_HTTPS =
  "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n" +
  `Connection: close\r\nContent-Length: ${USE_HTTPS.length}\r\n\r\n${USE_HTTPS}`;

function belowOf(socket: TLSSocket): Socket | undefined {
  return (socket as { readonly _parent?: Socket })._parent;
}

// Who has come with plain HTTP sees why nothing is answered. What they sent has been read by nobody. Node does not
// promise to name the connection below; without it, it is closed without a word.
function sayHttps(socket: TLSSocket): void {
  const below = belowOf(socket);
  if (below?.writable !== true) return;
  below.write(TO_HTTPS);
  // Also if the client never closes its side.
  below.destroySoon();
}

// Why a certificate does not hold, as a code such as CERT_HAS_EXPIRED. Of one that holds, or is not shown, it is not set.
function reasonOf({ authorizationError }: TLSSocket): string | undefined {
  return (authorizationError as unknown as string | null | undefined) ?? undefined;
}

function isShown(socket: TLSSocket): boolean {
  return Object.keys(socket.getPeerCertificate()).length > 0;
}

const certificates = new WeakMap<Socket, ClientCertificate>();

/** The certificate that the client of a connection has shown, if it is from one of the authorities. */
export function certificateOf(socket: Socket): ClientCertificate | undefined {
  // Of a connection without TLS this is undefined, which costs nothing.
  if ((socket as Partial<TLSSocket>).authorized !== true) return undefined;
  const known = certificates.get(socket);
  if (known !== undefined) return known;
  const { subject, valid_to } = (socket as TLSSocket).getPeerCertificate();
  const name: unknown = subject?.CN;
  const certificate: ClientCertificate = {
    // Of several it is not known which one is meant.
    name: typeof name === "string" ? name : "",
    expiresAt: Date.parse(valid_to) * MILLISECOND,
  };
  certificates.set(socket, certificate);
  return certificate;
}

// A request that node:http has read, as a handler sees it, and who sends it. The exchange of plain requests is their
// connection (connection.ts).

import type { IncomingMessage, ServerResponse } from "node:http";
import { ANYONE, Principal } from "../auth/principal.ts";
import { tagOf } from "../auth/secrets.ts";
import { type Edge, type Exchange, peerOf, type Reply, waitOn } from "./edge.ts";
import type { Head, Told } from "./head.ts";
import { certificateOf } from "./secure.ts";
import { belong } from "./tenants.ts";

/** Who sends a request; who is nobody is counted. Throws a QueueError (401, 429). */
export function principalOf(
  { socket }: IncomingMessage,
  { authorization }: Told,
  edge: Edge,
): Principal {
  if (edge.auth === undefined) return ANYONE;
  let principal: Principal;
  try {
    principal = edge.auth.principalOf(authorization, certificateOf(socket));
  } catch (error) {
    const key = authorization?.startsWith("Bearer ") ? authorization.slice(7) : "";
    throw edge.attempts.note(socket.remoteAddress ?? "", tagOf(key) ?? "", error);
  }
  const refused = belong(socket, principal, edge.auth);
  if (refused !== undefined) throw refused;
  return principal;
}

/** Who reads a page, which needs no key: with one that is not taken they are nobody. */
export function readerOf(request: IncomingMessage, told: Told, edge: Edge): Principal | undefined {
  try {
    return principalOf(request, told, edge);
  } catch {
    return undefined;
  }
}

/** The exchange. */
export class HttpExchange implements Exchange {
  readonly #response: ServerResponse;
  readonly #head: Head;
  readonly #edge: Edge;
  readonly #send: (reply: Reply) => void;
  queue = "";
  waitedUntil = 0;
  #principal: Principal;
  #isCut = false;

  /** `send` sends a reply while the request is still under way. */
  constructor(
    response: ServerResponse,
    head: Head,
    principal: Principal,
    edge: Edge,
    send: (reply: Reply) => void,
  ) {
    this.#send = send;
    this.#response = response;
    this.#head = head;
    this.#principal = principal;
    this.#edge = edge;
  }

  get requestId(): string {
    return this.#head.requestId;
  }

  get idempotencyKey(): string {
    const { isV2, idempotencyKey = "" } = this.#head;
    return isV2 ? idempotencyKey : "";
  }

  get namespace(): string {
    return this.#head.namespace ?? "";
  }

  get traceparent(): string | undefined {
    const head = this.#head;
    return head.isV2 ? head.traceparent : undefined;
  }

  get tracestate(): string | undefined {
    return this.#head.tracestate;
  }

  get principal(): Principal {
    return this.#principal;
  }

  get address(): string {
    return peerOf(this.#response.req.socket);
  }

  isGone(): boolean {
    return this.#isCut || this.#response.req.socket.destroyed;
  }

  onGone(gone: () => void): void {
    const response = this.#response;
    const cut = (): void => this.#cut(cut, gone);
    response.once("close", () => {
      this.#principal.offEnd(cut);
      if (!response.writableEnded) gone();
    });
    if (this.#edge.auth !== undefined) this.#principal.onEnd(cut);
  }

  // The key of a request that waits was taken away.
  #cut(cut: () => void, gone: () => void): void {
    const head = this.#head;
    const response = this.#response;
    const next = waitOn(head, head.accepted, this.#edge, {
      before: this.#principal,
      socket: response.req.socket,
    });
    if (next instanceof Principal) {
      this.#principal = next;
      next.onEnd(cut);
      return;
    }
    this.#isCut = true;
    askForKey(response, next, head);
    this.#send(next);
    gone();
  }
}

/** Says of a reply of 401 under /v2 what to do. */
export function askForKey(response: ServerResponse, { status }: Reply, { isV2 }: Told): void {
  if (isV2 && status === 401) response.setHeader("WWW-Authenticate", "Bearer");
}

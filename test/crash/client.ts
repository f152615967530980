// A client that survives the server: requests over kept-alive connections to wherever the host
// says the server is. An answer is whole or the request is broken; nothing is ever sent twice.

import { requestText } from "../support/http-text.ts";
import { RawConnection } from "../support/raw-connection.ts";
import type { Host } from "./host.ts";

// No answer for so long is a defect: every request here has a shorter time-out of its own.
const SILENCE_MS = 30_000;

/** What became of a request. Times are milliseconds since 1970. */
export interface Answer {
  /** 0 if the connection broke before the whole answer was there: nobody knows what happened. */
  readonly status: number;
  readonly text: string;
  readonly sentAt: number;
  readonly at: number;
}

/** A client of a server that dies. */
export class Client {
  readonly #host: Host;
  #idle: RawConnection[] = [];
  readonly #open = new Set<RawConnection>();
  /** Requests that were never answered although the server lived. */
  silent: string[] = [];

  constructor(host: Host) {
    this.#host = host;
  }

  /** Sends a request as soon as the server is up, with a key if one is given; rejects if it has ended by itself. */
  async post(path: string, request: object, key?: string): Promise<Answer> {
    const port = await this.#host.up();
    const sentAt = Date.now();
    const connection = await this.#connect(port);
    if (connection === undefined) return { status: 0, text: "", sentAt, at: Date.now() };
    const body = JSON.stringify(request);
    const waitMs = SILENCE_MS;
    const headers = key === undefined ? "" : `Authorization: Bearer ${key}\r\n`;
    const outcome = await connection.send(requestText(path, body, headers), { waitMs });
    if (outcome.kind === "silent") this.silent.push(`${path} ${body.slice(0, 200)}`);
    if (connection.isOpen) this.#idle.push(connection);
    else this.#open.delete(connection);
    const at = Date.now();
    if (outcome.kind !== "reply") return { status: 0, text: "", sentAt, at };
    return { status: outcome.reply.status, text: outcome.reply.body.toString(), sentAt, at };
  }

  /** Sends a request that must succeed, again if the connection breaks; answers the body. */
  async ok<T>(path: string, request: object, key?: string): Promise<T> {
    for (;;) {
      const { status, text } = await this.post(path, request, key);
      if (status === 0) continue;
      if (status !== 200) throw new Error(`${path}: ${status} ${text}`);
      return JSON.parse(text) as T;
    }
  }

  close(): void {
    for (const connection of this.#open) connection.destroy();
  }

  // Answers undefined if nobody listens there any more.
  async #connect(port: number): Promise<RawConnection | undefined> {
    this.#idle = this.#idle.filter((each) => each.isOpen);
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    const connection = await RawConnection.open(port).catch(() => undefined);
    if (connection !== undefined) this.#open.add(connection);
    return connection;
  }
}

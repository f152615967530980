// The API as a test speaks it beside what it tests: JSON on a connection of its own, opened again
// when it was closed. One call at a time; a reply that does not come in time, or is not whole, is an
// error.

import { requestText } from "./http-text.ts";
import { RawConnection } from "./raw-connection.ts";

export interface ApiReply {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
  readonly body: any;
}

export interface ApiOptions {
  /** A reply that takes longer is an error. */
  readonly waitMs?: number;
  /** This machine unless it is said. */
  readonly host?: string;
  /** More headers of every request, each with its line end. */
  readonly headers?: string;
}

/** A client of the API, one call at a time. */
export class Api {
  readonly #port: number;
  readonly #host: string | undefined;
  readonly #waitMs: number;
  readonly #headers: string;
  #connection: RawConnection | undefined;

  constructor(port: number, { waitMs = 30_000, host, headers = "" }: ApiOptions = {}) {
    this.#port = port;
    this.#host = host;
    this.#waitMs = waitMs;
    this.#headers = headers;
  }

  /** Calls an endpoint, with JSON or with text as it is; rejects if no whole reply comes. */
  async call(path: string, request: object | string): Promise<ApiReply> {
    if (this.#connection?.isOpen !== true) {
      this.#connection = await RawConnection.open(this.#port, this.#host);
    }
    const waitMs = this.#waitMs;
    const text = requestText(path, request, this.#headers);
    const outcome = await this.#connection.send(text, { waitMs });
    if (outcome.kind !== "reply") throw new Error(`${path}: no reply, ${outcome.kind}`);
    const { status, body } = outcome.reply;
    return { status, body: JSON.parse(body.toString()) };
  }

  /** Calls an endpoint that must succeed; answers the body. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
  async ok(path: string, request: object): Promise<any> {
    const { status, body } = await this.call(path, request);
    if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  close(): void {
    this.#connection?.destroy();
  }
}

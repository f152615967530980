// The API as a test speaks it beside what it tests: JSON on a connection of its own, opened again
// when it was closed. One call at a time; a reply that does not come in time, or is not whole, is an
// error.

import { RawConnection } from "./raw-connection.ts";

export interface ApiReply {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
  readonly body: any;
}

/** A client of the API, one call at a time. */
export class Api {
  readonly #port: number;
  readonly #waitMs: number;
  #connection: RawConnection | undefined;

  /** `waitMs`: a reply that takes longer is an error. */
  constructor(port: number, waitMs = 30_000) {
    this.#port = port;
    this.#waitMs = waitMs;
  }

  /** Calls an endpoint; rejects if no whole reply comes. One call at a time. */
  async call(path: string, request: object): Promise<ApiReply> {
    return this.post(path, JSON.stringify(request));
  }

  async post(path: string, json: string): Promise<ApiReply> {
    if (this.#connection?.isOpen !== true) this.#connection = await RawConnection.open(this.#port);
    const outcome = await this.#connection.send(
      `POST /v1/${path} HTTP/1.1\r\nHost: querator\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`,
      { waitMs: this.#waitMs },
    );
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

// One keep-alive connection to a server, one request at a time, that can be cut in the middle of a
// request. It notes when the first byte goes out and when the whole reply is there.

import { connect, type Socket } from "node:net";

export interface Response {
  readonly status: number;
  readonly body: string;
  /** Milliseconds, like performance.now(). */
  readonly at: number;
}

export class Connection {
  readonly #socket: Socket;
  readonly #host: string;
  #received = Buffer.alloc(0);
  #resolve: ((response: Response | undefined) => void) | undefined;
  #open = true;

  private constructor(socket: Socket, host: string) {
    this.#socket = socket;
    this.#host = host;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", () => {});
    socket.on("close", () => this.#lose());
  }

  static open(url: URL): Promise<Connection> {
    const { promise, resolve, reject } = Promise.withResolvers<Connection>();
    const socket = connect(Number(url.port), url.hostname, () => {
      socket.off("error", reject);
      resolve(new Connection(socket, url.host));
    });
    socket.once("error", reject);
    return promise;
  }

  get open(): boolean {
    return this.#open;
  }

  /** Sends a request; answers undefined if the connection ends before the reply. */
  post(path: string, body: string): Promise<Response | undefined> {
    const { promise, resolve } = Promise.withResolvers<Response | undefined>();
    if (!this.#open) {
      resolve(undefined);
      return promise;
    }
    this.#resolve = resolve;
    this.#socket.write(this.#head(path, body) + body);
    return promise;
  }

  /** Sends a part of a request, never its last byte, and cuts the connection. */
  async postPart(path: string, body: string, part: number): Promise<void> {
    const whole = this.#head(path, body) + body;
    const bytes = Math.max(1, Math.min(Math.floor(whole.length * part), whole.length - 1));
    await new Promise<void>((resolve) => {
      this.#socket.write(whole.slice(0, bytes), () => resolve());
      this.#socket.once("close", () => resolve());
    });
    this.cut(false);
  }

  /** Ends the connection at once; with a reset, the other side hears of it as an error. */
  cut(reset: boolean): void {
    if (reset) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
    this.#lose();
  }

  #head(path: string, body: string): string {
    return `POST ${path} HTTP/1.1\r\nHost: ${this.#host}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  }

  #lose(): void {
    this.#open = false;
    this.#resolve?.(undefined);
    this.#resolve = undefined;
  }

  #take(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    const end = this.#received.indexOf("\r\n\r\n");
    if (end === -1) return;
    const head = this.#received.toString("latin1", 0, end);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    if (this.#received.length < end + 4 + length) return;
    const body = this.#received.toString("utf8", end + 4, end + 4 + length);
    this.#received = this.#received.subarray(end + 4 + length);
    this.#resolve?.({ status: Number(head.slice(9, 12)), body, at: performance.now() });
    this.#resolve = undefined;
  }
}

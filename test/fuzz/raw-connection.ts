// One connection on which any bytes can be sent, also such as no HTTP client would. It sends one
// request at a time and tells what came back: a reply, the end of the connection, or nothing in time.
// Replies are parsed as far as our servers write them.

import { connect, type Socket } from "node:net";

export interface RawReply {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

export type Outcome =
  | { readonly kind: "reply"; readonly reply: RawReply }
  /** The connection was closed without a whole reply. */
  | { readonly kind: "closed"; readonly received: Buffer }
  /** Nothing has come in time; the connection is given up. */
  | { readonly kind: "silent" };

export interface SendOptions {
  /** How long to wait for the whole reply, in milliseconds. */
  readonly waitMs: number;
  /** The reply to a HEAD request has no body, whatever its headers say. */
  readonly bodiless?: boolean;
}

const NOTHING = Buffer.alloc(0);

/** One open connection. */
export class RawConnection {
  readonly socket: Socket;
  #chunks: Buffer[] = [];
  #bytes = 0;
  // The bytes that the reply under way needs, as far as known: large ones are joined only once.
  #needed = 0;
  #ended = false;
  #look: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
      if (this.#bytes >= this.#needed) this.#look?.();
    });
    socket.on("error", () => socket.destroy());
    const end = (): void => {
      this.#ended = true;
      this.#look?.();
    };
    socket.on("end", end);
    socket.on("close", end);
  }

  static open(port: number): Promise<RawConnection> {
    const { promise, resolve, reject } = Promise.withResolvers<RawConnection>();
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(new RawConnection(socket));
    });
    return promise;
  }

  get isOpen(): boolean {
    return !this.#ended && !this.socket.destroyed;
  }

  /** Goes away at once, as a client that has crashed. */
  destroy(): void {
    this.socket.destroy();
  }

  async send(bytes: Buffer | string, options: SendOptions): Promise<Outcome> {
    this.socket.write(bytes);
    return this.receive(options);
  }

  /** Waits for the next reply without sending anything. */
  receive({ waitMs, bodiless = false }: SendOptions): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const settle = (outcome: Outcome): void => {
      clearTimeout(timer);
      this.#look = undefined;
      resolve(outcome);
    };
    const timer = setTimeout(() => {
      this.destroy();
      settle({ kind: "silent" });
    }, waitMs);
    this.#look = () => {
      const reply = this.#take(bodiless);
      if (reply !== undefined) settle({ kind: "reply", reply });
      else if (this.#ended) settle({ kind: "closed", received: Buffer.concat(this.#chunks) });
    };
    this.#look();
    return promise;
  }

  // The first whole reply of what has come; undefined if there is none yet.
  #take(bodiless: boolean): RawReply | undefined {
    let buffer = this.#joined();
    for (;;) {
      const end = buffer.indexOf("\r\n\r\n");
      if (end === -1) return undefined;
      const { status, headers } = parseHead(buffer.toString("latin1", 0, end));
      if (status >= 100 && status < 200 && status !== 101) {
        buffer = buffer.subarray(end + 4);
        this.#keep(buffer);
        continue;
      }
      const stated = headers.get("content-length");
      if (stated === undefined && !bodiless && !this.#ended) return undefined;
      const rest = buffer.length - end - 4;
      const length = bodiless ? 0 : stated === undefined ? rest : Number(stated);
      if (rest < length) {
        this.#needed = end + 4 + length;
        return undefined;
      }
      this.#keep(buffer.subarray(end + 4 + length));
      const body = length === 0 ? NOTHING : buffer.subarray(end + 4, end + 4 + length);
      if (headers.get("connection")?.toLowerCase() === "close") this.#ended = true;
      return { status, headers, body };
    }
  }

  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? NOTHING;
  }

  #keep(rest: Buffer): void {
    this.#chunks = [rest];
    this.#bytes = rest.length;
    this.#needed = 0;
  }
}

function parseHead(head: string): Pick<RawReply, "status" | "headers"> {
  const [first = "", ...lines] = head.split("\r\n");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1];
  return { status: Number(status ?? 0), headers };
}

// HTTP/1.1 as text, for tests that speak it themselves: a request to the API, and the replies in
// what has come. Replies are parsed as far as our servers write them: the length is stated, or the
// body goes on until the connection ends.

/** A reply, whole. */
export interface Reply {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

export interface ReadOptions {
  /** The reply to a HEAD request has no body, whatever its headers say. */
  readonly bodiless?: boolean;
  /** Whether nothing more will come. */
  readonly isEnd?: boolean;
}

const NOTHING = Buffer.alloc(0);

/** A call of an endpoint of /v1, or of the version that its path names, with JSON; `headers` are more of them, each with its line end. */
export function requestText(path: string, body: object | string, headers = ""): string {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const whole = path.startsWith("v2/") ? path : `v1/${path}`;
  return (
    `POST /${whole} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
    `${headers}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
  );
}

/** Takes the bytes of one connection as they come, and gives back whole replies. */
export class ReplyReader {
  #chunks: Buffer[] = [];
  #bytes = 0;
  // The bytes that the reply under way needs, as far as known: large ones are joined only once.
  #needed = 0;

  add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
  }

  /** What has come and belongs to no whole reply. */
  get rest(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? NOTHING;
  }

  /** The next whole reply; undefined if there is none yet. */
  next({ bodiless = false, isEnd = false }: ReadOptions = {}): Reply | undefined {
    while (this.#bytes >= this.#needed) {
      const buffer = this.rest;
      const end = buffer.indexOf("\r\n\r\n");
      if (end === -1) return undefined;
      const { status, headers } = parseHead(buffer.toString("latin1", 0, end));
      const from = end + 4;
      if (status >= 100 && status < 200 && status !== 101) {
        this.#keep(buffer.subarray(from)); // an interim reply
        continue;
      }
      const stated = headers.get("content-length");
      if (stated === undefined && !bodiless && !isEnd) return undefined;
      const length = bodiless ? 0 : stated === undefined ? buffer.length - from : Number(stated);
      if (buffer.length - from < length) {
        this.#needed = from + length;
        return undefined;
      }
      this.#keep(buffer.subarray(from + length));
      return { status, headers, body: buffer.subarray(from, from + length) };
    }
    return undefined;
  }

  #keep(rest: Buffer): void {
    this.#chunks = [rest];
    this.#bytes = rest.length;
    this.#needed = 0;
  }
}

function parseHead(head: string): Pick<Reply, "status" | "headers"> {
  const [first = "", ...lines] = head.split("\r\n");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1];
  return { status: Number(status ?? 0), headers };
}

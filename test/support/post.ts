// A POST, of which tests make many thousands: over node:http, on connections that are kept. With fetch each
// would take twice as long, and be loaded first.

import type * as Http from "node:http";
import { createRequire } from "node:module";

const { Agent, request } = createRequire(import.meta.url)("node:http") as typeof Http;

const agent = new Agent({ keepAlive: true });

export interface PostReply {
  readonly status: number;
  readonly text: string;
}

export interface PostOptions {
  /** Breaks the connection when it is aborted. */
  readonly signal?: AbortSignal | undefined;
  /** The key that is shown. */
  readonly key?: string | undefined;
  /** More headers. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** Sends JSON; rejects if no whole reply comes, or if the signal is aborted. */
export function post(
  url: string,
  json: string,
  { signal, key, headers: more }: PostOptions = {},
): Promise<PostReply> {
  return new Promise((resolve, reject) => {
    const headers = {
      "Content-Type": "application/json",
      "Content-Length": Buffer.byteLength(json),
      ...(key === undefined ? {} : { Authorization: `Bearer ${key}` }),
      ...more,
    };
    const how = { method: "POST", agent, headers, ...(signal && { signal }) };
    const sent = request(url, how, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        resolve({ status: response.statusCode!, text: Buffer.concat(chunks).toString() });
      });
      response.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(json);
  });
}

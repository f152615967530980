// Somebody who listens to the events of a server, over a connection of their own.

import assert from "node:assert/strict";
import { get, type IncomingMessage } from "node:http";
import type { TestContext } from "node:test";
import type { Json } from "./openapi.ts";
import type { TestServer } from "./server.ts";

export interface Told {
  readonly cursor: string;
  readonly type: string;
  readonly data: Json;
}

export class EventReader {
  readonly response: IncomingMessage;
  /** The cursor behind the last event, or of the last heartbeat. */
  cursor = "";
  readonly #all: Told[] = [];
  #text = "";
  #isEnded = false;
  #onMore: () => void = () => undefined;

  constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding("utf8");
    response.on("data", (text: string) => {
      this.#text += text;
      for (let end = this.#text.indexOf("\n\n"); end !== -1; end = this.#text.indexOf("\n\n")) {
        this.#read(this.#text.slice(0, end));
        this.#text = this.#text.slice(end + 2);
      }
      this.#onMore();
    });
    const ended = () => {
      this.#isEnded = true;
      this.#onMore();
    };
    response.on("close", ended);
    response.on("error", ended);
  }

  #read(message: string): void {
    const fields = new Map<string, string>();
    for (const line of message.split("\n")) {
      const [, name = "", value = ""] = /^(\w*): ?(.*)$/.exec(line) ?? [];
      fields.set(name, value);
    }
    this.cursor = fields.get("id") ?? this.cursor;
    const data = fields.get("data");
    if (data === undefined) return;
    this.#all.push({
      cursor: this.cursor,
      type: fields.get("event") ?? "",
      data: JSON.parse(data) as Json,
    });
  }

  /** The next events. */
  async take(count: number): Promise<Told[]> {
    while (this.#all.length < count) {
      assert.ok(!this.#isEnded, `ended after ${JSON.stringify(this.#all)}`);
      await this.#more();
    }
    return this.#all.splice(0, count);
  }

  /** All up to the first one of a type. */
  async until(type: string): Promise<Told[]> {
    for (;;) {
      const at = this.#all.findIndex((told) => told.type === type);
      if (at !== -1) return this.#all.splice(0, at + 1);
      assert.ok(!this.#isEnded, `ended after ${JSON.stringify(this.#all)}`);
      await this.#more();
    }
  }

  /** What comes until the end. */
  async rest(): Promise<Told[]> {
    while (!this.#isEnded) await this.#more();
    return this.#all.splice(0);
  }

  #more(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onMore = resolve;
    return promise;
  }

  leave(): void {
    this.response.destroy();
  }
}

/** Asks for events; answers the reply, whatever it is. */
export function ask(
  server: TestServer,
  query = "",
  headers: Readonly<Record<string, string>> = {},
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = get(
    `${server.server.address}/v2/events${query}`,
    { headers, agent: false },
    resolve,
  );
  request.on("error", reject);
  return promise;
}

/** Listens; resolves when all that happens from then on will be told. */
export async function listen(
  t: TestContext,
  server: TestServer,
  query = "",
  headers: Readonly<Record<string, string>> = {},
): Promise<EventReader> {
  const response = await ask(server, query, headers);
  assert.equal(response.statusCode, 200);
  const reader = new EventReader(response);
  t.after(() => reader.leave());
  return reader;
}

/** The status and the problem of a request for events that is refused. */
export async function refusal(
  server: TestServer,
  query: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Json> {
  const response = await ask(server, query, headers);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString());
}

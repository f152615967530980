// A server between a client and a real one, that counts what passes and does to it what a test wants:
// holds it, loses its reply, answers in the server's place.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

export interface Passing {
  readonly path: string;
  readonly body: string;
  /** Its Idempotency-Key, if it has one. */
  readonly key: string | undefined;
}

/** What is done to one request. */
export type Treatment =
  | { readonly kind: "pass" }
  /** The server does it, and the client never hears. */
  | { readonly kind: "lose-reply" }
  /** The server never hears of it. */
  | { readonly kind: "lose-request" }
  /** The client is cut off, and the server goes on as if it were there. */
  | { readonly kind: "cut-client" }
  | { readonly kind: "answer"; readonly status: number; readonly body: string };

export const PASS: Treatment = { kind: "pass" };
export const LOSE_REPLY: Treatment = { kind: "lose-reply" };
export const LOSE_REQUEST: Treatment = { kind: "lose-request" };
export const CUT_CLIENT: Treatment = { kind: "cut-client" };

/** An answer in the server's place. */
export function refuse(status: number, message: string) {
  return { kind: "answer", status, body: JSON.stringify({ code: status, message }) } as const;
}

export interface TestProxy {
  readonly url: string;
  /** All requests that came, in order. */
  readonly requests: Passing[];
  /** Decides about each request; may take its time. Passes everything by default. */
  treat: (request: Passing, number: number) => Treatment | Promise<Treatment>;
  /** Decides before that, by the whole path; passes everything by default. */
  treatPath: (path: string) => Treatment;
  /** What becomes of the body of a reply that passes; nothing by default. */
  rewrite: (reply: string) => string;
  /** Of replies that pass, in place of the true one. */
  date: string | undefined;
}

/** Starts a proxy for one test. */
export async function proxyOf(t: TestContext, target: string): Promise<TestProxy> {
  const requests: Passing[] = [];
  const proxy: { -readonly [K in keyof TestProxy]: TestProxy[K] } = {
    url: "",
    requests,
    treat: () => PASS,
    treatPath: () => PASS,
    rewrite: (reply) => reply,
    date: undefined,
  };
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const key = request.headers["idempotency-key"] as string | undefined;
    const passing = { path: request.url!.replace(/^\/v\d\//, ""), body, key };
    requests.push(passing);
    const byPath = proxy.treatPath(request.url!);
    const treatment = byPath.kind === "pass" ? await proxy.treat(passing, requests.length) : byPath;
    if (treatment.kind === "lose-request") return void request.socket.destroy();
    if (treatment.kind === "answer") {
      response.writeHead(treatment.status, { "Content-Type": "application/json" });
      return void response.end(treatment.body);
    }
    const gone = new AbortController();
    if (treatment.kind === "cut-client") request.socket.destroy();
    else response.on("close", () => gone.abort());
    const answer = await fetch(target + request.url, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        ...(key === undefined ? {} : { "Idempotency-Key": key }),
      },
      body,
      signal: gone.signal,
    });
    const text = await answer.text();
    if (treatment.kind === "lose-reply") return void request.socket.destroy();
    if (proxy.date !== undefined) response.setHeader("Date", proxy.date);
    response.writeHead(answer.status, { "Content-Type": "application/json" });
    response.end(proxy.rewrite(text));
  };
  const http = createServer((request, response) => {
    handle(request, response).catch(() => request.socket.destroy());
  });
  http.listen(0, "127.0.0.1");
  await new Promise((resolve) => http.once("listening", resolve));
  proxy.url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  t.after(() => {
    http.close();
    http.closeAllConnections();
  });
  return proxy;
}

/** The items, ids or leases of a request. */
export function itemsOf({ body }: Passing): unknown[] {
  const { items, ids, leases } = JSON.parse(body) as Record<string, unknown[] | undefined>;
  return items ?? ids ?? leases ?? [];
}

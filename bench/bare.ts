// What HTTP and JSON alone cost: a server that answers the requests of the benchmark with nothing
// behind it but a list in memory. No durability, no leases, no checks. Prints the line that a real
// server prints when it is ready.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

interface Item {
  readonly encoding: string;
  readonly kind: string;
  readonly reference: string;
  readonly utf8: string;
}

interface Waiting {
  readonly since: number;
  readonly response: ServerResponse;
  readonly batch: number;
}

const queues = new Map<string, { items: Item[]; taken: number; waiting: Waiting[] }>();
let serial = 0;

function queueOf(name: string): { items: Item[]; taken: number; waiting: Waiting[] } {
  let queue = queues.get(name);
  if (queue === undefined) {
    queue = { items: [], taken: 0, waiting: [] };
    queues.set(name, queue);
  }
  return queue;
}

function send(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, [
    "Content-Type",
    "application/json",
    "Content-Length",
    String(Buffer.byteLength(body)),
  ]);
  response.end(body);
}

function handOut(name: string): void {
  const queue = queueOf(name);
  while (queue.waiting.length > 0 && queue.taken < queue.items.length) {
    const { response, batch } = queue.waiting.shift()!;
    const items = queue.items.slice(queue.taken, queue.taken + batch).map((item) => ({
      encoding: item.encoding,
      kind: item.kind,
      reference: item.reference,
      id: String(++serial).padStart(27, "0"),
      attempts: 1,
      lease_deadline: "2026-01-01T00:00:00.000000Z",
      bytes: Buffer.from(item.utf8).toString("base64"),
    }));
    queue.taken += items.length;
    if (queue.taken > 10_000) {
      queue.items = queue.items.slice(queue.taken);
      queue.taken = 0;
    }
    send(response, 200, JSON.stringify({ queue_name: name, items }));
  }
}

function handle(request: IncomingMessage, response: ServerResponse, text: string): void {
  const body = JSON.parse(text) as { queue_name: string; items: Item[]; batch_size: number };
  switch (request.url) {
    case "/v1/queue.produce":
      queueOf(body.queue_name).items.push(...body.items);
      send(response, 200, '{"code":200}');
      handOut(body.queue_name);
      break;
    case "/v1/queue.lease": {
      queueOf(body.queue_name).waiting.push({
        response,
        batch: body.batch_size,
        since: performance.now(),
      });
      handOut(body.queue_name);
      break;
    }
    default:
      send(response, 200, '{"code":200}');
  }
}

// Leases that wait for longer than this are told so.
const LEASE_MS = 1_000;
setInterval(() => {
  for (const queue of queues.values()) {
    const before = performance.now() - LEASE_MS;
    while (queue.waiting.length > 0 && queue.waiting[0]!.since < before) {
      send(queue.waiting.shift()!.response, 454, '{"code":454}');
    }
  }
}, 100).unref();

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => handle(request, response, Buffer.concat(chunks).toString()));
});
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  process.stdout.write(`${JSON.stringify({ address: `http://127.0.0.1:${port}` })}\n`);
});
process.on("SIGTERM", () => process.exit(0));

// `node bench/auth.ts`: what a request costs that shows a key, beside one to a server that asks for none: the reader
// of plain requests and the check of a permission, without sockets and queues. Rounds take turns, and the best of
// each counts, for whatever else the machine does only adds.

import { Duplex } from "node:stream";
import { present } from "../src/auth/records.ts";
import { digestOf, newKey } from "../src/auth/secrets.ts";
import { AuthState } from "../src/auth/state.ts";
import { SystemClock } from "../src/clock.ts";
import { Access } from "../src/http/access.ts";
import { Attempts } from "../src/http/attempts.ts";
import { Connections } from "../src/http/connection.ts";
import type { Edge, Endpoint } from "../src/http/edge.ts";
import { HttpMeters, RequestMeter } from "../src/http/meters.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import type { Logger } from "../src/log.ts";

const REQUESTS = 100_000;
const ROUNDS = 15;
const QUIET = { debug() {}, info() {}, warn() {}, error() {} } as unknown as Logger;

const clock = new SystemClock();
const key = newKey("live");

/** A state that knows one key, which ends at some time or never, with one permission. */
function stateWith(expiresAt: number): AuthState {
  const state = new AuthState(clock);
  const now = clock.now();
  const user = { username: "u", email: "", externalId: "", createdAt: now, updatedAt: now };
  const role = { namespace: "_system", name: "r", permissions: ["queue.produce"] as const };
  const shown = { name: "", namespace: "", prefix: "", lastUsedAt: 0 };
  state.load([
    present("user", { id: "u", ...user }),
    present("role", { id: "r", ...role, createdAt: now }),
    present("binding", { id: "b", namespace: "_system", userId: "u", roleId: "r", createdAt: now }),
    present("key", {
      id: "k",
      userId: "u",
      ...shown,
      digest: digestOf(key),
      expiresAt,
      createdAt: now,
    }),
  ]);
  return state;
}

/** Nanoseconds of a request. */
async function measure(state: AuthState | undefined, showsKey: boolean): Promise<number> {
  const encoded = { encode: () => "{}" };
  const endpoint: Endpoint = {
    bodyBytesMax: 512,
    meter: new RequestMeter("queue.produce"),
    handle: (_body, _format, { principal }) => {
      if (!principal.may("queue.produce", "_system")) throw new Error("not allowed");
      return encoded;
    },
  };
  const rules = { origins: [], hosts: [], listensOn: "localhost" };
  const edge: Edge = {
    endpoints: new Map([["/v2/queue.produce", endpoint]]),
    pages: new Map(),
    streams: new Map(),
    limits: DEFAULT_LIMITS,
    log: QUIET,
    held: { bytes: 0 },
    access: new Access(rules, () => "127.0.0.1"),
    auth: state,
    attempts: new Attempts(clock, QUIET),
    keepAlive: 75_000_000,
    meters: new HttpMeters(),
    slow: undefined,
    slowAfter: Number.POSITIVE_INFINITY,
    steady: () => clock.steady(),
  };
  const connections = new Connections(edge, () => {
    throw new Error("handed over");
  });
  let replies = 0;
  const socket = Object.assign(new Duplex({ read() {} }), { setTimeout() {} });
  socket.write = () => {
    replies++;
    return true;
  };
  connections.add(socket as never);
  const shown = showsKey ? `Authorization: Bearer ${key}\r\n` : "";
  const text = `POST /v2/queue.produce HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${shown}Content-Length: 2\r\n\r\n{}`;
  const request = Buffer.from(text);
  const from = process.hrtime.bigint();
  for (let i = 0; i < REQUESTS; i++) {
    socket.emit("data", request);
    while (replies === i) await undefined;
  }
  const took = Number(process.hrtime.bigint() - from);
  connections.startEnding();
  socket.destroy();
  return took / REQUESTS;
}

const endless = stateWith(0);
const ending = stateWith(clock.now() + 86_400_000_000);
const ways = {
  "no authentication, no key": () => measure(undefined, false),
  "no authentication, a key": () => measure(undefined, true),
  "keys, one without an end": () => measure(endless, true),
  "keys, one that ends": () => measure(ending, true),
};
const best = new Map<string, number>();
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, way] of Object.entries(ways)) {
    best.set(name, Math.min(await way(), best.get(name) ?? Number.POSITIVE_INFINITY));
  }
}
for (const [name, nanos] of best)
  console.log(`${name.padEnd(28)} ${nanos.toFixed(0)} ns a request`);
process.exit();

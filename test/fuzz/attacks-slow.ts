// Attacks by clients that hold on to connections and hardly do anything on them: slow senders,
// half-open connections, and thousands that are merely there. The long form waits until the server
// has lost its patience with those that owe it something.

import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { requestText } from "../support/http-text.ts";
import { type Attack, open, openMany, reset, sleep } from "./attack.ts";

// What this process needs beside the connections of an attack.
const SPARE_FILES = 500;

/** How many of these may be open at a time, given what the system allows this process. */
export function possibleConnections(wanted: number): number {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const files = Number(/Max open files\s+(\d+)/.exec(limits)?.[1] ?? 1_024);
  return Math.min(wanted, files - SPARE_FILES);
}

// 10 seconds, and up to 30 until the server looks.
const HEADERS_MS = 45_000;
const HEADERS = "POST /v1/queue.lease HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
const BODY = "POST /v1/queues.list HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n";

/** Headers and bodies that come byte by byte and never end. */
export const slowSenders: Attack = async (context) => {
  const sockets = await openMany(context.port, context.quick ? 200 : 2_000);
  const cut = { headers: 0, bodies: 0 };
  for (const [i, socket] of sockets.entries()) {
    const what = i % 2 === 0 ? "headers" : "bodies";
    socket.once("close", () => cut[what]++);
    socket.resume();
    socket.write(i % 2 === 0 ? HEADERS : BODY);
  }
  let turn = 0;
  const timer = setInterval(() => {
    for (let i = turn++ % 10; i < sockets.length; i += 10) {
      if (sockets[i]!.writable) sockets[i]!.write(i % 2 === 0 ? "x" : " ");
    }
  }, 50);
  const expectCut = (what: "headers" | "bodies"): void => {
    const left = sockets.length / 2 - cut[what];
    if (left > 0) context.fail(`${left} slow ${what} were not cut off in time`);
  };
  // Headers have less time than bodies.
  const early = setTimeout(() => expectCut("headers"), HEADERS_MS);
  return async () => {
    clearInterval(timer);
    clearTimeout(early);
    context.count("slow connections", sockets.length);
    context.count("slow headers cut off", cut.headers);
    context.count("slow bodies cut off", cut.bodies);
    if (!context.quick) expectCut("bodies");
    await reset(sockets);
  };
};

/** Clients that say goodbye in the middle of a request and stay. */
export const halfOpen: Attack = async (context) => {
  const whole = requestText("queues.info", { queue_name: "good" });
  const beginnings = [
    "",
    "POST /v1/queue",
    whole.slice(0, whole.indexOf("\r\n\r\n")),
    whole.slice(0, -5),
  ];
  const sockets: Socket[] = [];
  let closed = 0;
  for (let i = 0; i < (context.quick ? 40 : 400); i++) {
    const socket = await open(context.port, true);
    socket.once("end", () => closed++);
    socket.resume();
    socket.end(beginnings[i % beginnings.length]!);
    sockets.push(socket);
  }
  return async () => {
    for (let i = 0; i < 100 && closed < sockets.length; i++) await sleep(20);
    context.count("half-open connections", sockets.length);
    if (closed < sockets.length) {
      context.fail(`${sockets.length - closed} half-open connections were kept open`);
    }
    await reset(sockets);
  };
};

/** Connections that are opened and left alone. */
export const idle: Attack = async (context) => {
  const sockets = await openMany(context.port, possibleConnections(context.quick ? 600 : 10_000));
  for (const socket of sockets) socket.resume();
  const isOpen = (socket: Socket): boolean => !socket.destroyed;
  return async () => {
    const left = sockets.filter(isOpen);
    context.count("idle connections", sockets.length);
    if (left.length < sockets.length * 0.9) {
      context.fail(`only ${left.length} of ${sockets.length} idle connections were let be`);
    }
    // Each of them can still be used.
    for (const socket of left.slice(0, 5)) {
      const answered = new Promise((resolve) => socket.once("data", resolve));
      socket.write(requestText("queues.info", { queue_name: "good" }));
      const answer = await Promise.race([answered, sleep(10_000)]);
      if (!String(answer).startsWith("HTTP/1.1 200")) context.fail(`idle, then ${String(answer)}`);
    }
    await reset(sockets);
  };
};

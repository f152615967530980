// What an attack is, and the tools that all of them use: sockets whose errors are expected, and
// reading what comes. Attacks run in a process of their own, so that neither the server
// nor the well-behaved client shares their sockets and their event loop.

import { connect, type Socket } from "node:net";
import type { Random } from "../support/random.ts";

/**
 * Begins an attack and resolves when it is at its full strength; it goes on until what it answers is
 * called, which resolves when every connection of it is gone.
 */
export type Attack = (context: AttackContext) => Promise<() => Promise<void>>;

export interface AttackContext {
  readonly port: number;
  readonly random: Random;
  /** Whether this is the quick form. */
  readonly quick: boolean;
  /** Counts something, for the report. */
  count(what: string, times?: number): void;
  counted(what: string): number;
  /** The server has not done what it must. */
  fail(what: string): void;
}

/** What an attack has seen. */
export interface AttackReport {
  readonly counts: Readonly<Record<string, number>>;
  readonly failures: readonly string[];
}

/** The queue that attacks use; it is made anew for each. */
export const TARGET = "target";

/** Resolves after so many milliseconds. */
export const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));

/** A connection whose errors are expected. */
export async function open(port: number, halfOpen = false): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: halfOpen });
  socket.setNoDelay(true);
  await new Promise<void>((resolve) => {
    socket.once("connect", resolve);
    socket.once("close", resolve);
    socket.on("error", () => socket.destroy());
  });
  return socket;
}

/** Opens many, some at a time: more at once would overflow the server's backlog. */
export async function openMany(port: number, count: number): Promise<readonly Socket[]> {
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const some = Math.min(200, count - sockets.length);
    sockets.push(...(await Promise.all(Array.from({ length: some }, () => open(port)))));
  }
  return sockets;
}

/** Ends connections as a client that has crashed does, and waits until they are gone. */
export async function reset(sockets: readonly Socket[]): Promise<void> {
  await Promise.all(
    sockets.map((socket) => {
      if (socket.closed) return undefined;
      const closed = new Promise((resolve) => socket.once("close", resolve));
      // One that both sides have ended cannot be reset any more.
      if (socket.readyState === "open") socket.resetAndDestroy();
      else socket.destroy();
      return closed;
    }),
  );
}

/**
 * Everything that comes until the connection ends, nothing more has come for so long, or what has
 * come is as expected.
 */
export async function readAll(socket: Socket, quietMs: number, expected?: RegExp): Promise<string> {
  const pieces: Buffer[] = [];
  const joined = (): string => Buffer.concat(pieces).toString("latin1");
  await new Promise<void>((resolve) => {
    let timer = setTimeout(resolve, quietMs);
    socket.on("data", (chunk: Buffer) => {
      pieces.push(chunk);
      clearTimeout(timer);
      if (expected?.test(joined()) === true) resolve();
      else timer = setTimeout(resolve, quietMs);
    });
    socket.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
    if (socket.closed) socket.emit("close");
  });
  return joined();
}

/** The statuses of all replies in what was read. */
export function statusesIn(text: string): readonly number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));
}

/** Runs work over and over in several strands until the answered function is called. */
export function keepUp(strands: number, work: () => Promise<void>): () => Promise<void> {
  let going = true;
  const strand = async (): Promise<void> => {
    while (going) await work();
  };
  const running = Promise.all(Array.from({ length: strands }, strand));
  return async () => {
    going = false;
    await running;
  };
}

// Listening at a Unix socket: a file that its server leaves behind if it is killed. One that is there is taken over
// only if nobody listens at it; what is no socket is never touched.

import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";

/** Begins to listen there. Rejects with an error whose message is for the user. */
export async function bindSocket(server: Server, path: string, mode = 0o660): Promise<void> {
  const stale = await staleAt(path);
  // Nothing is waited for from here on: what was looked at is what is removed.
  if (stale !== undefined && stale === inodeAt(path)) unlinkSync(path);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const failed = (cause: NodeJS.ErrnoException): void => {
    const isTaken = cause.code === "EADDRINUSE";
    const text = isTaken ? inUse(path) : `cannot listen at unix:${path}: ${cause.message}`;
    reject(new Error(text, { cause }));
  };
  server.once("error", failed);
  server.listen({ path, backlog: 4_096 }, () => {
    server.off("error", failed);
    resolve();
  });
  // The file is there at once. Until now it was its owner's, by the mask that files are made with.
  if (server.listening) setMode(server, path, mode);
  await promise;
}

function setMode(server: Server, path: string, mode: number): void {
  try {
    chmodSync(path, mode);
  } catch (cause) {
    server.close();
    const { message } = cause as Error;
    throw new Error(`cannot set the mode of unix:${path}: ${message}`, { cause });
  }
}

function inUse(path: string): string {
  return `address unix:${path} is in use; stop what listens there, or choose another with --address`;
}

// The inode of a socket at which nobody listens; undefined if there is nothing at all.
async function staleAt(path: string): Promise<bigint | undefined> {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  if (!stat.isSocket()) {
    throw new Error(`cannot listen at unix:${path}: there is a file that is no socket`);
  }
  if (await isListening(path)) throw new Error(inUse(path));
  return stat.ino;
}

function inodeAt(path: string): bigint | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}

// Only a refusal says that nobody is there: who may not connect, or finds a full queue, does not know.
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.on("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.on("error", ({ code }: NodeJS.ErrnoException) => {
      resolve(code !== "ECONNREFUSED" && code !== "ENOENT");
    });
  });
}

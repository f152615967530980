// File descriptors: every connection, file and listening socket takes one, and the system gives a process
// only so many. A server that has too few of them says so at its start; else it takes no more connections
// than it has room for beside its files, so that it is never the files that find none. What this machine
// does not tell is not judged.

import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";

// What each thread beside the first needs for itself, and a storage that is a file with its log, index and lock.
const PER_THREAD = 8;
const PER_FILE = 6;
// For what comes and goes: temporary files, look-ups of names, a new connection to a database.
const SPARE = 8;
// With fewer connections than that nobody could work.
const CONNECTIONS_MIN = 4;
// With fewer descriptors than that each address has one listening socket, in place of several.
const PLENTY = 1_024;

const WATCH_MS = 1_000;

const HOW_TO =
  "raise the limit of the process: ulimit -n 4096, LimitNOFILE= in systemd, --ulimit nofile= in Docker";

/** What a server is about to open. */
export interface Needs {
  readonly threads: number;
  /** Sockets that listen, on each thread. */
  readonly listening: number;
  /** Storages that are files. */
  readonly files: number;
  /** Connections to databases. */
  readonly databases: number;
}

/** How many descriptors this process may have; undefined if that is not known, or without bound. */
function descriptorLimit(): number | undefined {
  try {
    const text = readFileSync("/proc/self/limits", "utf8");
    const soft = /^Max open files\s+(\d+)/m.exec(text)?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch (error) {
    if (isExhausted(error)) throw tooFew(error);
    return undefined;
  }
}

/** Whether there are so many that several sockets may listen for one address. */
export function hasPlenty(): boolean {
  return (descriptorLimit() ?? PLENTY) >= PLENTY;
}

/** How many connections there is room for. Throws an error for the user if there is none. */
export function connectionsWithin(needs: Needs): number {
  const limit = descriptorLimit();
  if (limit === undefined) return Number.POSITIVE_INFINITY;
  const open = openDescriptors();
  const { threads, listening, files, databases } = needs;
  const forThreads = threads * listening + (threads - 1) * PER_THREAD;
  const needed = forThreads + files * PER_FILE + databases + SPARE;
  const connections = limit - open - needed;
  if (connections >= CONNECTIONS_MIN) return connections;
  throw new Error(
    `too few file descriptors: this process may have ${limit} open, and ${open} are; ` +
      `the server needs ${needed} more, and at least ${CONNECTIONS_MIN} for connections; ${HOW_TO}`,
  );
}

/** What is said in place of an error, if it came about because there was no descriptor left. */
export function explainDescriptors(error: unknown): unknown {
  return isExhausted(error) || areExhausted() ? tooFew(error) : error;
}

/** Says, once each time, that there are none left, and when there are some again. Answers how to stop that. */
export function watchDescriptors(tell: {
  readonly gone: (text: string) => void;
  readonly back: () => void;
}): () => void {
  let isGone = false;
  const timer = setInterval(() => {
    const are = areExhausted();
    if (are && !isGone) {
      tell.gone(`this process can open no more files and connections; ${HOW_TO}`);
    } else if (!are && isGone) tell.back();
    isGone = are;
  }, WATCH_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function tooFew(cause: unknown): Error {
  const text = `no file descriptors are left: ${(cause as Error).message}; ${HOW_TO}`;
  return new Error(text, { cause });
}

function openDescriptors(): number {
  try {
    return readdirSync("/proc/self/fd").length - 1; // one is of looking
  } catch (error) {
    if (isExhausted(error)) throw tooFew(error);
    return 0;
  }
}

function areExhausted(): boolean {
  try {
    closeSync(openSync("/dev/null", "r"));
    return false;
  } catch (error) {
    return isExhausted(error);
  }
}

// EMFILE is of this process, ENFILE of the whole system. What went wrong may be told by another error.
function isExhausted(error: unknown): boolean {
  for (let each = error; each instanceof Error; each = each.cause) {
    if (/^(EMFILE|ENFILE)$/.test((each as NodeJS.ErrnoException).code ?? "")) return true;
  }
  return false;
}

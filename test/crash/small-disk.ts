// A disk that can be filled up and given space back: a small tmpfs of our own, mounted in a temporary
// directory and always unmounted again; or, without the right to mount, a limit on how large a file
// of the server may become.

import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { ServerProcess } from "../support/server-process.ts";

const SIZE = "64m";
// With a limit instead of a full disk: what the server may still write.
const LIMIT_BYTES = 16_384;

export interface SmallDisk {
  readonly kind: "tmpfs" | "limit";
  /** Where data may be put. */
  readonly directory: string;
  /** Leaves no space; to be called again for a server that was started since. */
  fill(server: ServerProcess): void;
  free(server: ServerProcess): void;
  /** Gives everything back; may be called twice. */
  remove(): void;
}

/** Makes a small disk below a directory: mounted if that is possible and wanted. */
export function makeSmallDisk(directory: string, mounts: boolean): SmallDisk {
  const place = join(directory, "disk");
  mkdirSync(place);
  if (mounts && process.getuid?.() === 0) {
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE}`, "querator-crash", place], {
        stdio: "pipe",
      });
      return new MountedDisk(place);
    } catch {
      // not allowed here: the limit will do
    }
  }
  return new LimitedDisk(place);
}

class MountedDisk implements SmallDisk {
  readonly kind = "tmpfs";
  readonly directory: string;
  readonly #filler: string;
  #isMounted = true;
  readonly #onExit = (): void => this.remove();

  constructor(directory: string) {
    this.directory = directory;
    this.#filler = join(directory, "filler");
    process.prependListener("exit", this.#onExit); // before its directory is removed
  }

  fill(): void {
    const file = openSync(this.#filler, "a");
    for (let block = Buffer.alloc(1 << 20); block.length >= 512; ) {
      try {
        if (writeSync(file, block) === block.length) continue;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      }
      block = block.subarray(0, block.length >> 1);
    }
    closeSync(file);
  }

  free(): void {
    rmSync(this.#filler, { force: true });
  }

  remove(): void {
    process.off("exit", this.#onExit);
    if (!this.#isMounted) return;
    execFileSync("umount", ["-l", this.directory]);
    this.#isMounted = false;
  }
}

class LimitedDisk implements SmallDisk {
  readonly kind = "limit";
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  fill(server: ServerProcess): void {
    limit(server, `${LIMIT_BYTES}:unlimited`);
  }

  free(server: ServerProcess): void {
    limit(server, "unlimited:unlimited");
  }

  remove(): void {}
}

function limit(server: ServerProcess, fsize: string): void {
  if (server.end !== undefined) return;
  execFileSync("prlimit", ["--pid", String(server.pid), `--fsize=${fsize}`], { stdio: "pipe" });
}

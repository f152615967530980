// Lines of a file or of stdin, as bytes: a line ends with a line feed and nothing else, for JSON and
// payloads may hold all that other readers take for an end as well. Nothing is read ahead of who
// takes the lines, and one that is too long to be meant is refused, so memory is bounded whatever
// comes.

import { createReadStream } from "node:fs";
import { printable } from "../printable.ts";
import { CommandError, EXIT, usage } from "./failure.ts";
import { count } from "./text.ts";

/** Bytes of a line, or of a payload: more than any server takes. */
const INPUT_BYTES_MAX = 100_000_000;

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** The lines of a file, or of stdin for `-`, without their ends. */
export async function* linesOf(
  file: string,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  let begun: Buffer[] = []; // a line whose end has not come yet
  let bytes = 0;
  let number = 1;
  const add = (part: Buffer): void => {
    bytes += part.length;
    if (bytes > INPUT_BYTES_MAX) {
      throw new CommandError(
        `${placeOf(file, number)}: it is longer than ${count(INPUT_BYTES_MAX)} bytes`,
      );
    }
    begun.push(part);
  };
  const take = (): Buffer => {
    const line = begun.length === 1 ? begun[0]! : Buffer.concat(begun);
    begun = [];
    bytes = 0;
    number++;
    return line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line;
  };
  for await (const chunk of chunksOf(file, signal)) {
    let from = 0;
    for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, from)) {
      add(chunk.subarray(from, end));
      yield take();
      from = end + 1;
    }
    if (from < chunk.length) add(chunk.subarray(from));
  }
  if (bytes > 0) yield take();
}

/** All of a file, or of stdin for `-`. */
export async function contentOf(file: string, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(file, signal)) {
    bytes += chunk.length;
    if (bytes > INPUT_BYTES_MAX) {
      throw new CommandError(`the payload is larger than ${count(INPUT_BYTES_MAX)} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function* chunksOf(
  file: string,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const input = file === "-" ? process.stdin : createReadStream(file);
  if (file === "-" && process.stdin.isTTY) {
    process.stderr.write("Reading from the terminal; end it with Ctrl-D\n");
  }
  const stop = (): void => void input.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    signal.throwIfAborted();
    for await (const chunk of input) yield chunk as Buffer;
    signal.throwIfAborted();
  } catch (error) {
    signal.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "EACCES" || code === "EISDIR") {
      throw usage(`cannot read '${file}': ${(error as Error).message}`);
    }
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
    input.destroy();
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Where a line stands, as messages say it. */
export function placeOf(file: string, number: number): string {
  return file === "-" ? `line ${number}` : `line ${number} of '${printable(file)}'`;
}

/** The text of a line; a byte order mark before it is not part of it. */
export function textOf(line: Buffer, place: string, exitCode: number = EXIT.failed): string {
  try {
    return decoder.decode(line);
  } catch {
    throw new CommandError(`${place}: it is not valid UTF-8`, exitCode);
  }
}

// One thing to send to the server: an HTTP request, as its parts or as raw bytes, and how it came
// about. It can be written down so that it can be sent again by hand. What its headers ask for is read
// here as the contract has it, not as the server does.

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Endpoint } from "./endpoints.ts";

export type Format = "json" | "protobuf";

/** Both formats that the API speaks. */
export const FORMATS: readonly Format[] = ["json", "protobuf"];

/** How each format is called in headers. */
export const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  json: "application/json",
  protobuf: "application/protobuf",
};

export interface Input {
  /** The endpoint it is meant for; its path may be another. */
  readonly endpoint: Endpoint;
  readonly method: string;
  readonly path: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  /** In place of all the above: what is no HTTP, or hardly. */
  readonly raw?: Buffer;
  /** How it was made. */
  readonly made: string;
  /** Whether it has something in it that is hardly ever accepted. */
  readonly hopeless?: boolean;
}

export interface InputOptions {
  readonly sends: Format;
  readonly accepts: Format;
  readonly made: string;
}

/** A request to an endpoint as a usual client would send it, whatever the body is. */
export function requestTo(endpoint: Endpoint, body: Buffer, options: InputOptions): Input {
  const { sends, accepts, made } = options;
  const headers: [string, string][] = [["Content-Type", CONTENT_TYPES[sends]]];
  if (accepts === "protobuf") headers.push(["Accept", CONTENT_TYPES.protobuf]);
  return { endpoint, method: "POST", path: endpoint.path, headers, body, made };
}

/** Another body for the same request. */
export function withBody(input: Input, body: Buffer): Input {
  return { ...input, body };
}

/** The bytes that go over the wire. */
export function bytesOf(input: Input): Buffer {
  if (input.raw !== undefined) return input.raw;
  const { method, path, headers, body } = input;
  const lines = [`${method} ${path} HTTP/1.1`, "Host: localhost"];
  for (const [name, value] of headers) lines.push(`${name}: ${value}`);
  const chunked = headerOf(input, "transfer-encoding") !== undefined;
  if (!chunked) lines.push(`Content-Length: ${body.length}`);
  const head = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  return Buffer.concat([head, chunked ? inChunks(body) : body]);
}

function inChunks(body: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let from = 0; from < body.length; from += 1_000) {
    const piece = body.subarray(from, from + 1_000);
    pieces.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n"));
  }
  pieces.push(Buffer.from("0\r\n\r\n"));
  return Buffer.concat(pieces);
}

/** The first header of that name. */
export function headerOf(input: Input, name: string): string | undefined {
  return input.headers.find(([each]) => each.toLowerCase() === name)?.[1];
}

/** What a content type header means, by the contract; undefined if it is refused. */
export function formatOf(header: string | undefined): Format | undefined {
  const type = (header ?? "").split(/[;,]/)[0]!.trim().toLowerCase();
  if (["", "*/*", "application/*", "application/json"].includes(type)) return "json";
  return PROTOBUF_TYPES.includes(type) ? "protobuf" : undefined;
}

const PROTOBUF_TYPES = [
  "application/protobuf",
  "application/x-protobuf",
  "application/vnd.google.protobuf",
];

/** The format a reply to it must have; of lists the fuzzers send none whose second counts but for JSON. */
export function repliesIn(input: Input): Format {
  return formatOf(headerOf(input, "accept")) ?? "json";
}

/** The Content-Type of that reply: the name that was asked for. */
export function replyTypeOf(input: Input): string {
  const asked = (headerOf(input, "accept") ?? "").split(/[;,]/)[0]!.trim().toLowerCase();
  return PROTOBUF_TYPES.includes(asked) ? asked : CONTENT_TYPES[repliesIn(input)];
}

const SHOWN_MAX = 20_000;

/**
 * Everything that is needed to send it again: the head as text, the body as hex if it is binary. One
 * that is too long for people is written to a file as it goes over the wire.
 */
export function describe(input: Input): string {
  const { method, path, headers, body, raw, made } = input;
  const bytes = bytesOf(input);
  if (bytes.length > SHOWN_MAX) {
    const file = join(mkdtempSync(join(tmpdir(), "querator-fuzz-input-")), "request");
    writeFileSync(file, bytes);
    return `${made}: ${method} ${path}, ${body.length} bytes, the whole request is in ${file}`;
  }
  if (raw !== undefined) return `${made}: raw bytes, in hex ${raw.toString("hex")}`;
  const text = body.toString();
  const printable = Buffer.from(text).equals(body) && !/[^\n\r\t -~]/.test(text);
  const shown = printable ? `body ${text}` : `body in hex ${body.toString("hex")}`;
  const head = headers.map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(", ");
  return `${made}: ${method} ${path} (${head}), ${body.length} bytes, ${shown}`;
}

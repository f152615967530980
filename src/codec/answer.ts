// What a handler answers: a message that is encoded when its format is known, or only that all is
// well.

import type { DescMessage } from "@bufbuild/protobuf";
import { encodeJson } from "./json.ts";
import type { Encodable } from "./message.ts";
import { encodeProtobuf } from "./protobuf.ts";

export type Format = "json" | "protobuf";

/** An answer as it goes out; the same for both formats if it is empty, which means code 200. */
export interface Answer {
  encode(format: Format): string | Uint8Array;
}

/** The answer of /v1 to everything that succeeds without data. */
export const OK: Answer = {
  encode: (format) => (format === "json" ? OK_JSON : OK_PROTOBUF),
};
const OK_JSON = '{"code":200}';
const OK_PROTOBUF = Uint8Array.of(0x08, 0xc8, 0x01);

/** The same under /v2: a message in which nothing is. */
export const EMPTY: Answer = { encode: (format) => (format === "json" ? "{}" : NO_BYTES) };
const NO_BYTES = new Uint8Array(0);

/** Answers a message. */
export function reply<Desc extends DescMessage>(schema: Desc, message: Encodable<Desc>): Answer {
  return {
    encode: (format) =>
      format === "json" ? encodeJson(schema, message) : encodeProtobuf(schema, message),
  };
}

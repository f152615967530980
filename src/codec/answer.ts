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

/** The same under /v2, which says that it is done: `{}` could be from anybody. */
export const DONE: Answer = {
  encode: (format) => (format === "json" ? DONE_JSON : DONE_PROTOBUF),
};
const DONE_JSON = '{"ok":true}';
const DONE_PROTOBUF = Uint8Array.of(0x08, 0x01);

/** Answers a message. */
export function reply<Desc extends DescMessage>(schema: Desc, message: Encodable<Desc>): Answer {
  return {
    encode: (format) =>
      format === "json" ? encodeJson(schema, message) : encodeProtobuf(schema, message),
  };
}

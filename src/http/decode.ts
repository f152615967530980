// From the bytes of a body to its message, in either format: in one go if they are few, else in steps
// that share the thread with others (share.ts).

import { isUtf8 } from "node:buffer";
import type { DescMessage } from "@bufbuild/protobuf";
import type { Format } from "../codec/answer.ts";
import { decodeJson } from "../codec/json.ts";
import { readJson } from "../codec/json-reader.ts";
import { type Decoded, tableOf } from "../codec/message.ts";
import { decodeProtobuf, readProtobuf } from "../codec/protobuf.ts";
import { queueError } from "../errors.ts";
import type { Exchange } from "./edge.ts";
import { share } from "./share.ts";

// Bodies with more bytes are decoded in steps. JSON.parse reads an ordinary one in two thirds of the time, and
// one that has nothing but braces in ten times as long.
const STEPS_FROM_BYTES = 128 * 1024;

// One step, about a millisecond.
const STEP_BYTES = 64 * 1024;

/** Decodes a body of an exchange, as long as its client waits. Throws or rejects with a QueueError. */
export function decode<Desc extends DescMessage>(
  schema: Desc,
  body: Buffer,
  format: Format,
  exchange: Pick<Exchange, "isGone">,
): Decoded<Desc> | Promise<Decoded<Desc>> {
  if (body.length <= STEPS_FROM_BYTES) {
    return format === "json" ? decodeJson(schema, body) : decodeProtobuf(schema, body);
  }
  return inSteps(
    format === "json" ? readJsonBody(schema, body) : readProtobuf(schema, body, STEP_BYTES),
    exchange,
  );
}

function* readJsonBody<Desc extends DescMessage>(
  schema: Desc,
  body: Buffer,
): Generator<undefined, Decoded<Desc>> {
  if (!isUtf8(body)) throw tableOf(schema).complaints.unreadable("the body is not valid UTF-8");
  const text = body.toString();
  yield;
  return yield* readJson(schema, text, STEP_BYTES);
}

// Reads to the end, and then no more if nobody waits for it.
function inSteps<T>(
  reading: Generator<undefined, T>,
  exchange: Pick<Exchange, "isGone">,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const step = (): void => {
    try {
      if (exchange.isGone()) throw queueError("client_gone", {}); // nobody hears it
      const { done, value } = reading.next();
      if (done === true) resolve(value);
      else share.do(step);
    } catch (error) {
      reject(error);
    }
  };
  share.do(step);
  return promise;
}

// Idempotency of calls: a request that is sent again with the same Idempotency-Key gets the same answer, and is
// not done again. Hot requests, and changes of a queue's record, keep their key in the commit of what they
// do. For all other calls the answer is kept in the queue once they are done: after a crash in between
// they are done again, as they would be without a key.

import { createHash } from "node:crypto";
import type { DescMessage } from "@bufbuild/protobuf";
import { isRead } from "../auth/permissions.ts";
import type { Answer } from "../codec/answer.ts";
import { decodeJson } from "../codec/json.ts";
import { encodeProtobuf } from "../codec/protobuf.ts";
import { invalidField } from "../errors.ts";
import type { QueueHandle, Repeat } from "../queue/queue.ts";
import type { Row } from "./endpoint.ts";

/** What a request is known by when it is sent again: its key, and all else that it says. */
export function repeatOf(key: string, path: string, body: Buffer): Repeat {
  const digest = createHash("sha256").update(`${path}\0`).update(body).digest("base64url");
  return { key, digest };
}

/** Whether a call takes a key: it changes something, and its answer may be given twice. */
export function takesKey({
  permission,
  repeats,
}: Pick<Row<DescMessage>, "permission" | "repeats">): boolean {
  return !isRead(permission) && repeats !== "never";
}

type Handler<Request extends DescMessage> = Row<Request>["handler"];

/** The handler of a row for requests with a key. */
export function onceOf<Request extends DescMessage>(
  row: Row<Request>,
  find: (queue: string) => QueueHandle,
): Handler<Request> {
  const { repeats, permission, queueOf, reply: schema, handler } = row;
  // To read again does no harm.
  if (repeats === "itself" || isRead(permission)) return handler;
  if (!takesKey(row) || queueOf === undefined || schema === undefined) return refuse;
  return async (request, exchange, repeat, namespace, deed) => {
    const queue = find(queueOf(request));
    const kept = await queue.recall(repeat!);
    if (kept !== undefined) return keptAnswer(schema, kept);
    let answer: Answer;
    let text: string;
    try {
      answer = await handler(request, exchange, repeat, namespace, deed);
      text = answer.encode("json") as string;
    } catch (error) {
      await queue.forget(repeat!);
      throw error;
    }
    await queue.remember(repeat!, text);
    return answer;
  };
}

// What is kept is the answer in JSON, to the letter.
function keptAnswer(schema: DescMessage, kept: string): Answer {
  return {
    encode: (format) =>
      format === "json"
        ? kept
        : encodeProtobuf(schema, decodeJson(schema, Buffer.from(kept)) as never),
  };
}

function refuse(): never {
  throw invalidField(
    "Idempotency-Key",
    "Idempotency-Key header is invalid; this call takes none, for its answer is never given twice",
  );
}

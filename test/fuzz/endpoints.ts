// What the API has: every endpoint of the server's own table, with the message it takes and the one
// it answers, as the OpenAPI document has them. So a new endpoint is fuzzed without anyone remembering
// it.

import { type DescField, type DescMessage, getOption } from "@bufbuild/protobuf";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { isRead } from "../../src/auth/permissions.ts";
import { ReplySchema } from "../../src/codec/gen/querator/v1/reply_pb.ts";
import { raw_json } from "../../src/codec/gen/querator/v2/options_pb.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";

export interface Endpoint {
  readonly path: string;
  readonly bodyBytesMax: number;
  readonly request: DescMessage;
  /** The body of a success. */
  readonly response: DescMessage;
  /** It never changes anything, whatever it is sent. */
  readonly reads: boolean;
}

/** All endpoints, in the order of the server's table. */
export async function allEndpoints(): Promise<readonly Endpoint[]> {
  const service = { limits: DEFAULT_LIMITS } as Service; // nothing gets as far as to use the rest
  return [...makeEndpoints(service)].map(([path, { row }]) => {
    const { bodyBytesMax, request, reply: response = ReplySchema, permission } = row;
    return { path, bodyBytesMax, request: request!, response, reads: isRead(permission) };
  });
}

/** The message of a field that holds one of ours; a time is a value like a number. */
export function innerMessage(field: DescField): DescMessage | undefined {
  if (field.fieldKind !== "message" && field.fieldKind !== "list") return undefined;
  return isTime(field) ? undefined : field.message;
}

/** Whether a field holds a time. */
export function isTime(field: DescField): boolean {
  return field.message?.typeName === "google.protobuf.Timestamp";
}

/** Whether a field holds a value of JSON as its text. */
export function isRawJson(field: DescField): boolean {
  return getOption(field, raw_json);
}

// What the API has: every endpoint of the server's own table, with the message it takes and the one
// it answers. The table keeps its decoders to itself, so each is asked which fields it knows, and the
// generated message that has just these is the one. So a new endpoint is fuzzed without anyone
// remembering it; one whose answer does not follow the rule for names fails loudly here.

import { readdirSync } from "node:fs";
import type { DescField, DescFile, DescMessage } from "@bufbuild/protobuf";
import type { Endpoint as Row } from "../../src/http/edge.ts";
import { ReplySchema } from "../../src/http/gen/querator/v1/reply_pb.ts";
import { makeEndpoints, type Service } from "../../src/http/routes.ts";
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

// Those of a later version first: a message of the same name there is the one of its calls.
const GENERATED = ["v2", "v1"].map(
  (version) => new URL(`../../src/http/gen/querator/${version}/`, import.meta.url),
);

// Answers that are not named after their request.
const ANSWERS: Readonly<Record<string, string>> = {
  "/v1/queues.info": "QueueInfo",
  "/v2/queue.stats": "QueueStatsReply",
};

// Requests that look like others, and are not named after their path.
const REQUESTS: Readonly<Record<string, string>> = {
  "/v2/queue.retry": "QueueRetryLeasesRequest",
};

/** All endpoints, in the order of the server's table. */
export async function allEndpoints(): Promise<readonly Endpoint[]> {
  const messages = await generatedMessages();
  const service = { limits: DEFAULT_LIMITS } as Service; // nothing gets as far as to use the rest
  return [...makeEndpoints(service)].map(([path, row]) => {
    const request = requestOf(path, row, messages);
    const name = ANSWERS[path] ?? request.name.replace(/Request$/, "Response");
    const named = messages.find((message) => message.name === name);
    const response = named === undefined || named === request ? ReplySchema : named;
    const reads = /\.(list|info|stats)$/.test(path);
    return { path, bodyBytesMax: row.bodyBytesMax, request, response, reads };
  });
}

async function generatedMessages(): Promise<readonly DescMessage[]> {
  const messages: DescMessage[] = [];
  for (const folder of GENERATED) {
    for (const file of readdirSync(folder).sort()) {
      const module = (await import(new URL(file, folder).href)) as Record<string, unknown>;
      for (const value of Object.values(module)) {
        if ((value as Partial<DescFile>).kind === "file")
          messages.push(...(value as DescFile).messages);
      }
    }
  }
  return messages;
}

function requestOf(path: string, row: Row, messages: readonly DescMessage[]): DescMessage {
  const known = messages
    .map((message) => ({ message, probes: probesOf(message) }))
    .filter(({ probes }) => probes.every((probe) => knows(row, probe)));
  const most = Math.max(...known.map(({ probes }) => probes.length));
  const fitting = known.filter(({ probes }) => probes.length === most).map((each) => each.message);
  // Several messages may look the same; the one that is named after the path is meant.
  const wanted = path.replace(/^\/v\d\//, "").replace(/\W/g, "");
  const named = fitting.find(
    ({ name }) => name === REQUESTS[path] || name.toLowerCase() === `${wanted}request`,
  );
  const request = named ?? fitting[0];
  if (request === undefined) throw new Error(`no message in src/http/gen fits ${path}`);
  return request;
}

// For each field, also those within fields, a JSON text that names it and nothing unknown.
function probesOf(message: DescMessage): readonly string[] {
  return message.fields.flatMap((field) => {
    const inner = innerMessage(field);
    const key = JSON.stringify(field.jsonName);
    if (inner === undefined) return [`{${key}:null}`];
    const nested = probesOf(inner).map((probe) =>
      field.fieldKind === "list" ? `{${key}:[${probe}]}` : `{${key}:${probe}}`,
    );
    return [`{${key}:null}`, ...nested];
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

// Decoding comes first and throws; what the handler does after that is of no interest.
function knows(row: Row, probe: string): boolean {
  try {
    const answer = row.handle(Buffer.from(probe), "json", {
      isGone: () => false,
      onGone: () => undefined,
    });
    if (answer instanceof Promise) answer.catch(() => undefined);
    return true;
  } catch (error) {
    return !/unknown field|must be/.test((error as Error).message);
  }
}

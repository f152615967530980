// How what endpoints do gets into the audit. A row says what there is to be said (`audit`): either its handler gives
// the deed to whoever writes the change, who writes the entry with it, or the entry is written here, once the
// change is made and before it is answered. Rows that say nothing of it pay nothing.

import type { DescMessage } from "@bufbuild/protobuf";
import type { AuditChange, Deed, Note } from "../auth/audit.ts";
import type { Decoded } from "../codec/message.ts";
import { ERRORS, QueueError } from "../errors.ts";
import type { Exchange } from "../http/edge.ts";
import { nameOf } from "../registry/names.ts";
import type { Row } from "./endpoint.ts";
import type { Service } from "./service.ts";

const CERTIFICATE = "certificate";
const IDS_SHOWN = 20;

/** How something was asked for. */
export function deedOf(
  { path }: Pick<Row<DescMessage>, "path">,
  { principal, address, requestId }: Exchange,
  namespace: string,
): Deed {
  const { userId, keyId, keyTag } = principal;
  return {
    userId,
    // Of a certificate the id says what the user says.
    keyId: keyId.startsWith(`${CERTIFICATE}:`) ? CERTIFICATE : keyId,
    keyTag,
    address,
    requestId,
    namespace,
    call: path.replace(/^\/v\d\//, ""),
  };
}

/** Notes that a request was not allowed, if it would have changed something that the audit tells. */
export function noteDenied<Request extends DescMessage>(
  { audit }: Row<Request>,
  request: Decoded<Request>,
  deed: Deed,
  service: Service,
): void {
  if (audit === undefined || audit === "never") return;
  void deny({ deed, target: audit.target(request) }, service);
}

// Nobody waits for it, and nobody is to hear that it has failed.
async function deny(note: Note, { audit }: Service): Promise<void> {
  try {
    await audit.deny(note);
  } catch {
    // The server stops, or its first thread is gone.
  }
}

/** The handler of a row, with what the audit takes. */
export function auditedOf<Request extends DescMessage>(
  row: Row<Request>,
  service: Service,
): Row<Request>["handler"] {
  const { audit, handler } = row;
  if (audit === undefined || audit === "never") return handler;
  return async (request, exchange, repeat, namespace) => {
    const deed = deedOf(row, exchange, namespace);
    const isHere = audit.isWithin !== true && audit.isTrial?.(request) !== true;
    const note = { deed, target: audit.target(request), changes: audit.changes?.(request) ?? [] };
    try {
      const answer = await handler(request, exchange, repeat, namespace, deed);
      if (isHere) await service.audit.record(note);
      return answer;
    } catch (error) {
      if (isDenial(error)) noteDenied(row, request, deed, service);
      else if (isHere && mayBeDone(error)) {
        // Its caller is told that it has failed, and no more.
        await service.audit.record({ ...note, outcome: "unknown" }).catch(() => undefined);
      }
      throw error;
    }
  };
}

function isDenial(error: unknown): boolean {
  return error instanceof QueueError && error.code === "permission_denied";
}

// What is refused has changed nothing; of what has failed nobody knows.
function mayBeDone(error: unknown): boolean {
  return !(error instanceof QueueError) || ERRORS[error.code].status >= 500;
}

// --- what rows say ---

/** Of calls on a queue. */
export function ofQueue({ queueName }: { readonly queueName: string }): string {
  return nameOf(queueName);
}

/** Of calls on queues, whose entries are written with their records. */
export const WITH_QUEUE = { isWithin: true, target: ofQueue } as const;

/** Fields of a request that are given, as what it changes. */
export function given(fields: Readonly<Record<string, unknown>>): readonly AuditChange[] {
  return Object.entries(fields).flatMap(([field, value]) => {
    const isNone = value === undefined || value === "" || value === 0 || value === false;
    return isNone ? [] : [{ field, to: String(value) }];
  });
}

/** Of many ids how many they are, and some of them. */
export function someOf(ids: readonly string[]): string {
  return `${ids.length}: ${ids.slice(0, IDS_SHOWN).join(" ")}`;
}

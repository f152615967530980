// The endpoints that look into storage and change what lies there, as rows of routes.ts. Those under
// /v2 are the ones of /v1, and say more: when a scheduled item is due (clients of /v1 rely on replies
// without it, and on imports that ignore it, decision 13), what was imported, and what was deleted.

import type { DescMessage } from "@bufbuild/protobuf";
import { type Answer, OK, reply } from "../codec/answer.ts";
import {
  StorageItemsDeleteRequestSchema,
  StorageItemsImportRequestSchema,
  StorageItemsImportResponseSchema,
  StorageItemsListRequestSchema,
  StorageItemsListResponseSchema,
} from "../codec/gen/querator/v1/storage_pb.ts";
import {
  StorageItemsDeleteResponseSchema as DeleteResponseV2,
  StorageItemsImportResponseSchema as ImportResponseV2,
} from "../codec/gen/querator/v2/storage_pb.ts";
import type { Decoded } from "../codec/message.ts";
import { invalid } from "../errors.ts";
import type { Exchange } from "../http/edge.ts";
import { idError, type QueueHandle } from "../queue/queue.ts";
import { toRecord, toStorageItem } from "./items.ts";
import { checkListLimit, checkPartition, IMPORT_ATTEMPTS_MAX } from "./validate.ts";

/** Adds an endpoint. */
export type AddRoute = <Desc extends DescMessage>(
  path: string,
  bodyBytesMax: number,
  schema: Desc,
  handler: (request: Decoded<Desc>, exchange: Exchange) => Promise<Answer> | Answer,
) => void;

const MEDIUM = 256_000;
const IMPORT = 64_000_000;

/** Adds the endpoints; `find` answers the queue of a name. */
export function addStorageEndpoints({
  find,
  post,
  read,
}: {
  readonly find: (queueName: string) => QueueHandle;
  readonly post: AddRoute;
  readonly read: AddRoute;
}): void {
  for (const [path, table] of [
    ["/v1/storage/items.list", "items"],
    ["/v1/storage/scheduled.list", "scheduled"],
    ["/v2/storage/scheduled.list", "scheduled"],
  ] as const) {
    const show = showing(path);
    read(path, MEDIUM, StorageItemsListRequestSchema, async (request, exchange) => {
      const queue = find(request.queueName);
      checkPartition(request.partition, queue.partitionCount);
      const { pivot } = request;
      if (pivot !== "") checkIds([pivot]);
      const limit = checkListLimit(request.limit);
      const items = await queue.list(request.partition, {
        table,
        pivot,
        limit,
        isGone: () => exchange.isGone(),
      });
      return reply(StorageItemsListResponseSchema, { items: items.map(show) });
    });
  }

  for (const path of ["/v1/storage/items.import", "/v2/storage/items.import"]) {
    const show = showing(path);
    post(path, IMPORT, StorageItemsImportRequestSchema, async (request) => {
      const { partition, items } = request;
      const queue = find(request.queueName);
      checkPartition(partition, queue.partitionCount);
      if (items.length === 0) throw invalid("items is invalid; cannot be empty");
      for (const { attempts } of items) {
        if (attempts >= 0 && attempts <= IMPORT_ATTEMPTS_MAX) continue;
        throw invalid(
          `attempts is invalid; '${attempts}' is not between 0 and ${IMPORT_ATTEMPTS_MAX}`,
        );
      }
      const dueAt = (item: (typeof items)[number]): number =>
        isV2(path) ? Math.max(item.enqueueAt, 0) : 0;
      if (items.some((item) => item.isLeased && dueAt(item) !== 0)) {
        throw invalid("enqueue_at is invalid; a leased item cannot be scheduled");
      }
      const results = await queue.import(
        partition,
        items.map((item) => ({
          sourceId: item.sourceId,
          isLeased: item.isLeased,
          leaseDeadline: Math.max(item.leaseDeadline, 0),
          expireAt: Math.max(item.expireDeadline, 0),
          dueAt: dueAt(item),
          attempts: item.attempts,
          maxAttempts: item.maxAttempts,
          record: toRecord(item),
        })),
      );
      const answer = { items: results.map(show) };
      if (!isV2(path)) return reply(StorageItemsImportResponseSchema, answer);
      const statuses = results.map(({ status }) => status);
      return reply(ImportResponseV2, { ...answer, statuses });
    });
  }

  for (const path of ["/v1/storage/items.delete", "/v2/storage/items.delete"]) {
    post(path, MEDIUM, StorageItemsDeleteRequestSchema, async (request) => {
      const queue = find(request.queueName);
      checkPartition(request.partition, queue.partitionCount);
      if (request.ids.length === 0) throw invalid("ids is invalid; cannot be empty");
      checkIds(request.ids);
      const ids = [...new Set(request.ids)];
      const unknown = await queue.delete(request.partition, ids);
      if (!isV2(path)) return OK;
      return reply(DeleteResponseV2, { deleted: ids.length - unknown.length, unknown });
    });
  }
}

function isV2(path: string): boolean {
  return path.startsWith("/v2/");
}

function showing(path: string): typeof toStorageItem {
  if (!isV2(path)) return toStorageItem;
  return (item) => ({ ...toStorageItem(item), enqueueAt: item.dueAt });
}

function checkIds(ids: readonly string[]): void {
  for (const id of ids) {
    const error = idError(id);
    if (error !== undefined) throw error;
  }
}

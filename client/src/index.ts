// What programs import. Everything else is inside, and may change.

import "./supported.ts"; // before all others

export type { CallOptions } from "./call.ts";
export { QueratorClient } from "./client.ts";
export type * from "./client-options.ts";
export type { RetryOptions } from "./connection.ts";
export type { ConsumedItem, ConsumeOptions } from "./consumer.ts";
export type { Duration } from "./duration.ts";
export {
  AuthenticationError,
  ClosedError,
  type ErrorCode,
  InvalidRequestError,
  type Issue,
  type ItemFailure,
  LeaseLostError,
  NetworkError,
  PermissionError,
  QueratorError,
  QueueExistsError,
  QueueNotFoundError,
  ServerError,
  TimeoutError,
  TooLargeError,
  TooMuchWaitingError,
  TryAgainError,
  ValidationError,
} from "./errors.ts";
export type { Events } from "./events.ts";
export { exactJson } from "./exact-json.ts";
export type { HeldItem } from "./held-item.ts";
export {
  type ExtendItem,
  type Headers,
  type ImportedItem,
  type ImportItem,
  type ItemRef,
  type ItemTexts,
  LeasedItem,
  type ProducedItem,
  type ProduceItem,
  type RetryItem,
  type StorageItem,
  type WireStorageItem,
} from "./items.ts";
export {
  type Codec,
  type DefineQueueOptions,
  defineQueue,
  jsonCodec,
  type QueueDefinition,
  type StandardSchema,
} from "./queue-definition.ts";
export type {
  ListQueuesOptions,
  QueueChanges,
  QueueInfo,
  QueueSettings,
  Queues,
} from "./queues.ts";
export {
  type AttemptsBound,
  exponential,
  type Failure,
  fixed,
  type RetryPolicy,
} from "./retry-policy.ts";
export type {
  DroppedItems,
  LogicalQueueStats,
  PartitionStats,
  QueueCounts,
  QueueStats,
  QueueTotals,
} from "./stats.ts";
export type { ImportOptions, ListItemsOptions, StoredItems } from "./stored-items.ts";
export type { ProduceDetails, TypedQueue } from "./typed-queue.ts";
export { HandlerAborted, type HandlerContext, type RetryWhen, type WorkItem } from "./work-item.ts";
export type { Worker } from "./worker.ts";
export type * from "./worker-options.ts";

// What programs import. Everything else is inside, and may change.

export type { CallOptions } from "./call.ts";
export * from "./client.ts";
export type { RetryOptions } from "./connection.ts";
export type { Duration } from "./duration.ts";
export {
  AuthenticationError,
  ClosedError,
  type ErrorCode,
  InvalidRequestError,
  type Issue,
  LeaseLostError,
  NetworkError,
  PermissionError,
  QueratorError,
  QueueExistsError,
  QueueNotFoundError,
  ServerError,
  TimeoutError,
  TooMuchWaitingError,
  TryAgainError,
  ValidationError,
} from "./errors.ts";
export {
  type ImportItem,
  type ItemRef,
  type ItemTexts,
  LeasedItem,
  type ProduceItem,
  type RetryItem,
  type StorageItem,
} from "./items.ts";
export type {
  ListQueuesOptions,
  QueueChanges,
  QueueInfo,
  QueueSettings,
  Queues,
} from "./queues.ts";
export type { LogicalQueueStats, PartitionStats, QueueStats } from "./stats.ts";
export type {
  ListItemsOptions,
  PartitionOptions,
  ScheduledItems,
  StoredItems,
} from "./stored-items.ts";

// What programs import. Everything else is inside, and may change.

import "./supported.ts"; // before all others

export type {
  Binding,
  BindingChoice,
  BindingPages,
  Bindings,
  Key,
  KeyPages,
  Keys,
  ListPages,
  MadeKey,
  Namespace,
  NamespaceChanges,
  Namespaces,
  NewKey,
  NewNamespace,
  NewUser,
  Quotas,
  Role,
  RoleChoice,
  RolePages,
  Roles,
  RotateKeyOptions,
  User,
  Users,
  WhichKeys,
} from "./access.ts";
export type { Audit, AuditChange, AuditEntry, AuditPages } from "./audit.ts";
export type { CallOptions, ChangeOptions, KeyOptions } from "./call.ts";
export { QueratorClient } from "./client.ts";
export type * from "./client-options.ts";
export type { RetryOptions } from "./connection.ts";
export type { ConsumedItem, ConsumeOptions } from "./consumer.ts";
export type {
  DeadGroup,
  DeadGroups,
  DeadGroupsOptions,
  Redrive,
  RedriveOptions,
  Redrives,
} from "./dead-letters.ts";
export type { DumpOptions, ServerDump } from "./dump.ts";
export type { Duration } from "./duration.ts";
export {
  AuthenticationError,
  ClosedError,
  type ErrorCode,
  ExistsError,
  InvalidRequestError,
  type Issue,
  ItemCancelledError,
  type ItemFailure,
  ItemNotFoundError,
  LeaseLostError,
  NetworkError,
  NotFoundError,
  PermissionError,
  QueratorError,
  QueueExistsError,
  QueueNotFoundError,
  ServerError,
  TimeoutError,
  TooLargeError,
  TooMuchWaitingError,
  TryAgainError,
  UniqueKeyTakenError,
  ValidationError,
} from "./errors.ts";
export type { Events } from "./events.ts";
export { exactJson, JsonText } from "./exact-json.ts";
export { Fatal, RetryLater } from "./failures.ts";
export type { HeldItem } from "./held-item.ts";
export type { GivenItemError, ItemError } from "./item-error.ts";
export type {
  ImportedItem,
  ImportItem,
  ItemChanges,
  ItemState,
  StorageItem,
  WireStorageItem,
} from "./item-records.ts";
export {
  type DeadSource,
  type DoneItem,
  type ExtendItem,
  type Headers,
  type ItemRef,
  type ItemTexts,
  LeasedItem,
  type ProducedItem,
  type ProduceItem,
  type RejectItem,
  type ReleaseItem,
  type RetryItem,
} from "./items.ts";
export {
  type Codec,
  type DefineQueueOptions,
  defineQueue,
  jsonCodec,
  type QueueDefinition,
  type ResultDefinition,
  type StandardSchema,
} from "./queue-definition.ts";
export type {
  ListQueuesOptions,
  QueueChanges,
  QueueDiff,
  QueueInfo,
  QueueSettings,
  Queues,
  UpdateQueueOptions,
} from "./queues.ts";
export {
  type AttemptsBound,
  exponential,
  type Failure,
  fixed,
  type RetryPolicy,
} from "./retry-policy.ts";
export type { RetrySettings } from "./retry-settings.ts";
export type { EventOptions, ServerEvent } from "./server-events.ts";
export type {
  DroppedItems,
  LogicalQueueStats,
  PartitionStats,
  QueueCounts,
  QueueRates,
  QueueStats,
  QueueTimes,
  QueueTotals,
} from "./stats.ts";
export type {
  CancelItemOptions,
  Explanation,
  GetItemOptions,
  ImportOptions,
  ItemReason,
  ListItemsOptions,
  OneItemOptions,
  StoredItems,
  UpdateItemOptions,
  WaitForItemOptions,
} from "./stored-items.ts";
export type { TracingOptions } from "./tracing.ts";
export type { TracingApi } from "./tracing-api.ts";
export type { EndedItem, ProduceDetails, TypedQueue } from "./typed-queue.ts";
export { HandlerAborted, type HandlerContext, type RetryWhen, type WorkItem } from "./work-item.ts";
export type { Worker } from "./worker.ts";
export type * from "./worker-options.ts";

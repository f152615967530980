// The options that calls take, by their names: one that nobody knows is an error at the call. Each list is checked
// against the type that it is of, so that a new option cannot be forgotten here.

import type {
  CompleteAndProduceOptions,
  CompleteOptions,
  EndOptions,
  ExtendOptions,
  GiveBackOptions,
  LeaseOptions,
  ProduceOptions,
} from "./client-options.ts";
import { namesOf } from "./names.ts";
import type {
  CancelItemOptions,
  GetItemOptions,
  ListItemsOptions,
  OneItemOptions,
  UpdateItemOptions,
  WaitForItemOptions,
} from "./stored-items.ts";

const CALL = { signal: true, timeout: true } as const;
const HOT = { signal: true, requestTimeout: true, onRepeat: true } as const;
const KEYED = { ...HOT, idempotencyKey: true } as const;
// What workers add, for themselves.
const END = { ...KEYED, allOrNone: true, isGivenUp: true } as const;
const ONE_ITEM = { ...CALL, queueName: true } as const;

type FromWorker = { readonly isGivenUp?: unknown };

export const OF_PRODUCE = namesOf<ProduceOptions>({ ...KEYED, mayRepeat: true, allOrNone: true });
export const OF_LEASE = namesOf<LeaseOptions>({
  ...HOT,
  batchSize: true,
  client: true,
  leaseTimeout: true,
  kinds: true,
  isShared: true,
  keepsLate: true,
  isTraced: true,
});
export const OF_COMPLETE = namesOf<CompleteOptions & CompleteAndProduceOptions & FromWorker>({
  ...END,
  result: true,
  produce: true,
});
export const OF_GIVE_BACK = namesOf<GiveBackOptions & FromWorker>({ ...END, onDead: true });
export const OF_END = namesOf<EndOptions & FromWorker>(END);
export const OF_EXTEND = namesOf<ExtendOptions>({
  ...KEYED,
  allOrNone: true,
  for: true,
  progress: true,
});
export const OF_ONE_ITEM = namesOf<OneItemOptions>(ONE_ITEM);
export const OF_GET_ITEM = namesOf<GetItemOptions>({ ...ONE_ITEM, payload: true });
export const OF_CANCEL_ITEM = namesOf<CancelItemOptions>({ ...ONE_ITEM, idempotencyKey: true });
export const OF_UPDATE_ITEM = namesOf<UpdateItemOptions>({
  ...ONE_ITEM,
  ifState: true,
  idempotencyKey: true,
});
export const OF_WAIT = namesOf<WaitForItemOptions>({
  signal: true,
  requestTimeout: true,
  queueName: true,
  payload: true,
});
export const OF_LIST_ITEMS = namesOf<ListItemsOptions>({
  ...CALL,
  state: true,
  partition: true,
  payload: true,
  kind: true,
  reference: true,
  errorType: true,
  olderThan: true,
  newerThan: true,
  order: true,
  pageSize: true,
});

// What ends leases, or makes them last longer: complete and retry of both versions, and release, reject
// and extend of /v2. Under /v2 a lease id tells where its item lies, and each lease of a call has its own
// outcome, unless all of it is to be one thing.

import type { Clock } from "../clock.ts";
import { type Answer, OK } from "../codec/answer.ts";
import {
  QueueCompleteRequestSchema,
  QueueRetryRequestSchema,
} from "../codec/gen/querator/v1/queue_pb.ts";
import {
  QueueCompleteRequestSchema as CompleteRequestV2,
  QueueExtendRequestSchema,
  QueueRejectRequestSchema,
  QueueReleaseRequestSchema,
  QueueRetryRequestSchema as RetryRequestV2,
} from "../codec/gen/querator/v2/queue_pb.ts";
import { ResultsResponseSchema } from "../codec/gen/querator/v2/result_pb.ts";
import { DURATION_PATTERN } from "../duration.ts";
import { invalidField, QueueError, SomeRefusedError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import {
  type AnyHotRequest,
  BY_POLICY,
  CompleteRequest,
  EXTENSION_MAX,
  EXTENSION_MIN,
  ExtendRequest,
  type Followers,
  type Outcomes,
  type QueueHandle,
  type Repeat,
  type RetryItem,
  RetryRequest,
  type Together,
} from "../queue/queue.ts";
import { QUEUE_NAME_BYTES_MAX, QUEUE_NAME_PATTERN } from "../registry/names.ts";
import { readDuration } from "../registry/settings.ts";
import { byName, type endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { FollowersOfCall } from "./followers.ts";
import {
  BAD_TIMEOUTS_V2,
  badId,
  type Errors,
  FOUND,
  FOUND_V2,
  noSuchPartition,
  outcomeUnknown,
  partitionFailing,
  problem,
  QUEUED,
  refusal,
  requestTimeout,
  TIMED,
} from "./openapi/errors.ts";
import {
  atOrDelay,
  EXAMPLE_ID,
  type FieldNote,
  id,
  ids,
  type Notes,
  PARTITION,
  QUEUE_NAME,
  SIGNED_DURATION_PATTERN,
  TIMEOUT,
} from "./openapi/fields.ts";
import { readError } from "./policy.ts";
import { type Refused, resultsAnswer, type Told } from "./results.ts";
import { findQueue, type Service } from "./service.ts";
import { traceOf } from "./trace.ts";
import {
  checkEndings,
  checkPartition,
  checkTimeoutGiven,
  checkTimeoutMax,
  completeDeadline,
  parseRequestTimeout,
  RETRY_TIMEOUT,
  readMoment,
  readTimeout,
} from "./validate.ts";

// What can become of the end of a lease.
const ENDED: Errors = {
  badId,
  noSuchId: refusal(`invalid storage id; '${EXAMPLE_ID}' does not exist`),
  requestTimeout,
  outcomeUnknown,
  partitionFailing,
  ...QUEUED,
};

const queue_name = "jobs";

/** What the requests of /v2 have in common. */
interface Ending {
  readonly queueName: string;
  readonly requestTimeout: string;
  readonly allOrNone: boolean;
  readonly leases: readonly { readonly leaseId: string }[];
}

/** What one request to the loop is to do: leases of one partition. */
interface Part {
  readonly partition: number;
  readonly deadline: number;
  readonly together: Exclude<Together, "all">;
  /** Of a list with an entry for each lease of the call, those of this part. */
  of<T>(list: readonly T[]): readonly T[];
}

type EndingRequest = Extract<AnyHotRequest, { readonly result: Told }>;

/** The endpoints. */
export function endingEndpoints(
  service: Service,
  endpoint: ReturnType<typeof endpointsOf>,
): readonly RowEndpoint[] {
  const { clock, limits } = service;

  const ofLeases = {
    bodyBytesMax: MEDIUM,
    reply: ResultsResponseSchema,
    permission: "queue.complete",
    audit: "never",
    queueOf: byName,
    repeats: "itself",
    example: { queue_name, leases: [{ lease_id: EXAMPLE_ID }] },
    errors: {
      ...FOUND_V2,
      ...BAD_TIMEOUTS_V2,
      requestTimeout,
      outcomeUnknown,
      partitionFailing,
      noLeases: problem("invalid_field", "leases is invalid; list of leases cannot be empty", {
        field: "leases",
      }),
      someRefused: problem("some_refused", "nothing was done; 1 of 1 are refused"),
      ...QUEUED,
    },
  } as const;

  // Has the loop do it, in as many requests as the leases lie in partitions.
  async function end(
    ending: Ending,
    repeat: Repeat | undefined,
    makeOne: (part: Part) => EndingRequest,
    madeBy?: (outcomes: Outcomes) => NonNullable<Told["made"]>,
  ): Promise<Answer> {
    const make = (part: Part): EndingRequest => {
      const request = makeOne(part);
      request.repeat = repeat;
      return request;
    };
    const { leases, allOrNone } = ending;
    const queue = findQueue(service, ending.queueName);
    const deadline = clock.steady() + readTimeout(ending.requestTimeout);
    checkEndings("leases", leases.length, limits);
    const parts = partsOf(queue, leases);
    if (parts.size > 1) {
      if (allOrNone) {
        throw invalidField(
          "all_or_none",
          "all_or_none is invalid; these leases lie in several partitions, which cannot be changed as one",
        );
      }
      return endEach(queue, parts, (partition, indexes) =>
        make({
          partition,
          deadline,
          together: "each",
          of: (list) => indexes.map((index) => list[index]!),
        }),
      );
    }
    const [partition = 0] = parts.keys();
    const together = allOrNone ? "listed" : "each";
    const outcomes = await queue.submit(
      make({ partition, deadline, together, of: (list) => list }),
    );
    if (allOrNone && outcomes.refused.length > 0) {
      const refused = new Map(outcomes.refused.map(({ index, error }) => [index, error]));
      throw new SomeRefusedError(refused, leases.length);
    }
    const made = madeBy !== undefined && "dead" in outcomes ? madeBy(outcomes) : undefined;
    return resultsAnswer(leases.length, { ...outcomes, ...(made && { made }) });
  }

  return [
    endpoint({
      path: "/v1/queue.complete",
      bodyBytesMax: MEDIUM,
      request: QueueCompleteRequestSchema,
      permission: "queue.complete",
      audit: "never",
      metric: "complete",
      queueOf: byName,
      summary: "Ends leases: the work is done. All ids of a request, or none.",
      example: { queue_name, request_timeout: "1m", partition: 0, ids: [EXAMPLE_ID] },
      errors: {
        ...FOUND,
        noSuchPartition,
        ...TIMED,
        noIds: refusal("ids is invalid; list of ids cannot be empty"),
        ...ENDED,
      },
      handler: async (request) => {
        const queue = findQueue(service, request.queueName);
        checkPartition(request.partition, queue.partitionCount);
        const timeout = parseRequestTimeout(request.requestTimeout);
        checkEndings("ids", request.ids.length, limits);
        checkTimeoutMax(timeout);
        checkTimeoutGiven(timeout);
        const deadline = completeDeadline(clock.steady(), timeout);
        await queue.submit(new CompleteRequest(request.partition, request.ids, deadline));
        return OK;
      },
    }),

    endpoint({
      path: "/v1/queue.retry",
      bodyBytesMax: MEDIUM,
      request: QueueRetryRequestSchema,
      permission: "queue.retry",
      audit: "never",
      metric: "retry",
      queueOf: byName,
      summary: "Ends leases: the work is to be tried again, later, or never (dead).",
      example: { queue_name, partition: 0, items: [{ id: EXAMPLE_ID }] },
      errors: { ...FOUND, noSuchPartition, ...ENDED },
      handler: async (request) => {
        const queue = findQueue(service, request.queueName);
        checkPartition(request.partition, queue.partitionCount);
        checkEndings("items", request.items.length, limits);
        const deadline = clock.steady() + RETRY_TIMEOUT;
        await queue.submit(new RetryRequest(request.partition, request.items, deadline));
        return OK;
      },
    }),
    endpoint({
      ...ofLeases,
      path: "/v2/queue.complete",
      bodyBytesMax: limits.produceBytes,
      request: CompleteRequestV2,
      metric: "complete",
      summary: "Ends leases: the work is done.",
      errors: {
        ...ofLeases.errors,
        nextKeyTaken: problem(
          "unique_key_taken",
          `unique key is taken; 'jane' is that of item '${EXAMPLE_ID}'`,
          { field: "produce[0].items[0].unique_key" },
        ),
      },
      handler: (request, exchange, repeat) => {
        const leaseIds = request.leases.map(({ leaseId }) => leaseId);
        const results = readResults(request.leases);
        const make = (followers?: readonly Followers[]) => (part: Part) =>
          new CompleteRequest(part.partition, part.of(leaseIds), part.deadline, {
            together: part.together,
            results: results && part.of(results),
            followers,
          });
        if (request.produce.length === 0) return end(request, repeat, make());
        const queue = findQueue(service, request.queueName);
        const call = new FollowersOfCall(service, queue, request.produce, traceOf(exchange));
        const whole = { ...request, allOrNone: true };
        return end(whole, repeat, make(call.followers), (outcomes) => call.results(outcomes));
      },
    }),
    endpoint({
      ...ofLeases,
      path: "/v2/queue.retry",
      permission: "queue.retry",
      bodyBytesMax: limits.produceBytes,
      request: RetryRequestV2,
      metric: "retry",
      summary:
        "Ends leases: the work is to be tried again, at a time or by the queue's retry policy.",
      errors: { ...ofLeases.errors, atAndDelay },
      handler: (request, _, repeat) => {
        const items = request.leases.map((lease, i) => ({
          ...toRetryItem(lease, i, { clock, otherwise: BY_POLICY }),
          error: readError(lease.error),
        }));
        return end(request, repeat, giveBack(items, "retried"));
      },
    }),
    endpoint({
      ...ofLeases,
      path: "/v2/queue.release",
      permission: "queue.retry",
      request: QueueReleaseRequestSchema,
      metric: "release",
      summary:
        "Gives leased items back as if they had not been leased: it does not count as an attempt.",
      errors: { ...ofLeases.errors, atAndDelay },
      handler: (request, _, repeat) => {
        const items = request.leases.map((lease, i) =>
          toRetryItem(lease, i, { clock, otherwise: 0 }),
        );
        return end(request, repeat, giveBack(items, "released"));
      },
    }),
    endpoint({
      ...ofLeases,
      path: "/v2/queue.reject",
      permission: "queue.retry",
      bodyBytesMax: limits.produceBytes,
      request: QueueRejectRequestSchema,
      metric: "reject",
      summary:
        "Ends leases: the work is not to be tried again. To the dead queue, or deleted without one.",
      handler: (request, _, repeat) => {
        const items = request.leases.map(({ leaseId, error }) => ({
          id: leaseId,
          retryAt: 0,
          dead: true,
          error: readError(error),
        }));
        return end(request, repeat, giveBack(items, "retried"));
      },
    }),
    endpoint({
      ...ofLeases,
      path: "/v2/queue.extend",
      request: QueueExtendRequestSchema,
      metric: "extend",
      summary: "Gives leases another end, from now on: later than it was, or earlier.",
      example: { queue_name, leases: [{ lease_id: EXAMPLE_ID, for: "5m" }] },
      errors: { ...ofLeases.errors, badExtension },
      handler: (request, _, repeat) => {
        const items = request.leases.map(({ leaseId: id, for: given, progress }, index) => ({
          id,
          for: readExtension(given, index, progress),
          progress: checkProgress(progress, index),
        }));
        return end(
          request,
          repeat,
          ({ partition, deadline, together, of }) =>
            new ExtendRequest(partition, of(items), deadline, together),
        );
      },
    }),
  ];
}

/** Bytes of what came of the work with one item. */
const RESULT_BYTES_MAX = 64 * 1024;

// What came of the work with each; undefined if nothing is said of any.
function readResults(
  leases: readonly { readonly result: string }[],
): readonly string[] | undefined {
  if (leases.every(({ result }) => result === "")) return undefined;
  return leases.map(({ result }, index) => {
    if (Buffer.byteLength(result) <= RESULT_BYTES_MAX) return result;
    const field = `leases[${index}].result`;
    const max = `cannot be greater than '${RESULT_BYTES_MAX}' bytes`;
    throw invalidField(field, `${field} is invalid; ${max}`);
  });
}

const badExtension = problem(
  "invalid_field",
  "leases[0].for is invalid; '13h' is not between 1ms and 12h",
  { field: "leases[0].for" },
);

/** Bytes of what is told of how far the work is. */
const PROGRESS_BYTES_MAX = 4_096;

function checkProgress(progress: string, index: number): string {
  if (progress.length * 3 <= PROGRESS_BYTES_MAX) return progress;
  if (Buffer.byteLength(progress) <= PROGRESS_BYTES_MAX) return progress;
  const field = `leases[${index}].progress`;
  const max = `cannot be greater than '${PROGRESS_BYTES_MAX}' bytes`;
  throw invalidField(field, `${field} is invalid; ${max}`);
}

// 0 leaves the end as it is, where there is progress to tell.
function readExtension(given: string, index: number, progress: string): number {
  const field = `leases[${index}].for`;
  if (given === "" && progress !== "") return 0;
  if (given === "") {
    throw invalidField(
      field,
      `${field} is missing; say for how long from now on, as 30s, 5m or 1h`,
    );
  }
  const extension = readDuration(given, { field, called: field, examples: "30s, 5m or 1h" });
  if (extension >= EXTENSION_MIN && extension <= EXTENSION_MAX) return Math.trunc(extension);
  throw invalidField(field, `${field} is invalid; '${given}' is not between 1ms and 12h`);
}

const atAndDelay = problem(
  "invalid_field",
  "leases[0].delay is invalid; give either 'at' or 'delay'",
  { field: "leases[0].delay" },
);

function toRetryItem(
  {
    leaseId: id,
    at,
    delay,
  }: { readonly leaseId: string; readonly at: number; readonly delay: string },
  index: number,
  { clock, otherwise }: { readonly clock: Clock; readonly otherwise: number },
): RetryItem {
  const dead = false;
  if (delay === "") return { id, retryAt: at === 0 ? otherwise : Math.max(at, 0), dead };
  const retryAt = readMoment({ at, delay, path: `leases[${index}]`, name: "at" }, clock);
  return { id, retryAt, dead };
}

function giveBack(items: readonly RetryItem[], verb: RetryRequest["verb"]) {
  return ({ partition, deadline, together, of }: Part): RetryRequest =>
    new RetryRequest(partition, of(items), deadline, { verb, together });
}

// The indexes of the leases by the partitions that they lie in: mostly one. What is no lease of the queue
// goes with the first of them, and is refused there.
function partsOf(queue: QueueHandle, leases: Ending["leases"]): ReadonlyMap<number, number[]> {
  const parts = new Map<number, number[]>();
  const strangers: number[] = [];
  for (let index = 0; index < leases.length; index++) {
    const partition = queue.partitionOf(leases[index]!.leaseId);
    if (partition === -1) strangers.push(index);
    else {
      const part = parts.get(partition);
      if (part === undefined) parts.set(partition, [index]);
      else part.push(index);
    }
  }
  if (strangers.length > 0) {
    const [first = 0] = parts.keys();
    parts.set(first, [...(parts.get(first) ?? []), ...strangers]);
  }
  return parts;
}

// Each part by itself: what fails as a whole fails for each of its leases, unless all do.
async function endEach(
  queue: QueueHandle,
  parts: ReadonlyMap<number, readonly number[]>,
  make: (partition: number, indexes: readonly number[]) => EndingRequest,
): Promise<Answer> {
  const dead: number[] = [];
  const deadlines: number[] = [];
  const refused: Refused[] = [];
  const failures: QueueError[] = [];
  let count = 0;
  await Promise.all(
    Array.from(parts, async ([partition, indexes]) => {
      count += indexes.length;
      try {
        const outcomes: Told = await queue.submit(make(partition, indexes));
        for (const index of outcomes.dead ?? []) dead.push(indexes[index]!);
        for (const [index, at] of outcomes.deadlines?.entries() ?? []) {
          deadlines[indexes[index]!] = at;
        }
        for (const { index, error } of outcomes.refused) {
          refused.push({ index: indexes[index]!, error });
        }
      } catch (error) {
        if (!(error instanceof QueueError)) throw error;
        failures.push(error);
        for (const index of indexes) refused.push({ index, error });
      }
    }),
  );
  if (failures.length === parts.size) throw failures[0]!;
  return resultsAnswer(count, { dead, deadlines, refused });
}

/** What the fields of the messages mean. */
export function endingNotes({ completeBatch }: Limits): Notes {
  const endings: Readonly<Record<string, FieldNote>> = {
    queue_name: QUEUE_NAME,
    request_timeout: TIMEOUT,
    all_or_none: {
      text: "Either all of it is done, or nothing is, and the error tells of each why not. Only of leases that lie in one partition.",
    },
    leases: {
      text: `The leases, from 1 to ${completeBatch}.`,
      required: "request",
      request: { minItems: 1, maxItems: completeBatch },
    },
  };
  const lease = { lease_id: id("The lease, as it was answered with the item.") };
  const later = (otherwise: string): Readonly<Record<string, FieldNote>> => ({
    ...lease,
    ...atOrDelay(
      "at",
      `When the item is to become leasable again; ${otherwise} if it is not given.`,
    ),
  });
  const error: FieldNote = { text: "Why it failed: kept as the last_error of the item." };
  return {
    "v2.QueueCompleteRequest": {
      ...endings,
      produce: {
        text: "What is to be done next: items that are produced in the same transaction, both or neither, as with all_or_none. For the queue itself, and for others in the same storage.",
      },
    },
    QueueCompleteProduce: {
      queue_name: {
        text: "The queue that they are for; the one that is completed if it is not given.",
        request: { maxLength: QUEUE_NAME_BYTES_MAX },
        accepted: { pattern: `^$|${QUEUE_NAME_PATTERN}` },
      },
      items: {
        text: "The items, as queue.produce takes them.",
        required: "request",
        request: { minItems: 1 },
      },
    },
    QueueCompleteLease: {
      ...lease,
      result: {
        text: `What came of the work, any JSON up to ${RESULT_BYTES_MAX} bytes. Kept with the item if its queue has keep_completed; else told to those who wait for its end.`,
      },
    },
    "v2.QueueRetryRequest": endings,
    QueueRetryLease: { ...later("by its retry policy"), error },
    QueueReleaseRequest: endings,
    QueueReleaseLease: later("at once"),
    QueueRejectRequest: endings,
    QueueRejectLease: { ...lease, error },
    QueueExtendRequest: endings,
    QueueExtendLease: {
      ...lease,
      for: {
        text: "How long the lease is to last from now on, from 1ms to 12h, whatever was left of it; may be left out with progress.",
        request: { pattern: DURATION_PATTERN },
        accepted: { pattern: `^$|${DURATION_PATTERN}` },
      },
      progress: {
        text: `How far the work is, any JSON up to ${PROGRESS_BYTES_MAX} bytes: for item.get to tell, as long as the lease lasts. Kept at most once a second of an item; what comes in between is kept with the next.`,
      },
    },
    QueueCompleteRequest: {
      queue_name: QUEUE_NAME,
      partition: PARTITION,
      request_timeout: {
        text: "How long to try, up to 15m; as long as that if it is negative.",
        required: "request",
        request: { minLength: 1, pattern: DURATION_PATTERN },
        accepted: { pattern: SIGNED_DURATION_PATTERN },
      },
      ids: ids(`The ids of leased items, from 1 to ${completeBatch}.`, { maxItems: completeBatch }),
    },
    QueueRetryRequest: {
      queue_name: QUEUE_NAME,
      partition: PARTITION,
      items: {
        text: `What is given back, from 1 to ${completeBatch} items.`,
        required: "request",
        request: { minItems: 1, maxItems: completeBatch },
      },
    },
    QueueRetryItem: {
      id: id("The id of a leased item."),
      retry_at: { text: "When the item is to become leasable again; at once if it is not given." },
      dead: { text: "It is not to be tried again: to the dead queue, or deleted without one." },
    },
  };
}

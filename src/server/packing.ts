// How the requests of a queue and their answers travel between threads: an entry for each kind. What is
// cloned costs by the value far more than by the byte, so a request becomes a few values, and what there is
// for each of its items becomes one run of numbers or of bytes.

import { type PackedError, packError, unpackError } from "../errors.ts";
import {
  type AnyHotRequest,
  CompleteRequest,
  type Extended,
  ExtendRequest,
  type Followers,
  IdSpace,
  Item,
  Kind,
  type Leased,
  LeaseRequest,
  NO_OUTCOMES,
  type Outcomes,
  type Produced,
  ProduceRequest,
  type Refused,
  type Repeat,
  RetryRequest,
} from "../queue/queue.ts";
import { type PackedRecords, packRecords, unpackRecords } from "../storage/rows/records.ts";

/** Packs and unpacks one kind; an answer for which nothing is stated travels as it is. */
interface Packing<Request, Answer, Packed extends readonly unknown[], PackedAnswer> {
  pack(request: Request): Packed;
  unpack(...packed: Packed): Request;
  packAnswer?(answer: Answer): PackedAnswer;
  unpackAnswer?(packed: PackedAnswer): Answer;
}

type AnyPacking = Packing<unknown, unknown, readonly unknown[], unknown>;

const PACKINGS: Readonly<Record<Kind, AnyPacking>> = {
  [Kind.produce]: packing({
    pack: ({ items, deadline, unique, together }: ProduceRequest) => [
      packNew(items),
      deadline,
      unique,
      together,
    ],
    unpack: (items, deadline, unique, together) =>
      new ProduceRequest(unpackNew(items), deadline, unique, together),
    packAnswer: ({ refused, ...rest }: Produced) =>
      refused === undefined ? rest : { ...rest, refused: packRefused(refused) },
    unpackAnswer: (packed): Produced =>
      "refused" in packed ? { ...packed, refused: unpackRefused(packed.refused) } : packed,
  }),

  [Kind.lease]: packing({
    pack: (request: LeaseRequest) => [
      request.clientId,
      request.batchSize,
      request.deadline,
      {
        isShared: request.isShared,
        ticket: request.ticket,
        leaseTimeout: request.leaseTimeout,
        kinds: request.kinds?.names,
      },
    ],
    unpack: (...packed) => new LeaseRequest(...packed),
    packAnswer: ({ partition, ids, deadline, items, records, waitedUntil }: Leased) => ({
      partition,
      idPrefix: ids.prefix,
      deadline,
      waitedUntil,
      seqs: Float64Array.from(items, ({ seq }) => seq),
      attempts: Int32Array.from(items, ({ attempts }) => attempts),
      createdAts: Float64Array.from(items, ({ createdAt }) => createdAt),
      attributes: packAttributes(items),
      records: packRecords(records),
    }),
    unpackAnswer({ partition, idPrefix, deadline, waitedUntil, ...packed }) {
      const { seqs, attempts, createdAts, attributes } = packed;
      const records = unpackRecords(packed.records);
      const items = records.map((record, i) => {
        const item = new Item(record, 0);
        item.seq = seqs[i]!;
        item.attempts = attempts[i]!;
        item.createdAt = createdAts[i]!;
        if (attributes !== undefined) item.attributes = attributes[i]!;
        return item;
      });
      return { partition, ids: new IdSpace(idPrefix), deadline, items, records, waitedUntil };
    },
  }),

  [Kind.complete]: packing({
    pack: (request: CompleteRequest) => [
      request.partition,
      request.ids,
      request.deadline,
      { together: request.together, results: request.results },
      packFollowers(request.followers),
    ],
    unpack: (partition, ids, deadline, how, followers) =>
      new CompleteRequest(partition, ids, deadline, {
        ...how,
        followers: unpackFollowers(followers),
      }),
    packAnswer: packOutcomes,
    unpackAnswer: unpackOutcomes,
  }),

  [Kind.retry]: packing({
    pack: (request: RetryRequest) => [
      request.partition,
      request.items,
      request.deadline,
      { verb: request.verb, together: request.together },
    ],
    unpack: (...packed) => new RetryRequest(...packed),
    packAnswer: packOutcomes,
    unpackAnswer: unpackOutcomes,
  }),

  [Kind.extend]: packing({
    pack: (request: ExtendRequest) => [
      request.partition,
      request.items,
      request.deadline,
      request.together,
    ],
    unpack: (...packed) => new ExtendRequest(...packed),
    packAnswer: ({ deadlines, refused }: Extended) => ({
      deadlines: Float64Array.from(deadlines),
      refused: packRefused(refused),
    }),
    unpackAnswer: ({ deadlines, refused }) => ({
      deadlines: [...deadlines],
      refused: unpackRefused(refused),
    }),
  }),
};

/** New items as they travel. */
interface PackedNew {
  readonly records: PackedRecords;
  readonly dueAts: Float64Array;
  readonly attributes: readonly string[] | undefined;
}

function packNew(items: readonly Item[]): PackedNew {
  return {
    records: packRecords(items.map(({ record }) => record)),
    dueAts: Float64Array.from(items, ({ dueAt }) => dueAt),
    attributes: packAttributes(items),
  };
}

function unpackNew({ records, dueAts, attributes }: PackedNew): readonly Item[] {
  return unpackRecords(records).map((record, i) => {
    const item = new Item(record, dueAts[i]!);
    if (attributes !== undefined) item.attributes = attributes[i]!;
    return item;
  });
}

function packFollowers(followers: readonly Followers[] | undefined) {
  return followers?.map(({ items, ...each }) => ({ ...each, items: packNew(items) }));
}

function unpackFollowers(
  packed: ReturnType<typeof packFollowers>,
): readonly Followers[] | undefined {
  return packed?.map(({ items, ...each }) => ({ ...each, items: unpackNew(items) }));
}

// Hardly any item has some.
function packAttributes(items: readonly Item[]): readonly string[] | undefined {
  if (items.every(({ attributes }) => attributes === "")) return undefined;
  return items.map(({ attributes }) => attributes);
}

type PackedRefused = readonly { readonly index: number; readonly error: PackedError }[];

/** Outcomes as they travel; undefined if there is nothing to say. */
interface PackedOutcomes {
  readonly dead: readonly number[];
  readonly refused: PackedRefused;
  readonly produced: Outcomes["produced"];
}

function packOutcomes(outcomes: Outcomes): PackedOutcomes | undefined {
  if (outcomes === NO_OUTCOMES) return undefined;
  const { dead, refused, produced } = outcomes;
  return { dead, refused: packRefused(refused), produced };
}

function unpackOutcomes(packed: PackedOutcomes | undefined): Outcomes {
  if (packed === undefined) return NO_OUTCOMES;
  const { dead, refused, produced } = packed;
  return { dead, refused: unpackRefused(refused), ...(produced && { produced }) };
}

function packRefused(refused: readonly Refused[]): PackedRefused {
  return refused.map(({ index, error }) => ({ index, error: packError(error) }));
}

function unpackRefused(packed: PackedRefused): readonly Refused[] {
  return packed.map(({ index, error }) => ({ index, error: unpackError(error) }));
}

// Forgets the types of an entry once they have been checked against each other.
function packing<Request extends AnyHotRequest, Packed extends [unknown, ...unknown[]], Answer>(
  how: Packing<Request, Request["result"], Packed, Answer>,
): AnyPacking {
  return how as unknown as AnyPacking;
}

/** The values of a request, all of which can be cloned: a key that it has, and what its kind says. */
export function packRequest(request: AnyHotRequest): readonly unknown[] {
  return [request.repeat, ...PACKINGS[request.kind].pack(request)];
}

/** The same request, to be made of the queue that is here. */
export function unpackRequest(kind: Kind, [repeat, ...packed]: readonly unknown[]): AnyHotRequest {
  const request = PACKINGS[kind].unpack(...packed) as AnyHotRequest;
  request.repeat = repeat as Repeat | undefined;
  return request;
}

export function packAnswer(kind: Kind, answer: unknown): unknown {
  const { packAnswer: pack } = PACKINGS[kind];
  return pack === undefined ? answer : pack(answer);
}

export function unpackAnswer(kind: Kind, packed: unknown): unknown {
  const { unpackAnswer: unpack } = PACKINGS[kind];
  return unpack === undefined ? packed : unpack(packed);
}

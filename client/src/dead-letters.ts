// What lies in dead queues: the groups of what died alike, and redrives, with which the server moves it back. A
// redrive is the server's own; whoever began it may go away.

import { type CallOptions, type ChangeOptions, checkForm, once, type Repeats } from "./call.ts";
import type { Connection } from "./connection.ts";
import { type Duration, toText } from "./duration.ts";
import { decodeDate } from "./items.ts";
import { checkNames, namesOf } from "./names.ts";

export interface DeadGroupsOptions extends CallOptions {
  /** The largest groups, at most so many; 100 by default. */
  readonly limit?: number | undefined;
}

/** What lies in a dead queue, by how it died. */
export interface DeadGroups {
  /** Those with the most items first. */
  readonly groups: readonly DeadGroup[];
  /** Whether all that lies in the queue was looked at; the server looks at 100,000 items. */
  readonly isComplete: boolean;
  readonly lookedAt: number;
}

/** Items that died alike. */
export interface DeadGroup {
  /** By which a redrive finds them. */
  readonly fingerprint: string;
  readonly kind: string;
  readonly errorType: string;
  /** Of the one that died last. */
  readonly message: string;
  /** `attempts`, `expired` or `rejected`. */
  readonly reason: string;
  /** Where they come from. */
  readonly sourceQueue: string;
  readonly count: number;
  readonly firstAt: Date | undefined;
  readonly lastAt: Date | undefined;
  /** The id of one of them. */
  readonly sample: string;
}

/** Of what lies in a dead queue all is moved that all of these are true of. */
export interface RedriveOptions extends ChangeOptions {
  /** Where they go; each to where it came from by default. */
  readonly to?: string | undefined;
  readonly ids?: readonly string[] | undefined;
  /** Of one group of `deadGroups`. */
  readonly fingerprint?: string | undefined;
  readonly kind?: string | undefined;
  /** What died so long ago, or longer. */
  readonly olderThan?: Duration | undefined;
  /** What died so long ago, or less long. */
  readonly newerThan?: Duration | undefined;
  /** At most so many; any number by default. */
  readonly limit?: number | undefined;
  /** At most so many a second; as fast as it goes by default. */
  readonly rate?: number | undefined;
  /** Counts what would move, and moves nothing. */
  readonly dryRun?: boolean | undefined;
  /** Stops once so many of those that were moved have died again, from 0 to 1; never by default. */
  readonly stopAtFailureRatio?: number | undefined;
}

/** A redrive as it is at a moment. */
export interface Redrive {
  readonly id: string;
  /** The dead queue. */
  readonly queueName: string;
  readonly to: string;
  /** `stopped` is by `stopAtFailureRatio`. */
  readonly state: "running" | "done" | "stopped" | "cancelled";
  /** So far; with `dryRun` what would be. */
  readonly moved: number;
  readonly lookedAt: number;
  /** How many there are to be looked at. */
  readonly total: number;
  /** Passed over: there is nowhere to go for them. */
  readonly skipped: number;
  /** Moved, and dead again. */
  readonly failed: number;
  /** Of the ids that were asked for: those of which nothing lies in the queue. */
  readonly notFound: number;
  readonly startedAt: Date | undefined;
  readonly endedAt: Date | undefined;
}

interface WireGroup {
  readonly fingerprint?: string;
  readonly kind?: string;
  readonly error_type?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly source_queue?: string;
  readonly count?: number;
  readonly first_at?: string;
  readonly last_at?: string;
  readonly sample?: string;
}

interface WireGroups {
  readonly groups?: readonly WireGroup[];
  readonly complete?: boolean;
  readonly looked_at?: number;
}

interface WireRedrive {
  readonly id?: string;
  readonly queue_name?: string;
  readonly to?: string;
  readonly state?: Redrive["state"];
  readonly moved?: number;
  readonly looked_at?: number;
  readonly total?: number;
  readonly skipped?: number;
  readonly failed?: number;
  readonly not_found?: number;
  readonly started_at?: string;
  readonly ended_at?: string;
}

/** Groups what lies in a dead queue. */
export async function deadGroups(
  connection: Connection,
  queueName: string,
  { limit, ...options }: DeadGroupsOptions,
): Promise<DeadGroups> {
  const request = { queue_name: queueName, limit };
  const reply = await once<WireGroups>(connection, "queue.dead_groups", request, options, true);
  const { groups = [], complete = false, looked_at: lookedAt = 0 } = reply;
  checkForm(Array.isArray(groups) && Object.keys(reply).length > 0, reply);
  return { groups: groups.map(decodeGroup), isComplete: complete, lookedAt };
}

// What is not known would be one filter less.
const OF_A_REDRIVE = namesOf<RedriveOptions>({
  to: true,
  ids: true,
  fingerprint: true,
  kind: true,
  olderThan: true,
  newerThan: true,
  limit: true,
  rate: true,
  dryRun: true,
  stopAtFailureRatio: true,
  signal: true,
  timeout: true,
  idempotencyKey: true,
});

/** What `client.redrives` does. */
export class Redrives {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** For the client: begins one. */
  async start(queueName: string, options: RedriveOptions): Promise<Redrive> {
    checkNames(options, OF_A_REDRIVE, "a redrive");
    const { to, ids, fingerprint, kind, olderThan, newerThan, limit, rate } = options;
    const request = {
      queue_name: queueName,
      to,
      ids,
      fingerprint,
      kind,
      older_than: olderThan === undefined ? undefined : toText(olderThan, "olderThan"),
      newer_than: newerThan === undefined ? undefined : toText(newerThan, "newerThan"),
      limit,
      rate,
      dry_run: options.dryRun,
      stop_at_failure_ratio: options.stopAtFailureRatio,
    };
    return this.#ask("queue.redrive", request, options, "keyed");
  }

  /** Those that run, and the last that have ended; the newest first. */
  async list(queueName: string, options: CallOptions = {}): Promise<Redrive[]> {
    const request = { queue_name: queueName };
    const reply = await once<{ readonly redrives?: readonly WireRedrive[] }>(
      this.#connection,
      "redrives.list",
      request,
      options,
      true,
    );
    const { redrives = [] } = reply;
    checkForm(Array.isArray(redrives), reply);
    return redrives.map(decodeRedrive);
  }

  /** One of them as it is now. */
  info(queueName: string, id: string, options: CallOptions = {}): Promise<Redrive> {
    return this.#ask("redrives.info", { queue_name: queueName, id }, options, true);
  }

  /** Ends one of them; what it has moved stays where it is. */
  cancel(queueName: string, id: string, options: ChangeOptions = {}): Promise<Redrive> {
    return this.#ask("redrives.cancel", { queue_name: queueName, id }, options, true);
  }

  async #ask(
    path: string,
    request: object,
    { signal, timeout, idempotencyKey }: ChangeOptions,
    repeats: Repeats,
  ): Promise<Redrive> {
    const options = { signal, timeout, idempotencyKey };
    const wire = await once<WireRedrive>(this.#connection, path, request, options, repeats);
    checkForm(typeof wire.state === "string", wire);
    return decodeRedrive(wire);
  }
}

function decodeGroup(wire: WireGroup): DeadGroup {
  return {
    fingerprint: wire.fingerprint ?? "",
    kind: wire.kind ?? "",
    errorType: wire.error_type ?? "",
    message: wire.message ?? "",
    reason: wire.reason ?? "",
    sourceQueue: wire.source_queue ?? "",
    count: Number(wire.count ?? 0),
    firstAt: decodeDate(wire.first_at),
    lastAt: decodeDate(wire.last_at),
    sample: wire.sample ?? "",
  };
}

function decodeRedrive(wire: WireRedrive): Redrive {
  return {
    id: wire.id ?? "",
    queueName: wire.queue_name ?? "",
    to: wire.to ?? "",
    state: wire.state ?? "running",
    moved: Number(wire.moved ?? 0),
    lookedAt: Number(wire.looked_at ?? 0),
    total: Number(wire.total ?? 0),
    skipped: Number(wire.skipped ?? 0),
    failed: Number(wire.failed ?? 0),
    notFound: Number(wire.not_found ?? 0),
    startedAt: decodeDate(wire.started_at),
    endedAt: decodeDate(wire.ended_at),
  };
}

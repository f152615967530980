// What is counted of requests, for each endpoint: how long they took, by the status with which they ended. A request costs
// two additions; where it is counted is looked up only if it failed. By thread.

import type { ErrorCode } from "../errors.ts";
import { Octaves, type OctaveTotals } from "../octaves.ts";

/** The requests of one endpoint. */
export class RequestMeter {
  /** What it is counted as; the endpoints of /v1 and /v2 that do the same share a name. */
  readonly method: string;
  // Until the reply was given to the socket, in microseconds.
  readonly #ok = new Octaves();
  #failed: Map<number, Octaves> | undefined;

  constructor(method: string) {
    this.method = method;
  }

  /** A request was answered. */
  note(status: number, time: number): void {
    if (status === 200) this.#ok.note(time);
    else this.#noteFailed(status, time);
  }

  #noteFailed(status: number, time: number): void {
    this.#failed ??= new Map();
    let times = this.#failed.get(status);
    if (times === undefined) {
      times = new Octaves();
      this.#failed.set(status, times);
    }
    times.note(time);
  }

  /** How long they took, by status; as they are now. */
  figures(): readonly StatusFigures[] {
    const all = [[200, this.#ok] as const, ...(this.#failed ?? [])];
    return all.flatMap(([status, times]) => (times.count === 0 ? [] : [[status, times.totals()]]));
  }
}

/** The requests of a method, as they travel between threads. */
export interface MethodFigures {
  readonly method: string;
  readonly statuses: readonly StatusFigures[];
}

/** How long requests took that ended with a status. */
export type StatusFigures = readonly [status: number, times: OctaveTotals];

/** What a thread has counted. */
export interface HttpFigures {
  readonly connections: number;
  readonly methods: readonly MethodFigures[];
  /** Errors that were answered, by their code. */
  readonly errors: ReadonlyMap<string, number>;
}

/** All that is counted on a thread. */
export class HttpMeters {
  readonly #meters = new Set<RequestMeter>();
  readonly #errors = new Map<string, number>();
  /** Requests that reach no endpoint, and pages. */
  readonly other = new RequestMeter("other");
  readonly pages = new RequestMeter("page");
  /** Connections that are open. */
  connections = 0;
  /** Tells how many requests are not answered yet: of each server of the thread. */
  readonly answering: (() => number)[] = [];

  constructor() {
    this.add(this.other);
    this.add(this.pages);
  }

  add(meter: RequestMeter): void {
    this.#meters.add(meter);
  }

  noteError(code: ErrorCode): void {
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1);
  }

  /** As they are now. Methods that nobody has called are left out. */
  figures(): HttpFigures {
    const methods = Array.from(this.#meters, (meter) => ({
      method: meter.method,
      statuses: meter.figures(),
    }));
    const used = methods.filter(({ statuses }) => statuses.length > 0);
    return { connections: this.connections, methods: used, errors: this.#errors };
  }
}

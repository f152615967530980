// What is counted of requests, for each endpoint: how long they took, and with which status they ended. A request costs
// two additions; what it needs to be found by is looked up only where it failed. By thread.

import type { ErrorCode } from "../errors.ts";
import { Octaves, type OctaveTotals } from "../octaves.ts";

/** The requests of one endpoint. */
export class RequestMeter {
  /** What it is counted as; the endpoints of /v1 and /v2 that do the same share a name. */
  readonly method: string;
  /** Until the reply was given to the socket, in microseconds. */
  readonly times = new Octaves();
  #ok = 0;
  #failed: Map<number, number> | undefined;

  constructor(method: string) {
    this.method = method;
  }

  /** A request was answered. */
  note(status: number, time: number): void {
    this.times.note(time);
    if (status === 200) this.#ok++;
    else this.#noteFailed(status);
  }

  #noteFailed(status: number): void {
    this.#failed ??= new Map();
    this.#failed.set(status, (this.#failed.get(status) ?? 0) + 1);
  }

  /** How many there were, by status. */
  get statuses(): readonly (readonly [status: number, count: number])[] {
    return [...(this.#ok === 0 ? [] : [[200, this.#ok] as const]), ...(this.#failed ?? [])];
  }
}

/** The requests of a method, as they travel between threads. */
export interface MethodFigures {
  readonly method: string;
  readonly times: OctaveTotals;
  readonly statuses: readonly (readonly [status: number, count: number])[];
}

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
    const methods = Array.from(this.#meters, ({ method, times, statuses }) => ({
      method,
      times: times.totals(),
      statuses,
    }));
    const used = methods.filter(({ statuses }) => statuses.length > 0);
    return { connections: this.connections, methods: used, errors: this.#errors };
  }
}

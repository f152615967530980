// The leases that wait at a queue, by client id and in the order of their arrival. See LeasedItems for why
// a Map must not hold them itself: its old tables would keep alive what each was answered with.

import type { LeaseRequest } from "./requests.ts";

interface Place {
  request: LeaseRequest | undefined;
}

export class WaitingLeases {
  readonly #places = new Map<string, Place>();

  get size(): number {
    return this.#places.size;
  }

  has(clientId: string): boolean {
    return this.#places.has(clientId);
  }

  add(request: LeaseRequest): void {
    this.#places.set(request.clientId, { request });
  }

  delete({ clientId }: LeaseRequest): void {
    const place = this.#places.get(clientId);
    if (place === undefined) return;
    place.request = undefined;
    this.#places.delete(clientId);
  }

  *values(): Generator<LeaseRequest, void, undefined> {
    for (const { request } of this.#places.values()) yield request!;
  }
}

// A Map for what comes and goes all the time. Whenever a Map makes itself a new table the old one refers to
// it, so an old one that a full collection of garbage has moved to the old generation keeps alive all those
// after it, with what was in them, until the next. Here they hold places, and a place forgets its value.

interface Place<V> {
  value: V | undefined;
}

export class ForgetfulMap<K, V> {
  readonly #places = new Map<K, Place<V>>();

  get size(): number {
    return this.#places.size;
  }

  has(key: K): boolean {
    return this.#places.has(key);
  }

  get(key: K): V | undefined {
    return this.#places.get(key)?.value;
  }

  /** Puts a value in, under a key that is not in yet. */
  add(key: K, value: V): void {
    this.#places.set(key, { value });
  }

  /** Takes a value out, and answers it. */
  delete(key: K): V | undefined {
    const place = this.#places.get(key);
    if (place === undefined) return undefined;
    const { value } = place;
    place.value = undefined;
    this.#places.delete(key);
    return value;
  }

  /** The values, in the order in which they came. */
  *values(): Generator<V, void, undefined> {
    for (const { value } of this.#places.values()) yield value!;
  }
}

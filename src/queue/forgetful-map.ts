// A Map whose entries come and go all the time, without the leak that a plain Map has then. When a Map outgrows
// its table, the old table goes on referring to the new one. Once an old table has been promoted to V8's old
// generation, it keeps all later tables alive, and everything that was in them, until the next full
// garbage collection. Here the tables hold only small places, and a place drops its value when it is deleted.

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

  /** Adds a value under a key that is not in the map yet. */
  add(key: K, value: V): void {
    this.#places.set(key, { value });
  }

  /** Removes a value, and answers it. */
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

// Property-based tests that are synchronous.

import * as fc from "fast-check";

/** Tries the property on random values; throws with the smallest that it does not hold for. */
export function holds<T>(property: fc.IProperty<T>, parameters: fc.Parameters<T> = {}): void {
  // biome-ignore lint/nursery/noFloatingPromises: of a synchronous property there is no promise
  fc.assert(property, parameters);
}

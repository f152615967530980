// Events with typed listeners, for every platform.

export class Events<Map extends object> {
  readonly #listeners: { [K in keyof Map]?: Set<(event: Map[K]) => void> } = {};

  /** Calls a listener for each event of a name; answers what ends that. */
  on<K extends keyof Map>(name: K, listener: (event: Map[K]) => void): () => void {
    const listeners = this.#listeners[name] ?? new Set();
    this.#listeners[name] = listeners;
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** Resolves with the next event of a name. */
  once<K extends keyof Map>(name: K): Promise<Map[K]> {
    return new Promise((resolve) => {
      const off = this.on(name, (event) => {
        off();
        resolve(event);
      });
    });
  }

  /** Whether anybody listens. A listener that throws is reported as an uncaught error of its own. */
  emit<K extends keyof Map>(name: K, event: Map[K]): boolean {
    const listeners = this.#listeners[name];
    if (listeners === undefined || listeners.size === 0) return false;
    for (const listener of [...listeners]) {
      try {
        listener(event);
      } catch (error) {
        reportError(error);
      }
    }
    return true;
  }
}

// As an event target does: the program hears of it, and what emitted the event goes on.
function reportError(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

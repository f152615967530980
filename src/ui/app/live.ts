// What is asked again and again: while the page can be seen, and at once when it can be seen again or the
// server is back. The last answer stays while the next one is on its way.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { call, returns } from "./api.ts";
import { NAMESPACE, route } from "./router.ts";
import { later } from "./time.ts";

/** How often it is asked again: as pages wish, seldom, or not at all. */
export type Pace = "live" | "slow" | "off";

const PACE = "querator.pace";
const SLOWER = 10;

export const pace = signal<Pace>((localStorage.getItem(PACE) as Pace | null) ?? "live");

export function setPace(next: Pace): void {
  localStorage.setItem(PACE, next);
  pace.value = next;
}

export interface Live<T> {
  /** The last answer. */
  readonly data: T | undefined;
  /** Why the last call failed, until one succeeds. */
  readonly error: Error | undefined;
  /** Asks at once. */
  readonly refresh: () => void;
}

/** Asks with `ask` now, whenever one of `on` changes, and every `wishedMs` (0: not again) at the pace that was chosen. */
export function useLive<T>(
  ask: (signal: AbortSignal) => Promise<T>,
  on: readonly unknown[],
  wishedMs = 0,
): Live<T> {
  const everyMs = pace.value === "off" ? 0 : wishedMs * (pace.value === "slow" ? SLOWER : 1);
  const [state, setState] = useState<{ data?: T | undefined; error?: Error | undefined }>({});
  const refresh = useRef<() => void>(() => {});
  const latest = useRef(ask);
  latest.current = ask;
  const back = returns.value;

  useEffect(() => {
    let stop = (): void => {};
    let asking: AbortController | undefined;
    const run = (): void => {
      stop();
      asking?.abort();
      const abort = new AbortController();
      asking = abort;
      latest.current(abort.signal).then(
        (data) => {
          if (abort.signal.aborted) return;
          setState({ data });
          again();
        },
        (error: Error) => {
          if (abort.signal.aborted) return;
          setState(({ data }) => ({ data, error }));
          again();
        },
      );
    };
    const again = (): void => {
      if (everyMs > 0 && !document.hidden) stop = later(everyMs, run);
    };
    const seen = (): void => {
      if (document.hidden) stop();
      else if (everyMs > 0) run();
    };
    refresh.current = run;
    document.addEventListener("visibilitychange", seen);
    run();
    return () => {
      stop();
      asking?.abort();
      document.removeEventListener("visibilitychange", seen);
    };
  }, [...on, everyMs, back]);

  return { data: state.data, error: state.error, refresh: () => refresh.current() };
}

/** `useLive` of one method. */
export function useCall<T>(method: string, body: object, everyMs = 0): Live<T> {
  return useLive<T>(
    (signal) => call<T>(method, body, { signal }),
    [method, JSON.stringify(body), route.value.query[NAMESPACE]],
    everyMs,
  );
}

// What the server tells as it happens. A page that shows sums asks again when something has happened; one that
// shows single happenings is told each. Nothing is listened to while nobody looks, and a busy queue costs
// no more than one question a second.

import { useEffect, useRef } from "preact/hooks";
import { address, headers, returns } from "./api.ts";
import { later } from "./time.ts";

/** An event, as `GET /v2/events` tells it. */
export interface Happening {
  readonly type: string;
  readonly time: string;
  readonly queue_name?: string;
  readonly id?: string;
  readonly [more: string]: unknown;
}

export interface Wish {
  readonly queue?: string;
  readonly types?: readonly string[];
  readonly item?: string;
}

const NUDGE_MS = 1_000;
const AGAIN_MS = 5_000;

/** Tells every event of this kind, from now on. */
export function useEvents(wish: Wish, onEvent: (event: Happening) => void): void {
  useStream(wish, onEvent, 0);
}

/** Says that something has happened, at most once a second: for asking again what has become of it. */
export function useNudge(wish: Wish, onNudge: () => void): void {
  useStream(wish, onNudge, NUDGE_MS);
}

// With a pause, the stream is left at the first event, and opened again after the pause.
function useStream(wish: Wish, onEvent: (event: Happening) => void, pauseMs: number): void {
  const latest = useRef(onEvent);
  latest.current = onEvent;
  const query = new URLSearchParams();
  if (wish.queue !== undefined) query.set("queues", wish.queue);
  if (wish.types !== undefined) query.set("types", wish.types.join());
  if (wish.item !== undefined) query.set("item", wish.item);
  const asked = String(query);

  useEffect(() => {
    let abort: AbortController | undefined;
    let stop = (): void => {};
    const open = (): void => {
      stop();
      abort?.abort();
      if (document.hidden) return;
      const mine = new AbortController();
      abort = mine;
      void listen(asked, mine, (event) => {
        if (pauseMs > 0) mine.abort();
        latest.current(event);
      }).then((isAllowed) => {
        if (abort !== mine || !isAllowed) return;
        stop = later(pauseMs || AGAIN_MS, open);
      });
    };
    document.addEventListener("visibilitychange", open);
    open();
    return () => {
      stop();
      abort?.abort();
      abort = undefined;
      document.removeEventListener("visibilitychange", open);
    };
  }, [asked, pauseMs, returns.value]);
}

/** Until the stream ends, or is left; false if it may not be listened to. */
async function listen(
  query: string,
  { signal }: AbortController,
  onEvent: (event: Happening) => void,
): Promise<boolean> {
  try {
    const reply = await fetch(address(`v2/events?${query}`), { headers: headers(), signal });
    if (reply.status === 401 || reply.status === 403) return false;
    if (!reply.ok || reply.body === null) return true;
    let rest = "";
    for await (const text of reply.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (signal.aborted) return true;
        if (line.startsWith("data: ")) onEvent(JSON.parse(line.slice(6)) as Happening);
      }
    }
  } catch {
    // Left by us, or cut: the calls notice that the server is away.
  }
  return true;
}

// The signals that end a command. One Ctrl-C may come several times: the terminal sends it to the
// whole group of processes, and npm, npx and bin/querator.js pass on to their child what they got.
// Taken for a second one, the copy would end the command before it has put things in order.

import { type Clock, MILLISECOND } from "../clock.ts";

/** What comes within this time after the first signal is a copy of it. */
const COPY = 500 * MILLISECOND;

export type EndSignal = "SIGINT" | "SIGTERM";

/** Calls `first` at the first signal, and `again` if somebody asks once more. Answers how to stop that. */
export function onEndSignal(
  clock: Clock,
  { first, again }: { first: (name: EndSignal) => void; again: (name: EndSignal) => void },
): () => void {
  let since: number | undefined;
  const listener = (name: EndSignal): void => {
    const now = clock.steady();
    if (since === undefined) {
      since = now;
      first(name);
    } else if (now - since >= COPY) {
      again(name);
    }
  };
  process.on("SIGINT", listener);
  process.on("SIGTERM", listener);
  return () => {
    process.off("SIGINT", listener);
    process.off("SIGTERM", listener);
  };
}

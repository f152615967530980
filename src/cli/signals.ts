// What ends a command: signals, and the end of the npm that started it. One Ctrl-C may come several times:
// the terminal sends it to the whole group of processes, and npm, npx and bin/querator.js pass on to their
// child what they got. Taken for a second one, the copy would end the command before it has put things in
// order.

import { type Clock, MILLISECOND } from "../clock.ts";
import { isHangUpIgnored, onStarterEnd } from "./starter.ts";

/** What comes within this time after the first signal is a copy of it. */
const COPY = 500 * MILLISECOND;

/** With the exit code of what is ended by it. */
export const END_SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
export type EndSignal = keyof typeof END_SIGNALS;

export interface EndListeners {
  /** At the first signal, with what there is to tell of it. */
  readonly first: (name: EndSignal, reason: string) => void;
  /** What a hang-up is for, if it is not for ending the command; answers whether it is. */
  readonly hangUp?: () => boolean;
  /** If somebody asks once more. */
  readonly again: (name: EndSignal) => void;
}

/** Tells when the command is to end. Answers how to stop that. */
export function onEndSignal(clock: Clock, { first, again, hangUp }: EndListeners): () => void {
  let since: number | undefined;
  const end = (name: EndSignal, reason: string): void => {
    since = clock.steady();
    forgetStarter();
    first(name, reason);
  };
  const listener = (name: EndSignal): void => {
    if (name === "SIGHUP" && hangUp?.() === true) return;
    if (since === undefined) end(name, name);
    else if (clock.steady() - since >= COPY) again(name);
  };
  const ignore = (): void => void hangUp?.();
  const names = Object.keys(END_SIGNALS) as EndSignal[];
  const listeners = names.map((name) => {
    const isIgnored = name === "SIGHUP" && isHangUpIgnored(process.env);
    return [name, isIgnored ? ignore : listener] as const;
  });
  for (const [name, each] of listeners) process.on(name, each);
  const forgetStarter = onStarterEnd((reason) => end("SIGTERM", reason));
  return () => {
    forgetStarter();
    for (const [name, each] of listeners) process.off(name, each);
  };
}

/** Calls `dump` at SIGUSR2, which ends nothing; one that comes while the last is under way is passed over. */
export function onDumpSignal(dump: () => Promise<void> | undefined): void {
  let isUnderWay = false;
  process.on("SIGUSR2", async () => {
    if (isUnderWay) return;
    isUnderWay = true;
    // A server that is about to end tells what it can.
    await dump()?.catch(() => undefined);
    isUnderWay = false;
  });
}

// The signals that end a process, for programs that want to close in peace first. There is one listener for
// each signal, however many workers want it: Node warns of more than ten. A second signal ends the process.

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

const waiting = new Set<() => void>();

/** Calls `close` once when the process is to end; answers what takes that back. Does nothing where there is no process. */
export function onEndSignal(close: () => void): () => void {
  const { process } = globalThis as { process?: NodeJS.Process };
  if (process === undefined) return () => undefined;
  if (waiting.size === 0) for (const signal of SIGNALS) process.on(signal, closeAll);
  // Another for each caller, who may give the same function twice.
  const own = (): void => close();
  waiting.add(own);
  return () => {
    if (waiting.delete(own) && waiting.size === 0) stopListening(process);
  };
}

function closeAll(): void {
  const all = [...waiting];
  waiting.clear();
  stopListening(process);
  for (const close of all) close();
}

function stopListening(process: NodeJS.Process): void {
  for (const signal of SIGNALS) process.off(signal, closeAll);
}

// Single keys on the terminal, while something is drawn there. A terminal that is read key by key no longer
// turns Ctrl-C into a signal, so that is done here; and it is given back as it was, however that ends.

/** What keys do beside those that are signals. */
export interface KeyListeners {
  readonly quit: () => void;
  /** Before the process is stopped by Ctrl-Z, and when it goes on. */
  readonly suspend: () => void;
  readonly resume: () => void;
}

const QUIT = ["q", "Q", "\u001b", "\u0004"]; // also Esc and Ctrl-D
const SIGNALS: Readonly<Record<string, NodeJS.Signals>> = {
  "\u0003": "SIGINT",
  "\u001c": "SIGQUIT",
};
const SUSPEND = "\u001a";

/** Listens to keys, if there are any: stdin may be no terminal. Answers how to stop that. */
export function onKeys({ quit, suspend, resume }: KeyListeners, stdin = process.stdin): () => void {
  if (!stdin.isTTY) return () => undefined;
  const giveBack = (): void => {
    stdin.setRawMode(false);
  };
  // What comes at once is one key or, of arrows and the like, one sequence; or it was pasted.
  const listener = (data: Buffer): void => {
    const key = data.toString("latin1");
    const signal = SIGNALS[key];
    if (QUIT.includes(key)) {
      quit();
    } else if (signal !== undefined) {
      if (signal === "SIGQUIT") giveBack(); // nobody listens to it
      process.kill(process.pid, signal);
    } else if (key === SUSPEND) {
      pause();
    }
  };
  const pause = (): void => {
    suspend();
    giveBack();
    process.once("SIGCONT", () => {
      stdin.setRawMode(true);
      resume();
    });
    process.kill(process.pid, "SIGSTOP");
  };
  process.once("exit", giveBack);
  stdin.setRawMode(true);
  stdin.on("data", listener);
  return () => {
    stdin.off("data", listener);
    stdin.pause();
    process.off("exit", giveBack);
    giveBack();
  };
}

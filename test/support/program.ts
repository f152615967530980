// How every proof program behaves, so that they can be run one after the other: it tells how it goes
// on stderr, prints one line on stdout at its end, which begins with its name and whether all was
// well, and ends with 0 or 1. If it is interrupted it gives back what it has started and made.

/** What a proof program comes to. */
export interface ProofResult {
  /** What is wrong; empty if all is well. */
  readonly failures: readonly string[];
  /** What was done and seen, for the last line. */
  readonly figures: string;
}

/** Tells how it goes. */
export function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Prints the one line of a program, and sets its exit code. */
export function conclude(name: string, isOk: boolean, figures: string): void {
  process.stdout.write(`${name}: ${isOk ? "ok" : "FAILED"}, ${figures}\n`);
  process.exitCode = isOk ? 0 : 1;
}

/** Lets an interrupted program end as any other, so that whatever was started or mounted goes. */
export function endOnSignals(): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));
}

/** Runs a check from beginning to end; what it throws is a failure as well. */
export async function runProgram(name: string, check: () => Promise<ProofResult>): Promise<void> {
  endOnSignals();
  const { failures, figures } = await check().catch((error: Error) => {
    return { failures: [error.stack ?? error.message], figures: "broke off" };
  });
  for (const failure of failures) progress(failure);
  const isOk = failures.length === 0;
  conclude(name, isOk, isOk ? figures : `${failures.length} failures, ${figures}`);
}

// What a process still holds once its garbage is gone, and how two such looks compare: what is there
// after some work and was not before, beyond what chance explains, has been left behind. How to look
// is observer.ts; it runs inside the process.

/** Bytes, and numbers of handles. */
export interface Holdings {
  readonly heap: number;
  readonly external: number;
  readonly rss: number;
  readonly timers: number;
  /** Accepted connections. */
  readonly sockets: number;
}

/** What may be more than before by chance. */
export interface Slack {
  /** Bytes of memory, without the pages that the process may keep for later. */
  readonly bytes: number;
  readonly timers: number;
  readonly sockets: number;
}

/** The memory that is in use, in bytes. */
export const usedBytes = ({ heap, external }: Holdings): number => heap + external;

/** Everything that is left behind, in words. */
export function leftBehind(before: Holdings, after: Holdings, slack: Slack): readonly string[] {
  const left: string[] = [];
  const bytes = usedBytes(after) - usedBytes(before);
  if (bytes > slack.bytes) left.push(`${megabytes(bytes)} of memory`);
  if (after.timers > before.timers + slack.timers) left.push(`${after.timers} timers`);
  if (after.sockets > before.sockets + slack.sockets) left.push(`${after.sockets} connections`);
  return left;
}

/** Megabytes for people. */
export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1_000_000)} MB`;
}

// Who may write. The owner of a schema has an epoch, which every transaction that changes anything
// checks, and a heartbeat, which others watch by the clock of the database. The one that takes over first
// waits for the transactions that are under way, so none of the old owner's lands later. Ownership
// that was lost never comes back: the server that had it forgets all it knows, and begins anew.

import type { Connection } from "./connection.ts";
import { LOCK_TIMEOUT, NO_ANSWER, NOT_OWNER, PostgresError } from "./errors.ts";

const RENEW_MS = 1_000;
// What takes longer is taken for an outage.
const SILENCE_MS = 4_000;
/** An owner that was silent for so long may be replaced. */
export const LEASE_MS = 5_000;

export interface Ownership {
  readonly epoch: number;
  /** Grows with every call of `settle`, within the epoch. */
  readonly term: number;
  /**
   * Waits until every commit under way has ended, ends those of which nothing is heard any more,
   * and makes sure that none which is still on its way will ever happen.
   */
  settle(): Promise<void>;
  /** Gives it up, so that the next one need not wait. */
  release(): Promise<void>;
}

export interface TakeOptions {
  /** What others show of this server. */
  readonly holder: string;
  /** Called once, if another server has taken over. */
  readonly onLost: (reason: PostgresError) => void;
  /** Called when the database does not answer any more, or fails; also where nobody asks it anything. */
  readonly onAway: (reason: Error) => void;
  /** Called when it answers again. */
  readonly onBack: () => void;
}

/** Takes the schema; rejects with the code NOT_OWNER while another server has it. */
export async function takeOwnership(
  connection: Connection,
  { holder, onLost, onAway, onBack }: TakeOptions,
): Promise<Ownership> {
  const epoch = await take(connection, holder);
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  let term = 0;
  let isAway = false;
  const note = (reason?: Error): void => {
    if (isOver || isAway === (reason !== undefined)) return;
    isAway = reason !== undefined;
    if (reason === undefined) onBack();
    else onAway(reason);
  };
  const renew = async (): Promise<void> => {
    const silence = setTimeout(() => {
      note(new PostgresError(NO_ANSWER, `PostgreSQL has not answered for ${SILENCE_MS} ms`));
    }, SILENCE_MS);
    silence.unref();
    try {
      const [rows] = await connection.run([
        {
          text: `UPDATE heartbeat SET renewed_at = clock_timestamp() WHERE id = 1 AND epoch = $1
            RETURNING epoch`,
          values: [epoch],
        },
      ]);
      if (rows!.length === 0 && !isOver) {
        isOver = true;
        onLost(new PostgresError(NOT_OWNER, "another server owns the data now"));
      }
      note();
    } catch (error) {
      // It is tried again, and until that succeeds nothing can be written.
      note(error as Error);
    } finally {
      clearTimeout(silence);
    }
    if (!isOver) schedule();
  };
  const schedule = (): void => {
    timer = setTimeout(() => void renew(), RENEW_MS);
    timer.unref();
  };
  schedule();
  return {
    epoch,
    get term() {
      return term;
    },
    // A term is never tried twice: the one before may arrive late, and changes nothing then.
    settle: () => settle(connection, epoch, ++term),
    async release() {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      await connection.run([
        {
          text: "UPDATE heartbeat SET renewed_at = '-infinity' WHERE id = 1 AND epoch = $1",
          values: [epoch],
        },
      ]);
    },
  };
}

async function take(connection: Connection, holder: string): Promise<number> {
  const attempt = async (): Promise<number> => {
    const [rows] = await connection.run([
      { text: "SELECT take_over($1, $2::interval)", values: [holder, `${LEASE_MS} ms`] },
    ]);
    const epoch = rows![0]![0];
    if (epoch != null) return Number(epoch);
    const [rest] = await connection.run([
      {
        text: `SELECT holder, epoch, renewed_at, renewed_at > clock_timestamp()
          FROM heartbeat WHERE id = 1`,
      },
    ]);
    const [who, of, renewedAt, isAhead] = rest![0]!;
    const late =
      isAhead === "t" ? await takeFromSilent(connection, holder, [of!, renewedAt!]) : null;
    if (late != null) return Number(late);
    throw new PostgresError(NOT_OWNER, `another server (${who}) owns the data`);
  };
  try {
    return await attempt();
  } catch (error) {
    if (!(error instanceof PostgresError) || error.code !== LOCK_TIMEOUT) throw error;
    await endHolders(connection);
    return await attempt();
  }
}

// A heartbeat of the future says that the clock of the database was set back since. An owner that is
// there renews it soon; one that is not is watched for as long, by our own time, and then replaced.
async function takeFromSilent(
  connection: Connection,
  holder: string,
  seen: readonly [epoch: string, renewedAt: string],
): Promise<string | null | undefined> {
  await new Promise((resolve) => {
    setTimeout(resolve, LEASE_MS);
  });
  const [rows] = await connection.run([
    {
      text: `WITH silent AS (
          SELECT renewed_at FROM heartbeat
          WHERE id = 1 AND epoch = $2 AND renewed_at = $3::timestamptz FOR UPDATE
        ) SELECT take_over($1, clock_timestamp() - renewed_at - interval '1 s') FROM silent`,
      values: [holder, ...seen],
    },
  ]);
  return rows![0]?.[0];
}

async function settle(connection: Connection, epoch: number, term: number): Promise<void> {
  const attempt = (): Promise<unknown> =>
    connection.run([{ text: "SELECT settle($1, $2)", values: [epoch, term] }]);
  try {
    await attempt();
  } catch (error) {
    if (!(error instanceof PostgresError) || error.code !== LOCK_TIMEOUT) throw error;
    await endHolders(connection);
    await attempt();
  }
}

// Ends the sessions that hold the lock of a commit: their program hangs in the midst of sending one.
async function endHolders(connection: Connection): Promise<void> {
  await connection.run([
    {
      text: `SELECT pg_terminate_backend(l.pid) FROM pg_locks l
        JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
        WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted AND l.objid = 1
          AND l.classid = 'owner'::regclass::oid AND l.pid <> pg_backend_pid()`,
    },
  ]);
}

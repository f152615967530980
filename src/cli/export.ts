// Writes all items of a queue as NDJSON, as the API has them: nothing is rounded, nothing is left
// out that the API tells. What it does not tell is said on stderr.

import { usage } from "./failure.ts";
import { jsonText } from "./output.ts";
import { Progress } from "./progress.ts";
import type { Session } from "./session.ts";
import { itemsOf } from "./stored.ts";
import { count, plural, scheduledNote } from "./text.ts";

export async function exportItems(
  session: Session,
  queue: string,
  options: { readonly partition?: number },
): Promise<void> {
  const { client, out, signal, clock } = session;
  if (out.format === "json") throw usage("items export writes NDJSON only");
  const before = await client.stats(queue, { signal });
  const isAll = options.partition === undefined;
  const progress = new Progress(clock, `items of '${queue}'`);
  let written = 0;
  let scheduled = 0;
  let isTimeTold = true;
  try {
    // Scheduled ones first: one that becomes due meanwhile is then there twice, which is told, and
    // not lost.
    for (const state of ["scheduled", undefined] as const) {
      for await (const item of itemsOf(session, queue, { ...options, state })) {
        isTimeTold &&= state === undefined || item.enqueue_at !== undefined;
        if (!isTimeTold && state !== undefined) break;
        await out.write(jsonText(item, "ndjson"));
        progress.update(++written, isAll ? before.total + before.scheduled : undefined);
        if (state !== undefined) scheduled++;
      }
    }
  } catch (error) {
    progress.end();
    out.message(`${plural(written, "item")} had been exported before this failed`);
    throw error;
  } finally {
    progress.end();
  }
  const after = await client.stats(queue, { signal });
  out.message(
    `Successfully exported ${plural(written, "item")} of queue '${queue}'${scheduledNote(scheduled)}`,
  );
  const [atFirst, atLast] = [before, after].map((stats) =>
    isTimeTold ? stats.total + stats.scheduled : stats.total,
  ) as [number, number];
  if (isAll && (written !== atFirst || written !== atLast)) {
    out.message(
      `Warning: the queue held ${plural(atFirst, "item")} at first and ` +
        `${count(atLast)} at last; it was in use, so items may be missing or twice`,
    );
  }
  if (!isTimeTold && after.scheduled > 0) {
    out.message(
      `Warning: ${plural(after.scheduled, "scheduled item")} of the queue ` +
        `${after.scheduled === 1 ? "is" : "are"} not among them, ` +
        "for this server does not tell when they are due",
    );
  }
}

// Writes all items of a queue as NDJSON, as the API has them: nothing is rounded, nothing is left
// out that the API tells. What it does not tell is said on stderr.

import { usage } from "./failure.ts";
import { jsonText } from "./output.ts";
import { Progress } from "./progress.ts";
import type { Session } from "./session.ts";
import { itemsOf, partitionsOf } from "./stored.ts";
import { plural } from "./text.ts";

export async function exportItems(
  session: Session,
  queue: string,
  options: { readonly partition?: number },
): Promise<void> {
  const { client, out, signal, clock } = session;
  if (out.format === "json") throw usage("items export writes NDJSON only");
  const before = await client.stats(queue, { signal });
  const partitions = await partitionsOf(session, queue, options.partition);
  const progress = new Progress(clock, `items of '${queue}'`);
  let written = 0;
  try {
    for await (const item of itemsOf(session, queue, { table: "items", partitions })) {
      await out.write(jsonText(item, "ndjson"));
      progress.update(++written, options.partition === undefined ? before.total : undefined);
    }
  } finally {
    progress.end();
  }
  const after = await client.stats(queue, { signal });
  out.message(`Successfully exported ${plural(written, "item")} of queue '${queue}'`);
  if (options.partition === undefined && (written !== before.total || written !== after.total)) {
    out.message(
      `Warning: the queue held ${plural(before.total, "item")} at first and ` +
        `${after.total} at last; it was in use, so items may be missing or twice`,
    );
  }
  if (after.scheduled > 0) {
    out.message(
      `Warning: ${plural(after.scheduled, "scheduled item")} of the queue are not among them, ` +
        "for the server does not tell when they are due",
    );
  }
}

// A produce of which all is done or nothing, in a request of its own. It is sent again, under its key, until its
// time has passed.

import { checkForm, parseReply } from "./call.ts";
import type { Connection } from "./connection.ts";
import { type Duration, toMs } from "./duration.ts";
import type { QueratorError } from "./errors.ts";
import type { ProducedItem } from "./items.ts";
import { checkCount, named, startOf } from "./lease-ends.ts";

/** Answers what became of each, in order; rejects with the error of the first that was refused, and all `failures`. */
export async function produceWhole(
  connection: Connection,
  queueName: string,
  items: readonly string[],
  how: {
    readonly requestTimeout: Duration;
    readonly until: number;
    readonly signal: AbortSignal | undefined;
    readonly onRepeat: ((failure: QueratorError) => void) | undefined;
    /** Under which it travels; by default one of its own. */
    readonly key: string | undefined;
  },
): Promise<readonly ProducedItem[]> {
  checkCount(items.length, "with allOrNone");
  const { requestTimeout, ...rest } = how;
  try {
    const body = await connection.call({
      path: "queue.produce",
      body: `${startOf(queueName, requestTimeout)},"all_or_none":true,"items":[${items.join()}]}`,
      timeoutMs: toMs(requestTimeout, "requestTimeout"),
      isRepeatable: true,
      isKeyed: true,
      ...rest,
    });
    const reply = parseReply<{ readonly results?: readonly ProducedItem[] }>(body);
    checkForm(Array.isArray(reply.results), reply);
    return reply.results!;
  } catch (error) {
    throw named(error, []);
  }
}

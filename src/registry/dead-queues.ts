// Which queue may be the dead queue of which. A dead queue must be there and have none itself, so that what is
// dead stays where it is. Pure: it is asked of the queues that there are, and of those that a list would make.

import { invalidField } from "../errors.ts";
import { checkDeadQueueName } from "./names.ts";

/** All queues, as far as this goes. */
export interface DeadQueues {
  /** The dead queue of a queue, "" if it has none; undefined if there is no such queue. */
  of(name: string): string | undefined;
  /** A queue that has this one as its dead queue; of some of the queues only, if it is said of which. */
  userOf(name: string, isMeant?: (user: string) => boolean): string | undefined;
}

/** Refuses a dead queue, if one is named, that the queue cannot have. */
export function checkDeadQueue(
  { name, deadQueue = "" }: { readonly name: string; readonly deadQueue?: string },
  queues: DeadQueues,
): void {
  if (deadQueue === "") return;
  checkDeadQueueName(deadQueue);
  if (deadQueue === name) throw refused("dead_queue cannot reference itself");
  const next = queues.of(deadQueue);
  if (next === undefined) {
    throw refused(`dead_queue does not exist; '${deadQueue}' was not found, create it first`);
  }
  if (next !== "") {
    throw refused(
      `dead_queue is invalid; '${deadQueue}' already has its own dead_queue configured`,
    );
  }
  const user = queues.userOf(name);
  if (user !== undefined) {
    throw refused(`dead_queue is invalid; '${name}' is itself the dead_queue of '${user}'`);
  }
}

function refused(text: string): Error {
  return invalidField("dead_queue", text);
}

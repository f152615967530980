// Makes an input that shows a fault smaller: cuts pieces out of its body, ever smaller ones, as
// long as the fault stays. A fault that does not come back by itself, because it needs the state that
// was there, is left as it is.

import { type Input, withBody } from "./input.ts";
import { isFault, judge } from "./judge.ts";
import type { Sender } from "./sender.ts";

const SENDS_MAX = 150;

/** The smallest input found with a fault of this kind, perhaps the one given. */
export async function shrink(sender: Sender, input: Input, kind: string): Promise<Input> {
  if (input.raw !== undefined) return input;
  let sends = 0;
  const shows = async (candidate: Input): Promise<boolean> => {
    sends++;
    const outcome = await sender.send(candidate);
    if (outcome === undefined) return false;
    const judged = judge(candidate, outcome);
    return isFault(judged) && judged.kind === kind;
  };
  try {
    let smallest = input;
    for (let piece = Math.ceil(input.body.length / 2); piece > 0; piece = Math.floor(piece / 2)) {
      for (let at = 0; at < smallest.body.length && sends < SENDS_MAX; ) {
        const { body } = smallest;
        const cut = Buffer.concat([body.subarray(0, at), body.subarray(at + piece)]);
        const candidate = withBody(smallest, cut);
        if (await shows(candidate)) smallest = candidate;
        else at += piece;
      }
    }
    return smallest;
  } catch {
    return input; // the server has ended: there is nothing to ask
  }
}

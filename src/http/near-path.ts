// Which call of /v2 somebody may have meant who asked for one that there is not: by a slip of the pen, or by its
// verb alone.

import { distance } from "fastest-levenshtein";

// No path is longer, and looking for a near one takes the product of both lengths.
const LENGTH_MAX = 64;
const STEPS_MAX = 3;

/** The nearest of the paths; undefined if none is near. */
export function nearPath(path: string, paths: Iterable<string>): string | undefined {
  if (path.length > LENGTH_MAX) return undefined;
  const asked = path.toLowerCase().replace(/\/$/, "");
  const verb = asked.slice(asked.lastIndexOf("/") + 1);
  let best: string | undefined;
  let least = STEPS_MAX + 1;
  for (const each of paths) {
    if (!each.startsWith("/v2/")) continue;
    const steps = each.endsWith(`.${verb}`) ? 1 : distance(asked, each);
    if (steps >= least) continue;
    least = steps;
    best = each;
  }
  return best;
}

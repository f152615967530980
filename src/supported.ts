// Says at once, and plainly, that the server does not run here: loaded before everything that would fail
// with the name of some module. `bin/querator.js` says the same when the command is started.

const NODE_MIN = 24;

/** Why the server cannot run on a platform of these versions, or undefined if it can. */
function unsupported(versions: Readonly<Record<string, string | undefined>>): string | undefined {
  const { node = "0", bun, deno } = versions;
  const needed = `querator needs Node ${NODE_MIN} or later`;
  if (bun !== undefined) return `${needed}; this is Bun ${bun}`;
  if (deno !== undefined) return `${needed}; this is Deno ${deno}`;
  return Number.parseInt(node, 10) < NODE_MIN ? `${needed}; this is Node ${node}` : undefined;
}

const reason = unsupported(process.versions);
if (reason !== undefined) throw new Error(reason);

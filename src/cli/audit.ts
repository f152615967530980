// The command that shows who has changed what.

import type { AuditChange, AuditEntry } from "@querator/client";
import type { Command } from "commander";
import { moment, whole } from "./arguments.ts";
import { type Listing, snakeCase } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { time } from "./text.ts";
import { userIdOf } from "./users.ts";

interface AuditOptions {
  readonly user?: string;
  readonly call?: string;
  readonly target?: string;
  readonly since?: Date;
  readonly until?: Date;
  readonly allNamespaces?: boolean;
  readonly limit: number;
}

const LIMIT_DEFAULT = 100;

const ENTRIES: Listing<AuditEntry> = {
  name: "entries",
  json: snakeCase,
  columns: [
    { title: "TIME", value: ({ at }) => time(at) },
    { title: "USER", value: ({ username, userId }) => username || userId, widest: 30 },
    { title: "ADDRESS", value: ({ address }) => address || "-" },
    { title: "NAMESPACE", value: ({ namespace }) => namespace, widest: 30 },
    { title: "CALL", value: ({ call }) => call },
    { title: "TARGET", value: ({ target }) => target, widest: 40 },
    { title: "OUTCOME", value: ({ outcome }) => outcome },
    { title: "CHANGES", value: ({ changes }) => changes.map(shown).join(", "), widest: 80 },
  ],
};

export function addAuditCommand(program: Command): void {
  program
    .command("audit")
    .description("show who has changed what, in --namespace, the newest first")
    .option("--user <user>", "only what this user has done, by name or id")
    .option("--call <name>", "only calls of this name, such as queues.delete")
    .option("--target <what>", "only what was done to this: a queue, a role, a key")
    .option("--since <time>", "only what was done at this time, or later", moment)
    .option("--until <time>", "only what was done before this time", moment)
    .option("--all-namespaces", "in all namespaces")
    .option("--limit <n>", "how many entries at most", whole(1), LIMIT_DEFAULT)
    .addHelpText(
      "after",
      `
It is kept for 30 days.

Examples:
  querator audit --since 2030-01-31T12:00:00Z
  querator audit --call queues.delete --all-namespaces -o json`,
    )
    .action(withSession(show));
}

async function show(session: Session, { user, limit, ...options }: AuditOptions): Promise<void> {
  const { client, out, signal } = session;
  const userId = user === undefined ? undefined : await userIdOf(session, user);
  const pageSize = Math.min(limit, 1_000);
  const entries = client.audit.list({ ...options, userId, pageSize, signal });
  const count = await out.list(atMost(limit, entries), ENTRIES);
  out.message(`Found ${count} ${count === 1 ? "entry" : "entries"}`);
}

async function* atMost<T>(
  count: number,
  all: AsyncIterable<T>,
): AsyncGenerator<T, void, undefined> {
  let left = count;
  for await (const each of all) {
    yield each;
    if (--left === 0) return;
  }
}

// `lease_timeout 1m0s -> 2m0s`; of what was not there, or is there no more, one of both.
function shown({ field, from, to }: AuditChange): string {
  const [was, is] = [from === undefined ? "" : ` ${from}`, to === undefined ? "" : ` ${to}`];
  return from === undefined ? `${field}${is}` : `${field}${was} ->${is || " -"}`;
}

// The commands for keys. A key is shown once, by the command that makes it: alone on stdout, so that it can be piped
// to where it is kept.

import type { Key, MadeKey, WhichKeys } from "@querator/client";
import type { Command } from "commander";
import { anyDuration, duration, moment, yesOption } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { usage } from "./failure.ts";
import { type Listing, snakeCase } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { plural, time } from "./text.ts";
import { userIdOf, userNames } from "./users.ts";

interface CreateOptions {
  readonly name?: string;
  readonly expireIn?: string;
  readonly expireAt?: Date;
  readonly keyTag?: string;
}

interface RevokeOptions {
  readonly user?: string;
  readonly before?: Date;
  readonly yes?: boolean;
}

const keysOf = (userName: (id: string) => string): Listing<Key> => ({
  name: "keys",
  json: snakeCase,
  columns: [
    { title: "ID", value: ({ id }) => id },
    { title: "NAME", value: ({ name }) => name, widest: 30 },
    { title: "USER", value: ({ userId }) => userName(userId), widest: 30 },
    { title: "NAMESPACE", value: ({ namespace }) => namespace || "all" },
    { title: "PREFIX", value: ({ prefix }) => prefix },
    { title: "EXPIRES", value: ({ expiresAt }) => time(expiresAt) || "never" },
    { title: "LAST USED", value: ({ lastUsedAt }) => time(lastUsedAt) || "never" },
    { title: "CREATED", value: ({ createdAt }) => time(createdAt) },
  ],
});

export function addKeyCommands(program: Command): void {
  const group = program.command("key").description("make, see and take away API keys");
  group
    .command("create <user>")
    .description("make a key of a user, by name or id, and show it: once")
    .option("--name <text>", "what it is called, for people")
    .option("--expire-in <time>", "how long it is taken", duration)
    .option("--expire-at <time>", "until when it is taken", moment)
    .option("--key-tag <tag>", "what stands in it behind qtr-: 1 to 16 of 0-9 and a-z")
    .addHelpText(
      "after",
      `
With --namespace it is for that namespace only. Nobody can make a key that may do more than they may.

Examples:
  querator key create mailer --namespace acme --expire-in 2160h > mailer.key
  querator --key-file mailer.key produce mails -p hello`,
    )
    .action(withSession(create));
  group
    .command("list")
    .description(
      "list keys in the order in which they were made; nothing shows the keys themselves",
    )
    .option("--user <user>", "only those of this user, by name or id")
    .addHelpText(
      "after",
      "\nWhen a key was used last is known to 5 minutes.\n\nExample:\n  querator key list --namespace acme",
    )
    .action(withSession(list));
  group
    .command("rotate <id>")
    .description("make another key like one, and show it: once; the old one ends soon")
    .option(
      "--overlap <time>",
      "for how long the old one is still taken, up to 720h (default: 1h)",
      anyDuration,
    )
    .addHelpText(
      "after",
      `
Example:
  querator key rotate 2fPkNbVf0uTqQeXr4pZs9cDwLmA --overlap 24h > mailer.key`,
    )
    .action(withSession(rotate));
  group
    .command("revoke [id]")
    .description("take away one key, or all of a user, or that were made before a time")
    .option("--user <user>", "those of this user, by name or id")
    .option("--before <time>", "those that were made before this time", moment)
    .addOption(yesOption())
    .addHelpText(
      "after",
      `
When it is done they are taken nowhere any more, and what waits in their names has ended.

Examples:
  querator key revoke 2fPkNbVf0uTqQeXr4pZs9cDwLmA --yes
  querator key revoke --before 2030-01-31T12:00:00Z --yes`,
    )
    .action(withSession(revoke));
}

async function create(session: Session, user: string, options: CreateOptions): Promise<void> {
  const { name, expireIn, expireAt: expiresAt, keyTag } = options;
  const given = { userId: await userIdOf(session, user), name, expireIn, expiresAt, keyTag };
  await show(session, await session.client.keys.create(given, { signal: session.signal }));
}

async function show({ out }: Session, made: MadeKey): Promise<void> {
  if (out.format === "table") await out.write(`${made.key}\n`);
  else await out.record(snakeCase(made), []);
  const { id, namespace, expiresAt } = made;
  const where = namespace === "" ? "" : ` for namespace '${namespace}'`;
  const until = expiresAt === undefined ? "" : `, until ${time(expiresAt)}`;
  out.message(`Successfully made key ${id}${where}${until}; it is shown this once`);
}

async function list(session: Session, { user }: { readonly user?: string }): Promise<void> {
  const { client, out, signal } = session;
  const userId = user === undefined ? undefined : await userIdOf(session, user);
  const keys = client.keys.list({ userId, signal });
  const count = await out.list(keys, keysOf(await userNames(session)));
  out.message(`Found ${plural(count, "key")}`);
}

async function rotate(
  session: Session,
  id: string,
  { overlap }: { readonly overlap?: string },
): Promise<void> {
  const { client, signal } = session;
  await show(session, await client.keys.rotate(id, { overlap, signal }));
}

async function revoke(
  session: Session,
  id: string | undefined,
  { user, before, yes }: RevokeOptions,
): Promise<void> {
  const { client, out, signal } = session;
  const isMany = user !== undefined || before !== undefined;
  if ((id === undefined) !== isMany) {
    throw usage("give either the id of a key, or --user or --before");
  }
  const which = {
    ...(id !== undefined && { id }),
    ...(user !== undefined && { userId: await userIdOf(session, user) }),
    ...(before !== undefined && { before }),
  } as WhichKeys;
  const made = before === undefined ? "" : ` that were made before ${time(before)}`;
  const whose = user === undefined ? "all keys" : `the keys of user '${user}'`;
  const question = id === undefined ? `Take away ${whose}${made}?` : `Take away key '${id}'?`;
  await confirm(session, question, { yes });
  const count = await client.keys.revoke(which, { signal });
  out.message(`Successfully took away ${plural(count, "key")}`);
}

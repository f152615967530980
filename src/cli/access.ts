// The commands for who may do what: namespace, user, role and binding. Those for keys are in access-keys.ts.

import type { Binding, Namespace, Quotas, Role, User } from "@querator/client";
import { type Command, InvalidArgumentError } from "commander";
import { addKeyCommands } from "./access-keys.ts";
import { yesOption } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { usage } from "./failure.ts";
import { type Listing, snakeCase } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { plural, time } from "./text.ts";
import { userIdOf, userNames } from "./users.ts";

interface Yes {
  readonly yes?: boolean;
}

export function addAccessCommands(program: Command): void {
  addNamespaceCommands(program);
  addUserCommands(program);
  addKeyCommands(program);
  addRoleCommands(program);
  addBindingCommands(program);
}

// --- namespaces ---

interface NamespaceOptions {
  readonly description?: string;
  readonly keyTag?: string;
  readonly quota?: Quotas;
}

const QUOTAS: Readonly<Record<string, keyof Quotas>> = {
  queues: "queues",
  items: "items",
  bytes: "bytes",
  "requests-per-second": "requestsPerSecond",
  "items-per-second": "itemsPerSecond",
  "waiting-leases": "waitingLeases",
  connections: "connections",
};

const NAMESPACES: Listing<Namespace> = {
  name: "namespaces",
  json: snakeCase,
  columns: [
    { title: "NAME", value: ({ name }) => name },
    { title: "KEY TAG", value: ({ keyTag }) => keyTag },
    { title: "DESCRIPTION", value: ({ description }) => description, widest: 60 },
    { title: "CREATED", value: ({ createdAt }) => time(createdAt) },
  ],
};

function addNamespaceCommands(program: Command): void {
  const group = program.command("namespace").description("make, see and change namespaces");
  namespaceSettings(group.command("create <name>").description("make a namespace"))
    .addHelpText(
      "after",
      `
Example:
  querator namespace create acme --description "Queues of Acme" --quota queues=20 items=1000000`,
    )
    .action(
      withSession(async ({ client, out, signal }, name: string, options: NamespaceOptions) => {
        const made = await client.namespaces.create({ name, ...changesOf(options) }, { signal });
        if (out.format !== "table") await out.record(snakeCase(made), []);
        out.message(`Successfully created namespace '${name}'`);
      }),
    );
  group
    .command("list")
    .description("list namespaces by name")
    .addHelpText("after", "\nExample:\n  querator namespace list -o json")
    .action(
      withSession(async ({ client, out, signal }) => {
        const count = await out.list(client.namespaces.list({ signal }), NAMESPACES);
        out.message(`Found ${plural(count, "namespace")}`);
      }),
    );
  group
    .command("info <name>")
    .description("show a namespace")
    .addHelpText("after", "\nExample:\n  querator namespace info acme")
    .action(
      withSession(async ({ client, out, signal }, name: string) => {
        const seen = await client.namespaces.info(name, { signal });
        const quotas = Object.entries(QUOTAS).flatMap(([shown, key]): [string, string][] =>
          seen.quotas[key]
            ? [[shown.replaceAll("-", " "), `${seen.used[key] ?? 0} of ${seen.quotas[key]}`]]
            : [],
        );
        await out.record(snakeCase(seen), [
          ["name", seen.name],
          ["description", seen.description || "-"],
          ["key tag", seen.keyTag || "-"],
          ["created", time(seen.createdAt) || "-"],
          ...quotas,
        ]);
      }),
    );
  namespaceSettings(group.command("update <name>").description("change a namespace"))
    .addHelpText(
      "after",
      `
What is left out stays as it is; quotas are replaced by those that are given.

Example:
  querator namespace update acme --description "All queues of Acme"`,
    )
    .action(
      withSession(async ({ client, out, signal }, name: string, options: NamespaceOptions) => {
        if (Object.keys(options).length === 0) {
          throw usage("nothing to change is given", "See 'querator namespace update --help'");
        }
        await client.namespaces.update(name, changesOf(options), { signal });
        out.message(`Successfully updated namespace '${name}'`);
      }),
    );
  group
    .command("delete <name>")
    .description("delete a namespace that has no queues, roles and bindings any more")
    .addOption(yesOption())
    .addHelpText("after", "\nExample:\n  querator namespace delete acme --yes")
    .action(
      withSession(async (session, name: string, options: Yes) => {
        await confirm(session, `Delete namespace '${name}'?`, options);
        await session.client.namespaces.delete(name, { signal: session.signal });
        session.out.message(`Successfully deleted namespace '${name}'`);
      }),
    );
}

function namespaceSettings(command: Command): Command {
  return command
    .option("--description <text>", "what it is for")
    .option("--key-tag <tag>", "the tag of keys that are made for it: 1 to 16 of 0-9 and a-z")
    .option(
      "--quota <what=n...>",
      `what it may use at most, 0 for any number: ${Object.keys(QUOTAS).join(", ")}`,
      quota,
    );
}

function quota(text: string, before: Quotas = {}): Quotas {
  const [, name = "", number] = /^([a-z-]+)=(\d{1,15})$/.exec(text) ?? [];
  const key = Object.hasOwn(QUOTAS, name) ? QUOTAS[name] : undefined;
  if (key !== undefined) return { ...before, [key]: Number(number) };
  throw new InvalidArgumentError(`Use one of ${Object.keys(QUOTAS).join("=n, ")}=n.`);
}

function changesOf({ description, keyTag, quota: quotas }: NamespaceOptions) {
  return { description, keyTag, quotas };
}

// --- users ---

const USERS: Listing<User> = {
  name: "users",
  json: snakeCase,
  columns: [
    { title: "ID", value: ({ id }) => id },
    { title: "NAME", value: ({ username }) => username },
    { title: "EMAIL", value: ({ email }) => email, widest: 40 },
    { title: "EXTERNAL ID", value: ({ externalId }) => externalId, widest: 40 },
    { title: "CREATED", value: ({ createdAt }) => time(createdAt) },
  ],
};

function addUserCommands(program: Command): void {
  const group = program.command("user").description("make, see and delete users");
  group
    .command("create <name>")
    .description("make a user")
    .option("--email <address>", "where to reach it")
    .option("--external-id <id>", "what another system calls it")
    .addHelpText(
      "after",
      `
Example:
  querator user create mailer`,
    )
    .action(
      withSession(
        async (
          { client, out, signal },
          username: string,
          options: { readonly email?: string; readonly externalId?: string },
        ) => {
          const { email, externalId } = options;
          const made = await client.users.create({ username, email, externalId }, { signal });
          await out.record(snakeCase(made), [["id", made.id]]);
          out.message(`Successfully created user '${username}'`);
        },
      ),
    );
  group
    .command("list")
    .description("list users in the order in which they were made")
    .addHelpText("after", "\nExample:\n  querator user list")
    .action(
      withSession(async ({ client, out, signal }) => {
        const count = await out.list(client.users.list({ signal }), USERS);
        out.message(`Found ${plural(count, "user")}`);
      }),
    );
  group
    .command("delete <user>")
    .description("delete a user, by name or id, with its keys and bindings")
    .addOption(yesOption())
    .addHelpText("after", "\nExample:\n  querator user delete mailer --yes")
    .action(
      withSession(async (session, user: string, options: Yes) => {
        const id = await userIdOf(session, user);
        await confirm(session, `Delete user '${user}' with its keys?`, options);
        await session.client.users.delete(id, { signal: session.signal });
        session.out.message(`Successfully deleted user '${user}'`);
      }),
    );
}

// --- roles ---

// Those are listed in _system alone, which a tenant does not see.
const STANDARD_AS_WELL =
  " of its own; the standard ones may be given as well: see 'querator binding create --help'";

const ROLES: Listing<Role> = {
  name: "roles",
  json: snakeCase,
  columns: [
    { title: "NAMESPACE", value: ({ namespace }) => namespace },
    { title: "NAME", value: ({ name }) => name },
    { title: "STANDARD", value: ({ isStandard }) => (isStandard ? "yes" : "no") },
    { title: "PERMISSIONS", value: ({ permissions }) => permissions.join(" "), widest: 60 },
    { title: "ID", value: ({ id }) => id },
  ],
};

function addRoleCommands(program: Command): void {
  const group = program
    .command("role")
    .description("make, see and change roles; those of --namespace");
  for (const [verb, did, what] of [
    ["create", "created", "make a role of permissions such as queue.lease"],
    ["update", "updated", "give a role other permissions, in place of those it has"],
  ] as const) {
    group
      .command(`${verb} <name> [permissions...]`)
      .description(what)
      .addHelpText(
        "after",
        `\nExample:\n  querator role ${verb} shipper queue.lease queue.complete`,
      )
      .action(
        withSession(
          async ({ client, out, signal }, name: string, permissions: readonly string[]) => {
            const role = await client.roles[verb]({ name }, permissions, { signal });
            if (out.format !== "table") await out.record(snakeCase(role), []);
            out.message(`Successfully ${did} role '${name}' of namespace '${role.namespace}'`);
          },
        ),
      );
  }
  group
    .command("list")
    .description("list roles in the order in which they were made")
    .addHelpText("after", "\nExample:\n  querator role list --namespace acme")
    .action(
      withSession(async ({ client, out, signal }) => {
        const count = await out.list(client.roles.list({ signal }), ROLES);
        out.message(`Found ${plural(count, "role")}${count === 0 ? STANDARD_AS_WELL : ""}`);
      }),
    );
  group
    .command("delete <name>")
    .description("delete a role that is bound to nobody")
    .addOption(yesOption())
    .addHelpText("after", "\nExample:\n  querator role delete shipper --yes")
    .action(
      withSession(async (session, name: string, options: Yes) => {
        await confirm(session, `Delete role '${name}'?`, options);
        await session.client.roles.delete({ name }, { signal: session.signal });
        session.out.message(`Successfully deleted role '${name}'`);
      }),
    );
}

// --- bindings ---

const bindingsOf = (userName: (id: string) => string): Listing<Binding> => ({
  name: "bindings",
  json: snakeCase,
  columns: [
    { title: "NAMESPACE", value: ({ namespace }) => namespace },
    { title: "ROLE", value: ({ roleName }) => roleName },
    { title: "USER", value: ({ userId }) => userName(userId), widest: 30 },
    { title: "CREATED", value: ({ createdAt }) => time(createdAt) },
    { title: "ID", value: ({ id }) => id },
  ],
});

function addBindingCommands(program: Command): void {
  const group = program
    .command("binding")
    .description("give users roles, and take them; in --namespace");
  group
    .command("create <role> <user>")
    .description("give a user, by name or id, a role; anonymous is who sends no key")
    .addHelpText(
      "after",
      `
The role is one of the namespace, or a standard one: Admin, NamespaceOwner, Operator, Producer,
Consumer, Viewer or PublicViewer. In _system, the default, it counts in all namespaces.

Example:
  querator binding create Producer mailer --namespace acme`,
    )
    .action(
      withSession(async (session: Session, roleName: string, user: string) => {
        const { client, out, signal } = session;
        const choice = { roleName, userId: await userIdOf(session, user) };
        const made = await client.bindings.create(choice, { signal });
        if (out.format !== "table") await out.record(snakeCase(made), []);
        out.message(`Successfully gave '${user}' role '${roleName}' in '${made.namespace}'`);
      }),
    );
  group
    .command("list")
    .description("list bindings in the order in which they were made")
    .option("--user <user>", "only those of this user, by name or id")
    .addHelpText("after", "\nExample:\n  querator binding list --namespace acme")
    .action(
      withSession(async (session: Session, { user }: { readonly user?: string }) => {
        const { client, out, signal } = session;
        const userId = user === undefined ? undefined : await userIdOf(session, user);
        const bindings = client.bindings.list({ userId, signal });
        const count = await out.list(bindings, bindingsOf(await userNames(session)));
        out.message(`Found ${plural(count, "binding")}`);
      }),
    );
  group
    .command("delete <role> <user>")
    .description("take a role from a user, by name or id")
    .addOption(yesOption())
    .addHelpText(
      "after",
      "\nExample:\n  querator binding delete Producer mailer --namespace acme --yes",
    )
    .action(
      withSession(async (session: Session, roleName: string, user: string, options: Yes) => {
        const choice = { roleName, userId: await userIdOf(session, user) };
        await confirm(session, `Take role '${roleName}' from user '${user}'?`, options);
        await session.client.bindings.delete(choice, { signal: session.signal });
        session.out.message(`Successfully took role '${roleName}' from '${user}'`);
      }),
    );
}

// All commands, as one tree: what `querator` runs, what completion completes, and what docs/CLI.md
// is checked against.

import { Command, Option } from "commander";
import { VERSION } from "../version.ts";
import { addAccessCommands } from "./access.ts";
import { addApplyCommand } from "./apply.ts";
import { addBenchCommand } from "./bench.ts";
import { callerOptions } from "./caller.ts";
import { addCompletionCommands } from "./completion.ts";
import { addDeadCommands } from "./dead.ts";
import { addDoctorCommand } from "./doctor.ts";
import { usage } from "./failure.ts";
import { headerOption } from "./headers.ts";
import { addItemCommands } from "./items.ts";
import { addLeaseCommands } from "./leases.ts";
import { addMigrateCommand } from "./migrate.ts";
import { FORMATS } from "./output.ts";
import { addProduceCommand } from "./produce.ts";
import { addQueueCommands } from "./queues.ts";
import { addServerCommand } from "./server.ts";
import { DEFAULT_ENDPOINT } from "./session.ts";
import { addStatsCommands } from "./stats.ts";
import { addTailCommand } from "./tail.ts";
import { addTopCommand } from "./top.ts";
import { addWorkCommand } from "./work.ts";

// They talk to no server; an option for that would be ignored.
const LOCAL = ["version", "server", "migrate", "doctor", "completion", "__complete"];
const SHARED = [
  "endpoint",
  "key",
  "keyFile",
  "namespace",
  "header",
  "caFile",
  "clientCert",
  "clientKey",
  "output",
];

function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Makes the tree of commands. */
export function makeProgram(): Command {
  const program = new Command("querator")
    .description("A server for durable queues, and its command line")
    .version(`querator ${VERSION}`, "--version", "print the version")
    .addOption(
      new Option(
        "--endpoint <url>",
        "the server to talk to; of several, with commas, one that works",
      )
        .env("QUERATOR_ENDPOINT")
        .default(DEFAULT_ENDPOINT),
    )
    .addOption(headerOption())
    .addOption(
      new Option("--ca-file <file>", "authorities to trust with https, in PEM form").env(
        "QUERATOR_CA_FILE",
      ),
    )
    .addOption(
      new Option("--client-cert <file>", "the certificate to show with https").env(
        "QUERATOR_CLIENT_CERT",
      ),
    )
    .addOption(
      new Option("--client-key <file>", "the key of that certificate").env("QUERATOR_CLIENT_KEY"),
    )
    .addOption(
      new Option("-o, --output <format>", "how to print data").choices(FORMATS).default("table"),
    )
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, "Error: ")),
    })
    .showHelpAfterError("run with --help for what there is")
    .addHelpText(
      "after",
      `
Examples:
  querator server                       run a server that keeps its data in ./querator-data
  querator server --memory              run one that keeps nothing
  querator create jobs                  make a queue
  querator produce jobs -p hello        put an item in
  querator lease jobs                   take it out
  querator top                          watch all queues

Data goes to stdout, all else to stderr. Ends with 0 when done, 1 failed, 2 used wrongly,
3 not found, 4 server not reached, 5 nothing to lease.`,
    )
    .exitOverride()
    .hook("preAction", (_, command) => {
      if (!LOCAL.includes(command.name())) return;
      const given = SHARED.find((name) => program.getOptionValueSource(name) === "cli");
      if (given !== undefined)
        throw usage(`'querator ${command.name()}' knows no option --${flagOf(given)}`);
    });

  for (const option of callerOptions()) program.addOption(option);
  program
    .command("version")
    .description("print the version")
    .addHelpText(
      "after",
      `
Example:
  querator version`,
    )
    .action(() => {
      process.stdout.write(`querator ${VERSION}\n`);
    });
  addServerCommand(program);
  addMigrateCommand(program);
  addDoctorCommand(program);
  addQueueCommands(program);
  addApplyCommand(program);
  addProduceCommand(program);
  addLeaseCommands(program);
  addWorkCommand(program);
  addStatsCommands(program);
  addItemCommands(program);
  addDeadCommands(program);
  addAccessCommands(program);
  addTailCommand(program);
  addTopCommand(program);
  addBenchCommand(program);
  addCompletionCommands(program);
  for (const command of program.commands) {
    if (LOCAL.includes(command.name())) command.configureHelp({ showGlobalOptions: false });
  }
  return program;
}

// What all commands stand under: its options, and the commands that need nothing of the others. `querator
// server` is started from here, without what talks to a server.

import { Command, Option } from "commander";
import { withoutKeys } from "../printable.ts";
import { VERSION } from "../version.ts";
import { callerOptions } from "./caller.ts";
import { usage } from "./failure.ts";
import { headerOption } from "./headers.ts";
import { FORMATS } from "./output.ts";
import { addServerCommand } from "./server.ts";

export const DEFAULT_ENDPOINT = "http://localhost:2319";

/** They talk to no server; an option for that would be ignored. */
export const LOCAL = ["version", "server", "migrate", "doctor", "completion", "__complete"];
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

/** Makes the tree of commands with `version` and `server` alone. */
export function makeRoot(): Command {
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
      outputError: (text, write) => write(withoutKeys(text.replace(/^error: /, "Error: "))),
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
  for (const command of program.commands) command.configureHelp({ showGlobalOptions: false });
  return program;
}

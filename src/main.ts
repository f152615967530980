// The `querator` command: from arguments to a command. Exit codes: 0 done, 1 failed, 2 used wrongly.

import { Command, CommanderError } from "commander";
import { addDoctorCommand } from "./cli/doctor.ts";
import { addMigrateCommand } from "./cli/migrate.ts";
import { addServerCommand } from "./cli/server.ts";
import { ConfigError } from "./config-section.ts";
import { VERSION } from "./version.ts";

const program = new Command("querator")
  .description("A server for durable queues")
  .version(`querator ${VERSION}`, "--version", "print the version")
  .showHelpAfterError("run with --help for what there is")
  .addHelpText(
    "after",
    `
Examples:
  querator server                       run a server that keeps its data in ./querator-data
  querator server --memory              run one that keeps nothing
  querator server --help                all options of the server
  querator version`,
  )
  .exitOverride();

program
  .command("version")
  .description("print the version")
  .action(() => {
    process.stdout.write(`querator ${VERSION}\n`);
  });
addServerCommand(program);
addMigrateCommand(program);
addDoctorCommand(program);
for (const command of program.commands) command.exitOverride();

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2; // it has said why itself
  } else {
    process.stderr.write(`Error: ${(error as Error).message}\n`);
    process.exitCode = error instanceof ConfigError ? 2 : 1;
  }
}

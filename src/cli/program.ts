// All commands, as one tree: what `querator` runs, what completion completes, and what docs/CLI.md
// is checked against.

import type { Command } from "commander";
import { addAccessCommands } from "./access.ts";
import { addApplyCommand } from "./apply.ts";
import { addAuditCommand } from "./audit.ts";
import { addBenchCommand } from "./bench.ts";
import { addCompletionCommands } from "./completion.ts";
import { addDeadCommands } from "./dead.ts";
import { addDoctorCommand } from "./doctor.ts";
import { addDumpCommand } from "./dump.ts";
import { addEventsCommand } from "./events.ts";
import { addItemCommands } from "./items.ts";
import { addLeaseCommands } from "./leases.ts";
import { addMigrateCommand } from "./migrate.ts";
import { addProduceCommand } from "./produce.ts";
import { addQueueCommands } from "./queues.ts";
import { LOCAL, makeRoot } from "./root.ts";
import { addStatsCommands } from "./stats.ts";
import { addTailCommand } from "./tail.ts";
import { addTopCommand } from "./top.ts";
import { addWorkCommand } from "./work.ts";

/** Makes the tree of commands. */
export function makeProgram(): Command {
  const program = makeRoot();
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
  addAuditCommand(program);
  addTailCommand(program);
  addEventsCommand(program);
  addTopCommand(program);
  addDumpCommand(program);
  addBenchCommand(program);
  addCompletionCommands(program);
  for (const command of program.commands) {
    if (LOCAL.includes(command.name())) command.configureHelp({ showGlobalOptions: false });
  }
  return program;
}

// The `querator` command: from arguments to a command, and from what went wrong to an exit code.

import { explain } from "./cli/failure.ts";
import { endWithOutput } from "./cli/output.ts";
import { makeProgram } from "./cli/program.ts";

endWithOutput();
try {
  await makeProgram().parseAsync(plainly(process.argv.slice(2)), { from: "user" });
} catch (error) {
  const { text, exitCode } = explain(error);
  process.stderr.write(text);
  process.exitCode = exitCode;
}

// Commander's `help` knows one name only.
function plainly(args: string[]): string[] {
  const [first, ...names] = args;
  return first === "help" && names.length > 1 ? [...names, "--help"] : args;
}

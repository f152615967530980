// The `querator` command: from arguments to a command, and from what went wrong to an exit code.

import { endWithOutput } from "./cli/output.ts";

endWithOutput();
const args = plainly(process.argv.slice(2));
try {
  await (await programFor(args)).parseAsync(args, { from: "user" });
} catch (error) {
  const { explain } = await import("./cli/explanation.ts");
  const { text, exitCode } = explain(error);
  process.stderr.write(text);
  process.exitCode = exitCode;
}

// A server is started without what the other commands load, which would stay with it.
async function programFor([first]: readonly string[]) {
  if (first === "server") return (await import("./cli/root.ts")).makeRoot();
  return (await import("./cli/program.ts")).makeProgram();
}

// Commander's `help` knows one name only.
function plainly(args: string[]): string[] {
  const [first, ...names] = args;
  return first === "help" && names.length > 1 ? [...names, "--help"] : args;
}

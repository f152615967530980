// Completion in bash, zsh and fish. The scripts know nothing: they hand what was typed to `querator
// __complete`, which answers candidates from the tree of commands, and names of queues from the
// server, if it answers soon. So a script that was installed once never grows old.

import { Argument, type Command, type Option } from "commander";
import { printable } from "../printable.ts";
import { callerOf } from "./caller.ts";
import { headersOf } from "./headers.ts";
import { DEFAULT_ENDPOINT } from "./root.ts";
import { connect, tlsOf } from "./session.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

// Somebody is waiting for a key to do something.
const SERVER_TIMEOUT = "500ms";
const QUEUES_MAX = 1_000;

interface Candidate {
  readonly text: string;
  readonly about?: string;
}

export function addCompletionCommands(program: Command): void {
  program
    .command("completion")
    .description("print a script that completes commands, options and queues")
    .addArgument(new Argument("<shell>").choices(SHELLS))
    .addHelpText(
      "after",
      `
Examples:
  source <(querator completion bash)             in ~/.bashrc
  source <(querator completion zsh)              in ~/.zshrc, after compinit
  querator completion fish > ~/.config/fish/completions/querator.fish`,
    )
    .action((shell: Shell) => {
      process.stdout.write(SCRIPTS[shell]);
    });

  program.command("__complete [words...]", { hidden: true }).action(async (words: string[]) => {
    const candidates = await complete(program, words);
    const lines = candidates.map(({ text, about = "" }) => `${text}\t${printable(about)}\n`);
    process.stdout.write(lines.join(""));
  });
}

/** What may stand in place of the last of the words, which follow the program's name. */
async function complete(program: Command, words: readonly string[]): Promise<Candidate[]> {
  const typed = words.at(-1) ?? "";
  const { command, argumentCount, waiting, given } = walk(program, words.slice(0, -1));
  const startsWithTyped = ({ text }: Candidate): boolean => text.startsWith(typed);
  if (waiting !== undefined) return (await valuesOf(waiting, given)).filter(startsWithTyped);
  const [, name, value] = /^(--[\w-]+)=(.*)$/s.exec(typed) ?? [];
  if (name !== undefined) {
    const option = optionsOf(command).find(({ long }) => long === name);
    const values = option === undefined ? [] : await valuesOf(option, given);
    return values
      .filter(({ text }) => text.startsWith(value!))
      .map(({ text }) => ({ text: `${name}=${text}` }));
  }
  if (typed.startsWith("-")) {
    return optionsOf(command)
      .filter(({ hidden }) => !hidden)
      .map((option) => ({ text: option.long!, about: option.description }))
      .filter(startsWithTyped);
  }
  if (command.commands.length > 0) {
    return command
      .createHelp()
      .visibleCommands(command)
      .map((each) => ({ text: each.name(), about: each.description() }))
      .filter(startsWithTyped);
  }
  const argument = command.registeredArguments[argumentCount] ?? command.registeredArguments.at(-1);
  if (argument === undefined || (argumentCount > 0 && !argument.variadic)) return [];
  if (argument.argChoices !== undefined) {
    return argument.argChoices.map((text) => ({ text })).filter(startsWithTyped);
  }
  const isQueue = /^queues?$/.test(argument.name());
  return isQueue ? (await queueNames(given)).filter(startsWithTyped) : [];
}

interface Place {
  readonly command: Command;
  readonly argumentCount: number;
  /** The option whose value comes next. */
  readonly waiting: Option | undefined;
  readonly given: ReadonlyMap<string, string>;
}

// Where the words lead to in the tree.
function walk(program: Command, words: readonly string[]): Place {
  let command = program;
  let argumentCount = 0;
  let waiting: Option | undefined;
  const given = new Map<string, string>();
  // Of those that may be there several times, all, one a line.
  const note = (option: Option, value: string): void => {
    const before = option.name() === "header" ? given.get("header") : undefined;
    given.set(option.name(), before === undefined ? value : `${before}\n${value}`);
  };
  for (const word of words) {
    if (waiting !== undefined) {
      note(waiting, word);
      waiting = undefined;
      continue;
    }
    if (word.startsWith("-")) {
      const [flag, value] = word.split(/=(.*)/s) as [string, string?];
      const option = optionsOf(command).find(({ long, short }) => long === flag || short === flag);
      if (option === undefined || option.isBoolean() || option.negate) continue;
      if (value === undefined) waiting = option;
      else note(option, value);
      continue;
    }
    const sub = command.commands.find((each) => each.name() === word);
    if (sub === undefined) argumentCount++;
    else command = sub;
  }
  return { command, argumentCount, waiting, given };
}

// Those of a command and those that all commands share.
function optionsOf(command: Command): Option[] {
  const help = command.createHelp();
  const shared = command.parent === null ? [] : help.visibleGlobalOptions(command);
  return [...help.visibleOptions(command), ...shared].filter(({ long }) => long !== undefined);
}

async function valuesOf(
  option: Option,
  given: ReadonlyMap<string, string>,
): Promise<readonly Candidate[]> {
  if (option.flags.endsWith("<queue>")) return queueNames(given);
  return (option.argChoices ?? []).map((text) => ({ text }));
}

async function queueNames(given: ReadonlyMap<string, string>): Promise<Candidate[]> {
  const {
    QUERATOR_ENDPOINT = DEFAULT_ENDPOINT,
    QUERATOR_CA_FILE = "",
    QUERATOR_CLIENT_CERT = "",
    QUERATOR_CLIENT_KEY = "",
  } = process.env;
  const names: Candidate[] = [];
  try {
    const client = connect({
      endpoint: given.get("endpoint") ?? QUERATOR_ENDPOINT,
      ...callerOf({
        key: given.get("key"),
        keyFile: given.get("key-file"),
        namespace: given.get("namespace"),
      }),
      headers: headersOf(given.get("header")?.split("\n")),
      tls: tlsOf({
        caFile: given.get("ca-file") ?? QUERATOR_CA_FILE,
        clientCert: given.get("client-cert") ?? QUERATOR_CLIENT_CERT,
        clientKey: given.get("client-key") ?? QUERATOR_CLIENT_KEY,
      }),
      attemptsMaxAtFirst: 1,
    });
    const signal = AbortSignal.timeout(500);
    for await (const { queueName } of client.queues.list({ timeout: SERVER_TIMEOUT, signal })) {
      // A shell would show it as it is, and so let it change the terminal.
      if (printable(queueName) !== queueName) continue;
      if (names.push({ text: queueName }) === QUEUES_MAX) break;
    }
    await client.close();
  } catch {
    // Without a server there are no names, and nobody wants to read why while they type.
  }
  return names;
}

const SCRIPTS: Readonly<Record<Shell, string>> = {
  // Words are split here at blanks alone, for bash also splits them at : and =, which names may
  // hold. What it is given it puts into the line as it is, and a name may be a command to a shell, so
  // the script quotes; zsh and fish do so themselves.
  bash: `# Completion of querator for bash.
_querator() {
  local typed=\${COMP_LINE:0:COMP_POINT} words word prefix line
  read -ra words <<< "$typed"
  [[ $typed == *[[:space:]] ]] && words+=("")
  word=\${words[-1]}
  prefix=\${word%"\${word##*[:=]}"}
  COMPREPLY=()
  while IFS=$'\\t' read -r line _; do
    line=\${line#"$prefix"}
    [[ -n $line ]] && printf -v line %q "$line"
    COMPREPLY+=("$line")
  done < <("\${words[0]}" __complete -- "\${words[@]:1}" 2>/dev/null)
}
complete -o default -F _querator querator
`,
  zsh: `#compdef querator
# Completion of querator for zsh.
_querator() {
  local name about
  local -a names
  while IFS=$'\\t' read -r name about; do
    names+=("\${name//:/\\\\:}\${about:+:$about}")
  done < <("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( \${#names} )); then
    _describe -V querator names
  else
    _files
  fi
}
compdef _querator querator
`,
  fish: `# Completion of querator for fish.
function __querator_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l found ($words[1] __complete -- $words[2..-1] 2>/dev/null)
  if test (count $found) -gt 0
    printf '%s\n' $found
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c querator -f -a '(__querator_complete)'
`,
};

// The reference of all commands and options in docs/CLI.md, made from the commands themselves:
// `node scripts/cli-reference.ts` writes it anew. Everything around it is written by hand.

import { readFileSync, writeFileSync } from "node:fs";
import type { Argument, Command, Option } from "commander";
import { makeProgram } from "../src/cli/program.ts";

const FILE = new URL("../docs/CLI.md", import.meta.url);
const BLOCK = /(<!-- reference -->\n).*(<!-- end of the reference -->)/s;

/** The document as it should be. */
export function withReference(document: string): string {
  const program = makeProgram();
  const sections = [shared(program), ...program.commands.flatMap((command) => sectionsOf(command))];
  return document.replace(BLOCK, (_, start: string, end: string) =>
    [start, ...sections.map((section) => `\n${section}`), `\n${end}`].join(""),
  );
}

function shared(program: Command): string {
  const lines = program.options.filter(({ long }) => long !== "--version").map(rowOf);
  return `### Options of all commands that talk to a server\n\n${table(lines)}`;
}

function sectionsOf(command: Command, before = "querator"): string[] {
  const path = `${before} ${command.name()}`;
  if (command.name().startsWith("__")) return [];
  if (command.commands.length > 0) {
    return command.commands.flatMap((each) => sectionsOf(each, path));
  }
  const usage = [path, ...command.registeredArguments.map(argumentText)].join(" ");
  const rows = command.options.map(rowOf);
  const options = rows.length > 0 ? `\n${table(rows)}` : "";
  return [`### \`${usage}\`\n\n${sentence(command.description())}\n${options}`];
}

function argumentText(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

function rowOf(option: Option): string {
  const { flags, description, defaultValue, argChoices, envVar, negate } = option;
  const standard = option.defaultValueDescription ?? String(defaultValue);
  const value = negate || defaultValue === undefined ? "" : ` \`${standard}\` |`;
  const more = [
    argChoices === undefined ? "" : `: ${argChoices.join(", ")}`,
    envVar === undefined ? "" : ` (\`${envVar}\`)`,
  ];
  return `| \`${flags}\` | ${description}${more.join("")} |${value || " |"}`;
}

function table(rows: readonly string[]): string {
  return `| option | what it does | default |\n|---|---|---|\n${rows.join("\n")}\n`;
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

if (import.meta.main) writeFileSync(FILE, withReference(readFileSync(FILE, "utf8")));

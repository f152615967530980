// Who a command speaks for: the key that it shows and the namespace that it is about, from options, from the
// environment, and from a file, where no list of processes shows a key.

import { Option } from "commander";
import { readSecretFile } from "../config/section.ts";
import { usage } from "./failure.ts";

export interface CallerOptions {
  readonly key?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly namespace?: string | undefined;
}

/** The options, which all commands share that talk to a server. */
export function callerOptions(): readonly Option[] {
  return [
    // Not by `env` of commander: where a key comes from decides which one counts.
    new Option(
      "--key <key>",
      "the API key to send; others on this machine may see it here (env: QUERATOR_KEY)",
    ),
    new Option("--key-file <file>", "a file that has the API key (env: QUERATOR_KEY_FILE)"),
    new Option(
      "--namespace <name>",
      "the namespace to be in (default: that of the key, or where a queue of the name is)",
    ).env("QUERATOR_NAMESPACE"),
  ];
}

/** The key and the namespace to be used: an option counts before the environment. */
export function callerOf(
  options: CallerOptions,
  env: NodeJS.ProcessEnv = process.env,
): Pick<CallerOptions, "key" | "namespace"> {
  const { QUERATOR_KEY, QUERATOR_KEY_FILE, QUERATOR_NAMESPACE } = env;
  const key =
    oneOf(options.key, options.keyFile, ["--key", "--key-file"]) ??
    oneOf(QUERATOR_KEY, QUERATOR_KEY_FILE, ["QUERATOR_KEY", "QUERATOR_KEY_FILE"]);
  return { key, namespace: options.namespace || QUERATOR_NAMESPACE || undefined };
}

function oneOf(
  key: string | undefined,
  file: string | undefined,
  names: readonly [key: string, file: string],
): string | undefined {
  if (key && file) throw usage(`give either ${names.join(" or ")}, not both`);
  return file ? readSecretFile(file, names[1]) : key || undefined;
}

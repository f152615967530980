// What is run from the packages once they are installed: the server by its command, the code of the README
// as it stands there, and a small program in each way that a package can be loaded.

import assert from "node:assert/strict";
import { type ExecFileException, execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ServerProcess } from "./server-process.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const RUN_MS_MAX = 30_000;

/** Something that runs programs: its file, and what comes before the program's. */
export interface Runtime {
  readonly name: string;
  readonly file: string;
  readonly args?: readonly string[];
}

export const THIS_NODE: Runtime = {
  name: `Node ${process.versions.node}`,
  file: process.execPath,
};

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program of a project to its end. */
export function run(
  { file, args = [] }: Runtime,
  project: string,
  ...program: readonly string[]
): Promise<Ended> {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, NO_COLOR: "1" };
  const options = { cwd: project, env, timeout: RUN_MS_MAX };
  return new Promise((resolve) => {
    execFile(file, [...args, ...program], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : (error as ExecFileException).code;
      resolve({ code: typeof code === "number" ? code : 1, stdout, stderr });
    });
  });
}

/** Writes a program into a project, runs it, and demands that it succeeds and prints this. */
export async function prints(
  runtime: Runtime,
  project: string,
  [name, code]: readonly [name: string, code: string],
  expected: string | RegExp,
): Promise<void> {
  writeFileSync(join(project, name), code);
  const { code: exit, stdout, stderr } = await run(runtime, project, name);
  const said = `${name} in ${runtime.name}: ${exit} ${stdout}${stderr}`;
  assert.equal(exit, 0, said);
  if (typeof expected === "string") assert.equal(stdout, expected, said);
  else assert.match(stdout, expected, said);
}

/** Demands that a program fails, and says why. */
export async function refuses(
  runtime: Runtime,
  project: string,
  program: readonly string[],
  reason: RegExp,
): Promise<void> {
  const { code, stdout, stderr } = await run(runtime, project, ...program);
  assert.notEqual(code, 0, `${program} in ${runtime.name} runs: ${stdout}`);
  assert.match(stderr, reason, `${program} in ${runtime.name}`);
}

/** The command in a project that has the server installed. */
export function commandIn(project: string): string {
  return join(project, "node_modules/querator/bin/querator.js");
}

/** Starts the installed server, in memory. */
export function serve(project: string, { file }: Runtime): Promise<ServerProcess> {
  return ServerProcess.start({ storage: "memory", command: commandIn(project), node: file });
}

/** The TypeScript of a document, against a server at this address. */
export function codeOf(document: string, address: string): [name: string, code: string][] {
  const text = readFileSync(join(root, document), "utf8");
  return [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code], i) => [
    `${document.replaceAll(/\W+/g, "-")}-${i}.mts`,
    code!.replaceAll("http://localhost:2319", address),
  ]);
}

/** A program that works with the client alone, without syntax that is new. */
export function clientProgram(url: string, queue: string, how: "import" | "require"): string {
  const load = how === "import" ? 'import {QueratorClient} from "@querator/client";' : "";
  const required = how === "require" ? 'const {QueratorClient} = require("@querator/client");' : "";
  return `${load}${required}
    const main = async () => {
      const client = new QueratorClient({ url: "${url}" });
      try {
        const times = { leaseTimeout: "1m", expireTimeout: "24h" };
        await client.queues.createIfMissing({ queueName: "${queue}", ...times });
        await client.produce("${queue}", { payload: "one" });
        await client.produce("${queue}", { payload: "two" });
        const [item] = await client.lease("${queue}");
        await client.complete("${queue}", item);
        const worker = client.worker("${queue}", (each) => console.log(item.text, each.text));
        await worker.events.once("completed");
        await worker.close();
      } finally {
        await client.close();
      }
    };
    main();`;
}

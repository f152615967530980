// `npm run clients`: generators of clients read the OpenAPI document of a server in memory; what they
// make is type-checked, and creates, produces, leases and completes against that server (clients/).
// Two at a time. A tool that cannot be installed here is passed over with the reason; ends with 1 if
// any other step fails, or if fewer than two tools could be had. Everything lies in a temporary
// directory that is gone at the end, but for what package managers cache by themselves.

import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { startServer } from "../src/server/server.ts";
import { conclude, endOnSignals, progress } from "../test/support/program.ts";

const STEP_SECONDS_MAX = 600;
const TOOLS_MIN = 2;
const OUTPUT_MAX = 4_000;

interface Step {
  readonly command: string;
  readonly args: readonly string[];
}

interface Tool {
  readonly name: string;
  /** Gets the tool and what its client needs; if one fails, the tool is passed over. */
  readonly install: readonly Step[];
  /** Makes the client, checks its types, and goes round with it. */
  readonly use: readonly Step[];
  /** The program of a round trip, from clients/, and what it is called beside the client. */
  readonly program: readonly [from: string, to: string];
  /** What else lies in the directory of the tool at first. */
  readonly files?: Readonly<Record<string, string>>;
}

const step = (command: string, ...args: string[]): Step => ({ command, args });
const sh = (line: string): Step => step("sh", "-c", line);

// openapi-typescript checks with the compiler that it is made for, not with ours.
function tools(address: string): readonly Tool[] {
  const document = `${address}/openapi.json`;
  const pip = (...packages: string[]): readonly Step[] => [
    step("python3", "-m", "venv", "venv"),
    step(
      "venv/bin/pip",
      "install",
      "--quiet",
      "--no-compile",
      "--disable-pip-version-check",
      ...packages,
    ),
  ];
  const python = "venv/bin/python";
  return [
    {
      name: "oapi-codegen 2.8.2",
      files: { "go.mod": "module example.invalid/client\n\ngo 1.24\n" },
      install: [
        sh("go install github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2"),
        // It reads files only.
        step(process.execPath, "-e", FETCH, document, "openapi.json"),
      ],
      use: [
        sh("bin/oapi-codegen -generate types,client -package main openapi.json > client.go"),
        step("go", "vet", "."),
        step("go", "run", ".", address),
      ],
      program: ["round_trip.go", "round_trip.go"],
    },
    {
      name: "openapi-python-client 0.29.1",
      install: pip("openapi-python-client==0.29.1", "mypy==1.18.2"),
      use: [
        sh(
          `venv/bin/openapi-python-client generate --url ${document} --meta none --config config.yaml` +
            " --fail-on-warning --output-path querator_api",
        ),
        step("venv/bin/mypy", "--strict", "querator_api", "round_trip.py"),
        step(python, "round_trip.py", address),
      ],
      files: { "config.yaml": "post_hooks: []\n" },
      program: ["round_trip_openapi_python_client.py", "round_trip.py"],
    },
    {
      name: "openapi-typescript 7.13.0",
      files: {
        "package.json": JSON.stringify({
          type: "module",
          private: true,
          dependencies: {
            "@types/node": "26.6.6",
            "openapi-fetch": "0.17.0",
            "openapi-typescript": "7.13.0",
            typescript: "5.9.3",
          },
        }),
        "tsconfig.json": JSON.stringify({
          compilerOptions: {
            target: "es2024",
            module: "nodenext",
            types: ["node"],
            strict: true,
            noUncheckedIndexedAccess: true,
            exactOptionalPropertyTypes: true,
            allowImportingTsExtensions: true,
            noEmit: true,
          },
          files: ["round-trip.ts"],
        }),
      },
      install: [step("npm", "install", "--silent", "--no-package-lock")],
      use: [
        step("node_modules/.bin/openapi-typescript", document, "-o", "schema.ts"),
        step("node_modules/.bin/tsc"),
        step(process.execPath, "round-trip.ts", address),
      ],
      program: ["round-trip.ts", "round-trip.ts"],
    },
    {
      name: "openapi-generator 7.14.0 (python)",
      install: [
        step("java", "-version"),
        ...pip(
          "openapi-generator-cli==7.14.0",
          "mypy==1.18.2",
          "types-python-dateutil==2.9.0.20250822",
          "urllib3==2.5.0",
          "python-dateutil==2.9.0.post0",
          "pydantic==2.12.3",
        ),
      ],
      use: [
        sh(
          `venv/bin/openapi-generator-cli generate -g python -i ${document} -o .` +
            " --additional-properties=packageName=querator_api",
        ),
        step("venv/bin/mypy", "querator_api", "round_trip.py"),
        step(python, "round_trip.py", address),
      ],
      program: ["round_trip_openapi_generator.py", "round_trip.py"],
    },
  ];
}

const FETCH =
  "fetch(process.argv[1]).then(async (r) => fs.writeFileSync(process.argv[2], await r.text()))";

type Outcome = "ok" | "passed over" | "failed";

/** Runs a step to its end; answers what it said if it failed, else undefined. */
async function run({ command, args }: Step, cwd: string): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const env = { ...process.env, GOBIN: join(cwd, "bin"), GOFLAGS: "-mod=mod", CI: "true" };
  const stdio = ["ignore", "pipe", "pipe"] as const;
  const child = spawn(command, args, { cwd, env, stdio: [...stdio] });
  running.add(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output = `${output}${text}`.slice(-OUTPUT_MAX);
    });
  }
  const timer = setTimeout(() => child.kill("SIGKILL"), STEP_SECONDS_MAX * 1_000);
  child.on("error", (error) => resolve(error.message));
  child.on("close", (code, signal) => {
    clearTimeout(timer);
    running.delete(child);
    resolve(code === 0 ? undefined : `${command} ended with ${signal ?? code}: ${output.trim()}`);
  });
  return promise;
}

async function check(tool: Tool, parent: string): Promise<Outcome> {
  const dir = join(parent, tool.name.replaceAll(/[^a-z0-9.-]+/g, "-"));
  mkdirSync(dir);
  for (const [name, text] of Object.entries(tool.files ?? {})) writeFileSync(join(dir, name), text);
  const [from, to] = tool.program;
  copyFileSync(new URL(`clients/${from}`, import.meta.url), join(dir, to));
  const start = performance.now();
  const seconds = (): string => `${Math.round((performance.now() - start) / 1_000)} s`;
  for (const each of tool.install) {
    const why = await run(each, dir);
    if (why === undefined) continue;
    progress(`${tool.name}: passed over, it cannot be installed here: ${why}`);
    return "passed over";
  }
  for (const each of tool.use) {
    const why = await run(each, dir);
    if (why === undefined) continue;
    progress(`${tool.name}: FAILED: ${why}`);
    return "failed";
  }
  progress(`${tool.name}: made a client, its types are right, it went round (${seconds()})`);
  return "ok";
}

const running = new Set<ReturnType<typeof spawn>>();
const { only = "" } = new Command("generate-clients")
  .description("Make clients from the OpenAPI document, check their types, and go round with them")
  .option("--only <name>", "only the generators with this in the name")
  .parse()
  .opts<{ only?: string }>();

endOnSignals();
const scratch = mkdtempSync(join(tmpdir(), "querator-clients-"));
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(scratch, { recursive: true, force: true });
});
const log = { debug() {}, info() {}, warn() {}, error: progress as (text: unknown) => void };
const server = await startServer({ address: "127.0.0.1:0", memory: true }, { logger: log });
try {
  const wanted = tools(server.address).filter(({ name }) => name.includes(only));
  const left = [...wanted];
  const outcomes: Outcome[] = [];
  const work = async (): Promise<void> => {
    for (let tool = left.shift(); tool !== undefined; tool = left.shift()) {
      outcomes.push(await check(tool, scratch));
    }
  };
  await Promise.all([work(), work()]);
  const count = (wantedOutcome: Outcome): number =>
    outcomes.filter((outcome) => outcome === wantedOutcome).length;
  const enough = count("ok") >= Math.min(TOOLS_MIN, wanted.length);
  const figures = (["ok", "failed", "passed over"] as const).map(
    (outcome) => `${count(outcome)} ${outcome}`,
  );
  conclude("clients", wanted.length > 0 && count("failed") === 0 && enough, figures.join(", "));
} finally {
  await server.stop();
}

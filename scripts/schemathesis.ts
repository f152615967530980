// `npm run schemathesis [seed [options of the tester]]`: starts a server in memory, and lets a property-based tester make
// requests from the tolerant variant of its OpenAPI document, which has all that is taken; hooks see
// to it that they reach queues (schemathesis_hooks.py).
// Ends with 0 if every answer was as documented. Needs Python with venv. Installs into a temporary
// directory, and leaves nothing behind.

import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeOpenApi } from "../src/api/openapi/document.ts";
import { makeEndpoints } from "../src/api/routes.ts";
import type { Service } from "../src/api/service.ts";
import { formatSize } from "../src/http/body.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import { startServer } from "../src/server/server.ts";

const VERSION = "4.32.5";
const SECONDS_MAX = 1_200;

// Interrupted, the tester tells what it has found so far.
const ENDING = {
  stdio: "inherit",
  timeout: SECONDS_MAX * 1_000,
  killSignal: "SIGINT",
} as const;

// Where the wire contract differs from what the tester expects of an API:
// - Whether a request that fits its schema is done depends on what is there: 400, 453 and 454 are
//   fine, and under /v2 404, 409 and 429. 455 is not: it would say that the document and the decoder disagree.
// - What does not fit is 400 or 455; or 404 or 409, if what it is about is looked at first: its queue, or the
//   Idempotency-Key that it came with.
// - Of several things each has an outcome of its own, under 200, also one whose id is none. Where a call has
//   all_or_none the hooks see to it that such a request is refused; items.delete has not.
// - Methods other than POST are 400 where the tester wants 405, and 501 says that no such call is.
const CHECKS = `[checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "429", "453", "454"]
negative_data_rejection.expected-statuses = ["400", "404", "409", "453", "455"]
not_a_server_error.expected-statuses = ["2xx", "4xx", "501"]
unsupported_method.enabled = false

[[operations]]
include-path = "/v2/items.delete"
checks.negative_data_rejection.expected-statuses = ["200", "400", "404", "409"]
`;

const [seed = "1", ...more] = process.argv.slice(2);
if (!/^\d+$/.test(seed)) {
  process.stderr.write(`Error: the seed must be a whole number, but is '${seed}'\n`);
  process.exit(2);
}
process.exitCode = await main();

async function main(): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), "querator-schemathesis-"));
  const log = { debug() {}, info() {}, warn() {}, error: report };
  let defects = 0;
  function report(details: unknown): void {
    defects++;
    process.stderr.write(`server: ${JSON.stringify(details)}\n`);
  }
  const server = await startServer({ address: "127.0.0.1:0", memory: true }, { logger: log });
  try {
    const venv = join(dir, "venv");
    const bin = (name: string): string => join(venv, "bin", name);
    const installed =
      (await run(dir, "python3", "-m", "venv", venv)) ||
      (await run(dir, bin("pip"), "install", "--quiet", `schemathesis==${VERSION}`));
    if (installed !== 0) return installed;
    // Apart from the packages, which the tester would take for code of ours and search for constants.
    const runDir = join(dir, "run");
    mkdirSync(runDir);
    writeFileSync(join(runDir, "schemathesis.toml"), CHECKS);
    const document = join(runDir, "openapi.json");
    const limits = DEFAULT_LIMITS;
    const endpoints = makeEndpoints({ limits } as Service);
    writeFileSync(document, JSON.stringify(makeOpenApi({ endpoints, formatSize }, "tolerant")));
    copyFileSync(new URL("schemathesis_hooks.py", import.meta.url), join(runDir, "hooks.py"));
    process.env.SCHEMATHESIS_HOOKS = "hooks";
    process.env.QUERATOR_ADDRESS = server.address;
    const options = [
      "--url",
      server.address,
      "--seed",
      seed,
      "--max-examples",
      "100",
      "--continue-on-failure",
      ...more,
    ];
    const code = await run(runDir, bin("schemathesis"), "run", document, ...options);
    return code || (defects === 0 ? 0 : 1);
  } finally {
    await server.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Runs a command to its end, or until it has had its time; answers its exit code. */
function run(cwd: string, command: string, ...args: string[]): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const child = spawn(command, args, { cwd, ...ENDING });
  child.on("error", (error) => {
    process.stderr.write(`Error: cannot run ${command}: ${error.message}\n`);
    resolve(1);
  });
  child.on("close", (code) => resolve(code ?? 1));
  return promise;
}

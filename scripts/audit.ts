// `npm run audit`: asks the registry for known weaknesses of what the server is made of, as `npm audit --omit=dev` does, and
// fails if there are any. Where the registry cannot be asked (a mirror, no network) it says so and ends well:
// nothing is known then, and a check that fails for others' reasons is soon passed over.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

interface Audit {
  readonly metadata?: { readonly vulnerabilities: { readonly total: number } };
  readonly vulnerabilities?: Readonly<Record<string, { readonly severity: string }>>;
  readonly message?: string;
}

/** What is to be told of an answer of `npm audit --json`, and whether all is well. */
export function judgeAudit(answer: string): { readonly text: string; readonly isOk: boolean } {
  let audit: Audit;
  try {
    audit = JSON.parse(answer) as Audit;
  } catch {
    audit = {};
  }
  const { metadata, vulnerabilities = {}, message = "no answer" } = audit;
  if (metadata === undefined) return { text: `the registry was not asked: ${message}`, isOk: true };
  const found = Object.entries(vulnerabilities).map(
    ([name, { severity }]) => `${name}, ${severity}`,
  );
  const isOk = metadata.vulnerabilities.total === 0 && found.length === 0;
  return { text: isOk ? "no known weaknesses" : found.join("\n"), isOk };
}

if (import.meta.main) {
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  const args = ["audit", "--omit=dev", "--json", "--fetch-retries=0"];
  const { stdout } = spawnSync("npm", args, { cwd, encoding: "utf8", timeout: 60_000 });
  const { text, isOk } = judgeAudit(stdout ?? "");
  process.stdout.write(`audit: ${text}\n`);
  process.exitCode = isOk ? 0 : 1;
}
